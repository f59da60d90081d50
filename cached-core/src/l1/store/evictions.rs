//! Evicted entries, and the observers that are notified of them.
//!
//! An observer is user code, and may use the cache. So an eviction under a lock is queued, and reported when
//! its caller holds no lock any more.

use std::{cell::Cell, mem, ptr, sync::Arc};

use crate::{
    l1::{
        entry::Entry,
        store::{L1, lock},
    },
    telemetry::event::EventKind,
};

impl L1 {
    /// Removes an entry that the policy has evicted, and queues it for observers.
    pub(super) fn evict(&self, entry: &Arc<Entry>) {
        self.remove_entry(entry);
        if !self.observers.is_empty() {
            lock(&self.unreported_evictions).push(entry.clone());
        }
    }

    /// Notifies observers of evicted entries. The caller holds no lock, as observers may use the cache.
    pub(crate) fn report_evictions(&self) {
        if self.observers.is_empty() {
            return;
        }
        thread_local!(static REPORTING_L1: Cell<usize> = const { Cell::new(0) });
        // If an observer causes another eviction, the loop that called it reports that as well. Nested loops
        // would need the stack of a call for each eviction.
        let address = ptr::from_ref(self).addr();
        if REPORTING_L1.get() == address {
            return;
        }
        let before = REPORTING_L1.replace(address);
        loop {
            // Not in the head of the inner loop, which would hold the lock until its end.
            let evicted = mem::take(&mut *lock(&self.unreported_evictions));
            if evicted.is_empty() {
                break;
            }
            for entry in evicted {
                let key = entry.key();
                self.observers.notify(EventKind::Evict, entry.template(), Some(key), &*self.hasher);
            }
        }
        REPORTING_L1.set(before);
    }
}
