//! Random numbers that depend on the seed alone.

/// `SplitMix64` generator: small, fast, and good enough to mix operations.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Creates a generator for a list of parts, such as the numbers of a worker and a task.
    ///
    /// Different lists have different generators.
    pub(crate) fn derive(seed: u64, parts: &[u64]) -> Self {
        let mut rng = Self(seed);
        for part in parts {
            rng = Self(rng.next() ^ part.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        }
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `limit`; 0 if `limit` is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// Returns a number from `low` up to, but not including, `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low))
    }

    /// Returns true with a probability of `per_million` in a million.
    pub(crate) fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }

    /// Returns the index of one of `weights`, with a probability in proportion to the weight.
    pub(crate) fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let total: u64 = weights.clone().map(u64::from).sum();
        let mut drawn = self.below(total);
        for (index, weight) in weights.enumerate() {
            match drawn.checked_sub(u64::from(weight)) {
                Some(rest) => drawn = rest,
                None => return index,
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_parts_differ() {
        let numbers = |mut rng: Rng| (0..8).map(|_| rng.next()).collect::<Vec<_>>();
        assert_eq!(numbers(Rng::derive(7, &[1, 2])), numbers(Rng::derive(7, &[1, 2])));
        assert_ne!(numbers(Rng::derive(7, &[1, 2])), numbers(Rng::derive(7, &[2, 1])));
        assert_ne!(numbers(Rng::derive(7, &[1])), numbers(Rng::derive(8, &[1])));
    }

    #[test]
    fn draws_keep_to_their_ranges_and_weights() {
        let mut rng = Rng::derive(1, &[]);
        let mut counts = [0_u32; 3];
        for _ in 0..10_000 {
            assert!((5..9).contains(&rng.between(5, 9)));
            counts[rng.weighted([1, 0, 3].into_iter())] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2_000..3_000).contains(&counts[0]), "{counts:?}");
        assert_eq!((rng.below(0), rng.between(4, 4)), (0, 4));
        assert!(rng.chance(1_000_000) && !rng.chance(0));
    }
}
