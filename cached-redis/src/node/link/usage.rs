//! The use of a connection by operations, which the heartbeat follows.
//!
//! The first use after a pause wakes the heartbeat. No use is missed: each side writes its own flag before it
//! reads the other's, and the order of these accesses is the same for all threads (`SeqCst`).

use std::sync::atomic::{AtomicBool, Ordering};

use crate::node::link::Link;

/// Use of the connection, as seen by the heartbeat.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Set by operations since the heartbeat last looked.
    is_used: AtomicBool,
    /// Set if the next use must wake the heartbeat at once.
    is_calm: AtomicBool,
}

impl Link {
    /// Records a use of the connection, and returns whether the heartbeat must be woken.
    pub(crate) fn note_use(&self) -> bool {
        let Usage { is_used, is_calm } = &self.usage;
        // Only the first of many callers writes.
        if is_used.load(Ordering::SeqCst) {
            return false;
        }
        is_used.store(true, Ordering::SeqCst);
        is_calm.load(Ordering::SeqCst)
    }

    /// Returns whether the connection was used since the last call.
    pub(crate) fn take_use(&self) -> bool {
        self.usage.is_used.swap(false, Ordering::SeqCst)
    }

    /// Sets whether the next use must wake the heartbeat.
    ///
    /// The heartbeat calls [`take_use`](Self::take_use) after this, and an operation reads the flag after it
    /// has recorded its use. So one of the two sees the other (`SeqCst`).
    pub(crate) fn set_calm(&self, is_calm: bool) {
        self.usage.is_calm.store(is_calm, Ordering::SeqCst);
    }
}
