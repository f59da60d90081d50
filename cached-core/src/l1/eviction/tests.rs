//! Tests: the policy keeps used entries within its capacity, and its memory and its turns are bounded.

use std::{collections::HashMap, sync::Arc};

use super::{MAX_TURNS, Policy, QueueKind, Resident, Ticket, Uses};

mod hits;
mod random;

#[derive(Default)]
struct Entry {
    key: u64,
    weight: u32,
    uses: Uses,
    /// Zero if the entry never ends.
    end: u64,
}

impl Resident for Entry {
    fn uses(&self) -> &Uses {
        &self.uses
    }

    fn end(&self) -> u64 {
        if self.end == 0 { u64::MAX } else { self.end }
    }
}

/// A cache as a user of the policy would build it.
struct Cache {
    policy: Policy<Arc<Entry>>,
    entries: HashMap<u64, (Arc<Entry>, Ticket)>,
    /// Keys of the entries that have proved their use, each as often as it has.
    proven: Vec<u64>,
}

impl Cache {
    fn new(capacity: u64) -> Self {
        Self { policy: Policy::new(capacity), entries: HashMap::new(), proven: Vec::new() }
    }

    /// Returns whether the key is a hit. A key that is missed is stored.
    fn get(&mut self, key: u64) -> bool {
        self.get_weighing(key, 1)
    }

    fn get_weighing(&mut self, key: u64, weight: u32) -> bool {
        if let Some((entry, _)) = self.entries.get(&key) {
            entry.uses.increment();
            return true;
        }
        let entry = Arc::new(Entry { key, weight, ..Entry::default() });
        let ticket = self.policy.insert(hash(key), weight, entry.clone());
        self.entries.insert(key, (entry, ticket));
        self.evict();
        false
    }

    fn evict(&mut self) {
        let proven = &mut self.proven;
        while let Some(entry) = self.policy.evict(&mut |entry| proven.push(entry.key)) {
            let (stored, _) = self.entries.remove(&entry.key).expect("no entry leaves twice");
            assert!(Arc::ptr_eq(&stored, &entry), "the evicted entry was stored");
        }
    }

    fn remove(&mut self, key: u64) {
        if let Some((entry, ticket)) = self.entries.remove(&key) {
            assert!(Arc::ptr_eq(&entry, &self.policy.remove(ticket).expect("the entry is stored")));
        }
    }

    fn has(&self, key: u64) -> bool {
        self.entries.contains_key(&key)
    }

    fn uses(&self, key: u64) -> u8 {
        self.entries[&key].0.uses.get()
    }

    fn queue_of(&self, key: u64) -> QueueKind {
        self.policy.queues.queue_of(self.entries[&key].1.index)
    }

    fn hits(&mut self, keys: impl IntoIterator<Item = u64>) -> usize {
        keys.into_iter().filter(|&key| self.get(key)).count()
    }
}

