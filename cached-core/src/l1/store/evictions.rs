//! The removal of entries that the policies have evicted, and the observers that are notified of them.
//!
//! An observer is user code, and may use the cache. So an eviction under a lock is queued, and reported when
//! its caller holds no lock any more.

use std::{cell::Cell, mem, ptr, sync::Arc};

use crate::{
    l1::{
        entry::Entry,
        store::{
            L1,
            list::{BoundedList, Evicted, Listed},
            lock,
        },
    },
    telemetry::event::EventKind,
};

impl L1 {
    /// Removes the entries that the policy has evicted, until the rest fits, and queues them for observers.
    ///
    /// Entries that have proved their use meanwhile move to the main region.
    pub(super) fn finish_evictions(&self, mut evicted: Evicted<Arc<Entry>>) {
        loop {
            if let Some(entry) = &evicted.item {
                self.remove_evicted(entry);
                self.queue_eviction(entry);
            }
            for entry in &evicted.proven {
                self.move_to_main(entry);
            }
            if !evicted.has_more {
                return;
            }
            evicted = self.list.evict(|entry| self.retire_evicted(entry));
        }
    }

    /// Removes the entries that the policy of a function has evicted, like
    /// [`finish_evictions`](Self::finish_evictions).
    pub(super) fn finish_function_evictions(&self, list: &BoundedList<Listed>, mut evicted: Evicted<Listed>) {
        loop {
            if let Some(Listed(entry)) = &evicted.item {
                self.remove_entry(entry);
                self.queue_eviction(entry);
            }
            if !evicted.has_more {
                return;
            }
            evicted = list.evict(|entry| entry.retire());
        }
    }

    /// Retires an entry that has just left the list of the tier, under the lock of that list.
    ///
    /// An entry in the list of its function is counted later, because that list has a lock as well.
    pub(super) fn retire_evicted(&self, entry: &Arc<Entry>) {
        if entry.function_ticket().is_none() {
            self.retire_in_place(entry);
        } else {
            entry.retire();
        }
    }

    /// Removes an entry that has left the list of the tier, and is retired.
    fn remove_evicted(&self, entry: &Arc<Entry>) {
        if entry.function_ticket().is_some() {
            return self.remove_entry(entry);
        }
        let mut regions = self.regions.lock(entry.hash());
        // An insertion that was under way has its tickets by now.
        if entry.function_ticket().is_some() {
            self.unlist(entry);
        }
        if !entry.mark_removed() {
            regions.remove(entry);
        }
    }

    fn queue_eviction(&self, entry: &Arc<Entry>) {
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
