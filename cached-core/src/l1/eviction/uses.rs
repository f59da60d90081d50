//! How often an entry was used since its last turn.

use std::sync::atomic::{AtomicU8, Ordering};

/// More uses than these make no difference.
const ENOUGH: u8 = 3;

/// A small counter that lies in the entry. It is loaded and stored, never locked: a use that is lost does not matter, and
/// from the third on, a hit only reads.
#[derive(Debug, Default)]
pub(crate) struct Uses(AtomicU8);

impl Uses {
    /// A hit.
    #[inline]
    pub(crate) fn note(&self) {
        let uses = self.get();
        if uses < ENOUGH {
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
