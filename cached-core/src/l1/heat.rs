//! Use counter of a key, and the test for a place among the most used ones.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// Use counter of one key.
#[derive(Debug)]
pub(crate) struct Heat {
    uses: AtomicU32,
    /// Set while the key is in the pool of its function.
    is_in_pool: AtomicBool,
    /// Number of uses that a key must exceed to enter the pool.
    threshold: Arc<AtomicU32>,
}

impl Heat {
    pub(crate) fn new(threshold: &Arc<AtomicU32>) -> Self {
        Self { uses: AtomicU32::new(0), is_in_pool: AtomicBool::new(false), threshold: threshold.clone() }
    }

    /// Counts a use. Returns whether this use may bring the key into the pool.
    #[inline]
    pub(crate) fn add_use(&self) -> bool {
        let uses = self.uses.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.may_enter(uses)
    }

    /// Returns whether the next use may bring the key into the pool.
    pub(crate) fn next_use_may_enter(&self) -> bool {
        self.may_enter(self.uses().wrapping_add(1))
    }

    /// Returns whether the key may enter the pool at this number of uses, which must be a power of two.
    #[inline]
    fn may_enter(&self, uses: u32) -> bool {
        uses.is_power_of_two()
            && !self.is_in_pool.load(Ordering::Relaxed)
            && uses > self.threshold.load(Ordering::Relaxed)
    }

    /// Records whether the key is in the pool.
    pub(crate) fn set_in_pool(&self, is_in_pool: bool) {
        self.is_in_pool.store(is_in_pool, Ordering::Relaxed);
    }

    pub(crate) fn uses(&self) -> u32 {
        self.uses.load(Ordering::Relaxed)
    }

    pub(crate) fn take_uses(&self) -> u32 {
        self.uses.swap(0, Ordering::Relaxed)
    }

    /// Halves the uses: those of the last value count half for the next one.
    pub(crate) fn halve(&self) {
        self.uses.store(self.uses() / 2, Ordering::Relaxed);
    }
}
