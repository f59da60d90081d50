//! Use count of an entry since its last turn.

use std::sync::atomic::{AtomicU8, Ordering};

/// Maximum of the count: more uses make no difference.
const MAX_USES: u8 = 3;

/// Use count inside of an entry.
///
/// It is loaded and stored, never locked: a lost use does not matter. After the third use, a hit only reads.
#[derive(Debug, Default)]
pub(crate) struct Uses(AtomicU8);

impl Uses {
    /// Counts a hit.
    #[inline]
    pub(crate) fn increment(&self) {
        let uses = self.get();
        if uses < MAX_USES {
            self.set(uses + 1);
        }
    }

    #[inline]
    pub(super) fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set(&self, uses: u8) {
        self.0.store(uses, Ordering::Relaxed);
    }
}