/// Returns a hash that is good enough, and the same on every machine.
fn hash(key: u64) -> u64 {
    let mixed = (key ^ (key >> 30)).wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[test]
fn uses_are_counted_up_to_three() {
    let uses = Uses::default();
    for expected in [0, 1, 2, 3, 3, 3] {
        assert_eq!(uses.get(), expected);
        uses.increment();
    }
}

#[test]
fn zero_capacity_keeps_no_entry() {
    let mut cache = Cache::new(0);
    assert_eq!(cache.hits([1, 1, 2, 2, 1]), 0);
    assert_eq!((cache.policy.len(), cache.policy.weight()), (0, 0));
}

#[test]
fn newest_entry_stays_when_capacity_is_one() {
    let mut cache = Cache::new(1);
    for key in 0..100 {
        assert!(!cache.get(key));
        assert!(cache.get(key));
        assert_eq!(cache.policy.len(), 1);
    }
}

#[test]
fn entry_proves_its_use_by_each_turn_in_the_main_queue_that_it_pays() {
    let mut cache = Cache::new(10);
    cache.hits(0..100);
    assert_eq!(cache.proven, [0; 0], "no entry was used again");
    cache.hits([200, 200, 200]);
    cache.hits(300..310);
    assert_eq!(
        (cache.queue_of(200), &*cache.proven),
        (QueueKind::Main, &[][..]),
        "two uses buy a place only"
    );
    // The small queue keeps to its share, so all entries of the main queue get a turn.
    (0..10).for_each(|_| _ = cache.get(200));
    for key in 400..500 {
        cache.hits([key, key, key]);
    }
    let turns = cache.proven.iter().filter(|key| **key == 200).count();
    assert!((1..=3).contains(&turns) && !cache.has(200), "{turns} turns for three uses");
}

#[test]
fn entry_that_is_over_leaves_and_its_key_gets_its_place_back_if_it_was_used() {
    const SECOND: u64 = 1_000_000_000;
    let mut policy = Policy::new(10);
    let insert = |policy: &mut Policy<Arc<Entry>>, key, end| {
        let entry = Arc::new(Entry { key, weight: 1, end, ..Entry::default() });
        let ticket = policy.insert(hash(key), 1, entry.clone());
        (entry, ticket)
    };
    let all: Vec<_> = (0..10).map(|key| insert(&mut policy, key, SECOND * (1 + key / 5))).collect();
    assert_eq!(policy.queues.queue_of(all[0].1.index), QueueKind::Main, "there is room");
    all[0].0.uses.increment();
    assert!(policy.take_expired(SECOND / 2, 100).0.is_empty());
    let (expired, has_more) = policy.take_expired(3 * SECOND / 2, 3);
    assert!(has_more && expired.len() <= 3);
    let rest = policy.take_expired(3 * SECOND / 2, 100).0;
    let mut keys: Vec<_> = expired.iter().chain(&rest).map(|entry| entry.key).collect();
    keys.sort_unstable();
    assert_eq!((keys, policy.len()), (vec![0, 1, 2, 3, 4], 5));
    policy.queues.check();
    // It would be main in any case as long as the policy was never full.
    policy.is_full = true;
    let [used, unused] = [0, 1].map(|key| insert(&mut policy, key, 0).1);
    assert_eq!(
        [used, unused].map(|ticket| policy.queues.queue_of(ticket.index)),
        [QueueKind::Main, QueueKind::Small]
    );
}

#[test]
fn weight_of_zero_counts_as_one() {
    let mut cache = Cache::new(10);
    for key in 0..100 {
        cache.get_weighing(key, 0);
    }
    assert_eq!((cache.policy.len(), cache.policy.weight()), (10, 10));
}

#[test]
fn entry_above_the_capacity_evicts_no_other_entry() {
    let mut cache = Cache::new(100);
    (0..90).for_each(|key| _ = cache.get(key));
    cache.get_weighing(1_000, 101);
    assert!(!cache.has(1_000));
    assert_eq!(cache.policy.len(), 90);
    // An entry that grows is handled likewise.
    let (entry, ticket) = cache.entries[&5].clone();
    let grown = Arc::new(Entry { key: 5, weight: 101, ..Entry::default() });
    let (ticket, before) = cache.policy.replace(ticket, 101, grown.clone()).ok().expect("it is there");
    assert!(Arc::ptr_eq(&entry, &before));
    cache.entries.insert(5, (grown, ticket));
    cache.evict();
    assert!(!cache.has(5));
    assert_eq!((cache.policy.len(), cache.policy.weight()), (89, 89));
}

#[test]
fn entry_grown_beyond_capacity_is_evicted_first_despite_its_uses() {
    let mut cache = Cache::new(100);
    cache.hits(0..100);
    // Without the ten newest entries, the small queue is empty.
    (90..100).for_each(|key| cache.remove(key));
    let (_, ticket) = cache.entries[&5].clone();
    (0..4).for_each(|_| _ = cache.get(5));
    let grown = Arc::new(Entry { key: 5, weight: 101, ..Entry::default() });
    let (ticket, _) = cache.policy.replace(ticket, 101, grown.clone()).ok().expect("it is there");
    cache.entries.insert(5, (grown, ticket));
    cache.evict();
    assert!(!cache.has(5));
    assert_eq!(cache.policy.len(), 89);
}

#[test]
fn entry_of_exactly_the_capacity_evicts_all_others() {
    let mut cache = Cache::new(100);
    (0..90).for_each(|key| _ = cache.get(key));
    cache.get_weighing(1_000, 100);
    assert!(cache.has(1_000));
    assert_eq!((cache.policy.len(), cache.policy.weight()), (1, 100));
}

#[test]
fn stale_ticket_matches_no_entry() {
    let mut policy = Policy::new(10);
    let make = || Arc::new(Entry::default());
    let first = policy.insert(hash(1), 1, make());
    assert!(policy.remove(first).is_some());
    assert!(policy.remove(first).is_none());
    let second = policy.insert(hash(2), 1, make());
    assert_eq!(first.index, second.index, "the place is used again");
    assert!(policy.remove(first).is_none());
    assert!(policy.replace(first, 7, make()).is_err());
    assert_eq!((policy.len(), policy.weight()), (1, 1));
    drop(policy.clear());
    assert!(policy.remove(second).is_none());
    assert_eq!((policy.len(), policy.weight()), (0, 0));
    let third = policy.insert(hash(3), 1, make());
    assert!(policy.remove(first).is_none(), "nor after all was cleared");
    assert!(policy.remove(second).is_none());
    assert!(policy.remove(third).is_some());
}

#[test]
fn replacement_takes_over_the_uses_of_the_replaced_entry() {
    let mut cache = Cache::new(10);
    (0..3).for_each(|_| _ = cache.get(1));
    let (_, ticket) = cache.entries[&1].clone();
    let after = Arc::new(Entry { key: 1, weight: 4, ..Entry::default() });
    assert!(cache.policy.replace(ticket, 4, after.clone()).is_ok());
    assert!(cache.policy.remove(ticket).is_none(), "the ticket of the one before is of no use");
    assert_eq!(after.uses.get(), 2);
    assert_eq!((cache.policy.len(), cache.policy.weight()), (1, 4));
}

#[test]
fn smaller_capacity_evicts_and_larger_capacity_admits() {
    let mut cache = Cache::new(100);
    (0..100).for_each(|key| _ = cache.get(key));
    cache.policy.set_capacity(30);
    cache.evict();
    assert_eq!(cache.policy.len(), 30);
    cache.policy.set_capacity(60);
    (1_000..1_100).for_each(|key| _ = cache.get(key));
    assert_eq!(cache.policy.len(), 60);
}

#[test]
fn scan_does_not_evict_used_entries() {
    let mut cache = Cache::new(100);
    let hot = || (0..80).map(|key| key * 3);
    for _ in 0..4 {
        cache.hits(hot());
    }
    // A few other keys pass first, and push the used keys that are still in the small queue out of it.
    cache.hits(10_000..10_020);
    cache.hits(hot());
    cache.hits(20_000..120_000);
    assert_eq!(cache.hits(hot()), 80);
}

#[test]
fn insertion_takes_a_bounded_number_of_turns() {
    let mut cache = Cache::new(10_000);
    (0..10_000).for_each(|key| _ = cache.get(key));
    for _ in 0..3 {
        cache.hits(0..10_000);
    }
    let spare =
        |cache: &Cache| cache.entries.values().map(|(entry, _)| u32::from(entry.uses.get())).sum::<u32>();
    let before = spare(&cache);
    cache.get(10_000);
    // Each turn takes at most three uses, of one entry. Then one entry leaves.
    assert!(before - spare(&cache) <= 3 * (MAX_TURNS + 2), "{} uses went", before - spare(&cache));
    assert_eq!(cache.policy.len(), 10_000);
}

/// Returns a cache of a hundred entries, in which the keys of `used` were used.
fn full(used: impl IntoIterator<Item = u64>) -> Cache {
    let mut cache = Cache::new(100);
    cache.hits(0..100);
    cache.hits(used);
    cache
}

#[test]
fn early_return_enters_the_main_queue() {
    let mut cache = full([]);
    cache.hits(200..230);
    assert!(!cache.has(205), "unused, it went");
    cache.get(205);
    assert_eq!((cache.queue_of(205), cache.uses(205)), (QueueKind::Main, 0));
}

#[test]
fn late_return_counts_as_a_new_entry() {
    let mut cache = full([]);
    cache.hits(200..280);
    cache.get(205);
    assert_eq!((cache.queue_of(205), cache.uses(205)), (QueueKind::Small, 0));
}

#[test]
fn returning_entry_keeps_its_evidence_when_it_loses_the_duel() {
    let mut cache = full(0..90);
    cache.hits(200..230);
    cache.get(205);
    assert_eq!((cache.queue_of(205), cache.uses(205)), (QueueKind::Small, 1));
}

#[test]
fn heavy_returning_entry_keeps_its_evidence_without_a_duel() {
    let mut cache = full([]);
    cache.hits(200..230);
    cache.get_weighing(205, 3);
    assert_eq!((cache.queue_of(205), cache.uses(205)), (QueueKind::Small, 1));
}

#[test]
fn ghost_of_the_main_queue_returns_to_it_with_one_use() {
    let mut cache = full(1..90);
    // Key 200 has a place by its uses. Then it is the turn of key 0, which has none.
    cache.get(200);
    (0..2).for_each(|_| _ = cache.get(200));
    cache.hits(300..330);
    assert!(!cache.has(0));
    // The entries of the main queue cannot pay for another turn, and the first of them loses the duel.
    (1..90).for_each(|key| cache.entries[&key].0.uses.set(0));
    cache.get(0);
    assert_eq!((cache.queue_of(0), cache.uses(0)), (QueueKind::Main, 1));
}

#[test]
fn removed_entry_returns_to_the_queue_it_was_removed_from() {
    let mut cache = Cache::new(100);
    cache.hits(0..200);
    // The first ninety keys are in the main queue.
    assert!(cache.has(50));
    cache.remove(50);
    cache.get(50);
    assert_eq!(cache.uses(50), 1);
    cache.hits(1_000..2_000);
    assert!(cache.has(50));
    cache.get(2_000);
    cache.remove(2_000);
    cache.get(2_000);
    assert_eq!(cache.uses(2_000), 0, "who stood in the small queue is as new as before");
    cache.hits(3_000..3_020);
    assert!(!cache.has(2_000));
}

#[test]
fn memory_for_ghosts_and_queue_nodes_is_bounded() {
    let mut cache = Cache::new(1_000);
    for key in 0..300_000 {
        cache.get(key);
        // Some keys return, so that all kinds of ghosts are made.
        cache.get(key.saturating_sub(950));
        cache.get(key.saturating_sub(1_300));
        cache.remove(key.saturating_sub(700));
    }
    assert!(cache.policy.ghosts.slots() <= 2_048, "{}", cache.policy.ghosts.slots());
    assert!(cache.policy.queues.nodes() <= 1_001, "{}", cache.policy.queues.nodes());
    assert_eq!(super::queues::NODE_BYTES, 32);
}

#[test]
fn heavy_entry_pays_more_uses_per_turn() {
    let after_a_turn = |weight: u32| {
        let mut cache = Cache::new(1_000);
        cache.get_weighing(7, weight);
        cache.hits(100..1_000);
        (0..2).for_each(|_| _ = cache.get(7));
        assert_eq!((cache.queue_of(7), cache.uses(7)), (QueueKind::Main, 2));
        // These keys are used in the small queue, and so displace the first entry of the main queue.
        for key in 2_000..2_200 {
            (0..4).for_each(|_| _ = cache.get(key));
        }
        cache.has(7).then(|| cache.uses(7))
    };
    assert_eq!([2, 3, 4, 5].map(after_a_turn), [Some(1), Some(0), Some(0), None]);
}

#[test]
fn clear_resets_the_policy() {
    let mut cache = Cache::new(100);
    cache.hits(0..1_000);
    drop(cache.policy.clear());
    cache.entries.clear();
    cache.hits(0..100);
    assert_eq!((cache.queue_of(0), cache.queue_of(99)), (QueueKind::Main, QueueKind::Small));
}

#[test]
fn small_queue_overflows_to_main_when_capacity_grows() {
    let mut cache = Cache::new(100);
    cache.hits(0..1_000);
    cache.policy.set_capacity(200);
    cache.hits(1_000..1_100);
    assert_eq!(
        (cache.policy.len(), cache.queue_of(1_000), cache.queue_of(1_099)),
        (200, QueueKind::Main, QueueKind::Small)
    );
}
