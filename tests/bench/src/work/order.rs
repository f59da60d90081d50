//! Orders of keys that are the same in each run.

/// Uniform numbers: the high bits of a linear congruential generator.
#[derive(Clone, Debug)]
pub struct Shuffle(u64);

impl Shuffle {
    /// Creates a generator from a seed.
    pub fn new(seed: u64) -> Self {
        let mut shuffle = Self(seed);
        shuffle.next();
        shuffle
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound.max(1))).unwrap_or(0)
    }

    /// Returns a number from zero to below one.
    fn share(&mut self) -> f64 {
        self.next() as f64 / (1_u64 << 31) as f64
    }
}

/// Zipf distribution: the item of rank `r` is drawn in proportion to `1 / r^exponent`.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// Sums of the shares up to each rank.
    sums: Vec<f64>,
    shuffle: Shuffle,
}

impl Zipf {
    /// Creates a distribution over `items` items.
    pub fn new(items: u32, exponent: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=items).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        let mut sums: Vec<_> = weights.collect();
        for part in &mut sums {
            *part /= sum;
        }
        Self { sums, shuffle: Shuffle::new(seed) }
    }

    /// Draws the next item. Items of neighbouring ranks do not have neighbouring numbers.
    pub fn draw(&mut self) -> u32 {
        let share = self.shuffle.share();
        let items = self.sums.len();
        let rank = self.sums.partition_point(|&sum| sum < share).min(items - 1);
        // The factor is a prime that divides no number of items in use, so each rank has an item of its own.
        u32::try_from(rank * 7_919 % items).unwrap_or(0)
    }
}

/// Length of an order, so large that no branch predictor learns it.
const ORDER: usize = 1 << 18;

/// Distribution of the requested keys.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// All keys are equally frequent.
    Uniform,
    /// Zipf distribution with an exponent of 0.99.
    Zipf,
}

impl Order {
    /// Returns the indices of requests for `keys` keys.
    pub fn of(self, keys: u32) -> Vec<u32> {
        match self {
            Self::Uniform => {
                let mut shuffle = Shuffle::new(1);
                (0..ORDER).map(|_| shuffle.below(keys)).collect()
            }
            Self::Zipf => {
                let mut zipf = Zipf::new(keys, 0.99, 1);
                (0..ORDER).map(|_| zipf.draw()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Zipf};

    #[test]
    fn zipf_first_rank_has_expected_share() {
        let (items, draws) = (1_000, 200_000);
        let mut zipf = Zipf::new(items, 0.99, 1);
        let mut counts = vec![0_u32; items as usize];
        (0..draws).for_each(|_| counts[zipf.draw() as usize] += 1);
        let harmonic: f64 = (1..=items).map(|rank| f64::from(rank).powf(-0.99)).sum();
        let (found, expected) = (f64::from(counts[0]) / f64::from(draws), 1.0 / harmonic);
        assert!((found / expected - 1.0).abs() < 0.05, "{found} instead of {expected}");
        assert!(counts.iter().all(|count| *count > 0), "each item is asked for");
    }

    #[test]
    fn order_contains_all_its_keys_and_no_others() {
        for order in [Order::Uniform, Order::Zipf] {
            let indices = order.of(10);
            assert!((0..10).all(|key| indices.contains(&key)), "{order:?}");
            assert!(indices.iter().all(|key| *key < 10), "{order:?}");
        }
    }
}
