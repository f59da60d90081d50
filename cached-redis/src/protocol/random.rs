//! Random numbers, different in each process and each call.

use std::hash::{BuildHasher, RandomState};

/// Returns a random number.
///
/// The keys of a [`RandomState`] come from the system, and differ from one instance to the next.
pub(crate) fn number() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_do_not_repeat() {
        let numbers: HashSet<_> = (0..10_000).map(|_| number()).collect();
        assert_eq!(numbers.len(), 10_000);
    }
}
