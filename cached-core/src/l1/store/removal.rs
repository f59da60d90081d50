//! Removals: of one key, of all entries, of invalidated entries, and of those that the policy has evicted.
//!
//! Each entry is retired first, and removed from its region afterwards. The removal of an entry leaves a newer one
//! of its key.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use crate::{
    key::OwnedKey,
    l1::{deferred_drops::DeferredDrops, entry::Entry, store::L1, thread_cache},
};

/// Least number of entries of a function with `max_entries` for which threads are asked to purge.
const MIN_PURGE_ENTRIES: u64 = 64;

impl L1 {
    pub(crate) fn remove(&self, key: &OwnedKey) {
        let _deferred = DeferredDrops::begin();
        let mut regions = self.regions.lock(key.hash());
        if let Some(before) = regions.get(key.as_ref()) {
            self.retire(&before);
            before.mark_removed();
            regions.remove(&before);
        }
    }

    pub(crate) fn clear(&self) {
        let mut list = self.list.lock();
        let all: Vec<_> = list.clear().inspect(|entry| entry.retire()).collect();
        drop(list);
        // One by one: Moka's `invalidate_all` compares timestamps, and would drop entries stored meanwhile.
        for entry in &all {
            self.remove_entry(entry);
        }
        thread_cache::request_purge();
    }

    /// Scans `count` places of the list from `from` on, and removes entries of which an epoch has ended.
    ///
    /// Returns the place to continue at; `None` at the end.
    pub(crate) fn remove_invalidated(&self, from: usize, count: usize) -> Option<usize> {
        let (some, next) = self.list.lock().scan(from, count);
        for entry in some.iter().filter(|entry| !entry.validity().is_intact()) {
            self.remove_entry(entry);
        }
        next
    }

    /// Retires an entry and removes it from its region. A newer entry of its key, from another thread, stays.
    pub(super) fn remove_entry(&self, entry: &Arc<Entry>) {
        let _deferred = DeferredDrops::begin();
        self.retire(entry);
        let mut regions = self.regions.lock(entry.hash());
        if !entry.mark_removed() {
            regions.remove(entry);
        }
    }

    /// Retires an entry, so that no hit serves it, and removes it from its lists.
    pub(super) fn retire(&self, entry: &Arc<Entry>) {
        self.retire_in_place(entry);
        let from_list = entry.ticket().and_then(|ticket| self.list.lock().remove(ticket));
        let from_function_list = entry.function_ticket().and_then(|ticket| {
            let function_lists = self.function_lists.read().unwrap_or_else(PoisonError::into_inner);
            function_lists.get(entry.template())?.lock().remove(ticket)
        });
        drop((from_list, from_function_list));
    }

    /// Retires an entry that stays in its lists, and asks threads to purge if enough has left.
    pub(super) fn retire_in_place(&self, entry: &Entry) {
        entry.retire();
        let weight = u64::from(entry.weight).max(self.purge_share(entry));
        if self.bytes_since_purge.fetch_add(weight, Ordering::Relaxed) + weight > self.purge_threshold {
            self.bytes_since_purge.store(0, Ordering::Relaxed);
            thread_cache::request_purge();
        }
    }

    /// Returns the bytes that an entry of a function with `max_entries` counts for at least.
    ///
    /// The bytes of its value may be unknown. So threads purge when as many entries have left as the function
    /// has.
    fn purge_share(&self, entry: &Entry) -> u64 {
        if entry.function_ticket().is_none() {
            return 0;
        }
        let function_lists = self.function_lists.read().unwrap_or_else(PoisonError::into_inner);
        function_lists.get(entry.template()).map_or(0, |function_list| {
            let entries = function_list.lock().len() as u64;
            self.purge_threshold / entries.max(MIN_PURGE_ENTRIES)
        })
    }
}

impl Drop for L1 {
    /// Retires all entries and asks threads to purge them, so that thread caches do not keep them.
    fn drop(&mut self) {
        self.list.lock().clear().for_each(|entry| entry.retire());
        thread_cache::request_purge();
    }
}
