//! Hit ratios of the policy on synthetic traces, compared with LRU.

use super::*;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        hash(self.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a fraction")]
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Distribution in which the n-th of `keys` is requested n^-skew times as often as the first.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(keys: u32, skew: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=keys).map(|rank| {
            sum += f64::from(rank).powf(-skew);
            sum
        });
        Self(sums.collect())
    }

    fn next(&self, random: &mut Random) -> u64 {
        let at = random.fraction() * self.0[self.0.len() - 1];
        self.0.partition_point(|&sum| sum < at) as u64
    }
}

/// Returns the number of hits if the least recently used key leaves.
fn hits_of_lru(capacity: usize, keys: &[u64]) -> usize {
    let (mut used, mut order, mut hits) = (HashMap::new(), std::collections::BTreeMap::new(), 0);
    for (now, &key) in keys.iter().enumerate() {
        if let Some(before) = used.insert(key, now) {
            order.remove(&before);
            hits += 1;
        }
        order.insert(now, key);
        if order.len() > capacity
            && let Some((_, key)) = order.pop_first()
        {
            used.remove(&key);
        }
    }
    hits
}

/// Returns the hits of the policy and of LRU, in thousandths of the requests.
fn ratios(capacity: usize, keys: &[u64]) -> (usize, usize) {
    let hits = Cache::new(capacity as u64).hits(keys.iter().copied());
    (hits * 1_000 / keys.len(), hits_of_lru(capacity, keys) * 1_000 / keys.len())
}

const SCAN: u64 = 1 << 40;

fn zipf(skew: f64) -> Vec<u64> {
    let (zipf, mut random) = (Zipf::new(20_000, skew), Random(1));
    (0..200_000).map(|_| zipf.next(&mut random)).collect()
}

#[test]
fn skewed_trace_beats_lru() {
    let (ours, lru) = ratios(200, &zipf(0.99));
    assert!(ours >= 520 && ours >= lru + 100, "{ours}, LRU {lru}");
    let (ours, lru) = ratios(4_000, &zipf(0.7));
    assert!(ours >= 530 && ours >= lru + 60, "{ours}, LRU {lru}");
}

/// Every second request is for a key that is requested once, in half of the 200,000 requests.
#[test]
fn skewed_trace_with_scans_beats_lru() {
    let zipf = zipf(0.99).into_iter().enumerate();
    let keys: Vec<_> =
        zipf.map(|(n, key)| if n % 20_000 < 10_000 && n % 2 == 0 { SCAN + n as u64 } else { key }).collect();
    let (ours, lru) = ratios(1_000, &keys);
    assert!(ours >= 490 && ours >= lru + 70, "{ours}, LRU {lru}");
}

#[test]
fn loop_longer_than_the_capacity_has_hits_unlike_lru() {
    let keys: Vec<_> = (0..100_000).map(|n| n % 2_500).collect();
    for (capacity, least) in [(500, 160), (1_250, 400), (2_000, 650)] {
        let (ours, lru) = ratios(capacity, &keys);
        assert!(ours >= least && lru == 0, "{ours} with room for {capacity}, LRU {lru}");
    }
}

/// The small queue has no hits in a loop, so its room goes to the main queue.
#[test]
fn loop_has_a_hit_in_each_round_for_nearly_all_entries() {
    for (capacity, least) in [(500, 480), (1_250, 1_200), (2_000, 1_900)] {
        let mut cache = Cache::new(capacity);
        cache.hits((0..50_000).map(|n| n % 2_500));
        let hits = cache.hits(0..2_500);
        assert!(hits >= least, "{hits} of {capacity} entries");
    }
}

/// Many entries leave unused in a row, as in the loop. But the share has grown by returns, and is not given up.
#[test]
fn quiet_time_keeps_a_share_that_has_grown() {
    let mut cache = Cache::new(1_000);
    cache.hits(0..1_000);
    // Each key returns after a reach of the small queue and its ghosts.
    cache.hits((0..4_000).flat_map(|n| [10_000 + n, 10_000 + n - n.min(150)]));
    let grown = cache.policy.small_share;
    cache.hits(100_000..110_000);
    assert!(grown > 0.2 && cache.policy.small_share >= grown, "{grown}, then {}", cache.policy.small_share);
}

/// The longer ago a key was used, the less likely it is next: no policy is better than LRU there.
#[test]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a depth")]
fn trace_made_for_lru_is_nearly_as_good_as_lru() {
    let (mut stack, mut random) = ((0..4_000_u64).collect::<Vec<_>>(), Random(2));
    let keys: Vec<_> = (0..100_000)
        .map(|_| {
            let depth = 4_000_f64.powf(random.fraction()) as usize;
            let key = stack.remove(stack.len() - depth.clamp(1, stack.len()));
            stack.push(key);
            key
        })
        .collect();
    for capacity in [40, 200, 800] {
        let (ours, lru) = ratios(capacity, &keys);
        assert!(ours + 15 >= lru, "{ours} with room for {capacity}, LRU {lru}");
    }
}

/// Other keys become the frequent ones, abruptly and every 20,000 requests.
#[test]
fn moving_hot_set_is_at_least_as_good_as_lru() {
    let keys: Vec<_> =
        zipf(0.99).into_iter().enumerate().map(|(n, key)| key + n as u64 / 20_000 * 7_919).collect();
    let (ours, lru) = ratios(1_000, &keys);
    assert!(ours >= 600 && ours >= lru, "{ours}, LRU {lru}");
}

/// A key that is removed from time to time gets its place back when it returns.
#[test]
fn removed_keys_have_hits_again_after_their_return() {
    let mut cache = Cache::new(200);
    let mut random = Random(3);
    let (keys, mut hits) = (zipf(0.99), 0);
    for &key in &keys {
        if random.next().is_multiple_of(10) {
            cache.remove(key);
        }
        hits += usize::from(cache.get(key));
    }
    assert!(hits * 1_000 / keys.len() >= 470, "{hits}");
}

/// One key in ten weighs fifty times as much as the others, and there is room for more of the light ones.
#[test]
fn light_keys_have_hits_among_heavy_ones() {
    let mut cache = Cache::new(1_000);
    let keys = zipf(0.99);
    let hits = keys
        .iter()
        .filter(|&&key| cache.get_weighing(key, if hash(key).is_multiple_of(10) { 50 } else { 1 }))
        .count();
    let ratio = hits * 1_000 / keys.len();
    assert!(ratio >= 612, "{ratio}");
}
