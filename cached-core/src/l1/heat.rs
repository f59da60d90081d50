//! How often a key is used.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// Counts the uses of one key.
#[derive(Debug)]
pub(crate) struct Heat {
    uses: AtomicU32,
    /// The key is in the pool of its function.
    is_kept: AtomicBool,
    /// A key that is used no more than this does not come into that pool.
    floor: Arc<AtomicU32>,
}

impl Heat {
    pub(crate) fn new(floor: &Arc<AtomicU32>) -> Self {
        Self { uses: AtomicU32::new(0), is_kept: AtomicBool::new(false), floor: floor.clone() }
    }

    /// Counts a use; whether this is one that may bring the key into the pool.
    #[inline]
    pub(crate) fn add(&self) -> bool {
        let uses = self.uses.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.may_enter(uses)
    }

    /// Whether the next use will be one.
    pub(crate) fn is_near(&self) -> bool {
        self.may_enter(self.uses().wrapping_add(1))
    }

    /// Whether the key may come into the pool when it has been used so often.
    #[inline]
    fn may_enter(&self, uses: u32) -> bool {
        uses.is_power_of_two()
            && !self.is_kept.load(Ordering::Relaxed)
            && uses > self.floor.load(Ordering::Relaxed)
    }

    /// The key is in the pool, or has left it.
    pub(crate) fn set_kept(&self, is_kept: bool) {
        self.is_kept.store(is_kept, Ordering::Relaxed);
    }

    pub(crate) fn uses(&self) -> u32 {
        self.uses.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> u32 {
        self.uses.swap(0, Ordering::Relaxed)
    }

    /// What the last value was used for counts half for the next one.
    pub(crate) fn cool(&self) {
        self.uses.store(self.uses() / 2, Ordering::Relaxed);
    }
}
