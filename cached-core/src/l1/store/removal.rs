//! Removals: of one key, of all entries, and of invalidated entries.
//!
//! Each entry is retired first, and removed from its region afterwards. The removal of an entry leaves a newer one
//! of its key.

use std::sync::{Arc, MutexGuard, PoisonError};

use crate::{
    key::OwnedKey,
    l1::{
        deferred_drops::DeferredDrops,
        entry::Entry,
        store::{L1, lock},
    },
};

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
        self.take_all().remove();
    }

    /// Takes all entries out of the list, which is then open for others. None is retired yet.
    ///
    /// An entry that was added before this is among them. Its insertion may be under way, and then its removal waits
    /// for the lock of the key.
    pub(super) fn take_all(&self) -> TakenEntries<'_> {
        let turn = lock(&self.clearing);
        let entries = Box::new(self.list.lock().clear());
        TakenEntries { l1: self, entries, _turn: turn }
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

    /// Gives up the proofs that the entries of these functions share, after the end of their epochs.
    ///
    /// Returns the number of those entries.
    pub(crate) fn release_proofs(&self, templates: &[&str]) -> usize {
        let functions = self.functions.iter().filter(|function| templates.contains(&function.template));
        functions.map(|function| function.release_proof()).sum()
    }

    /// Retires an entry and removes it from its region. A newer entry of its key, from another thread, stays.
    pub(super) fn remove_entry(&self, entry: &Arc<Entry>) {
        let _deferred = DeferredDrops::begin();
        self.retire_in_place(entry);
        let mut regions = self.regions.lock(entry.hash());
        // An insertion that was under way has its tickets by now.
        self.unlist(entry);
        if !entry.mark_removed() {
            regions.remove(entry);
        }
    }

    /// Retires an entry, so that no hit serves it, and removes it from its lists. The caller holds the lock of the
    /// key.
    pub(super) fn retire(&self, entry: &Arc<Entry>) {
        self.retire_in_place(entry);
        self.unlist(entry);
    }

    /// Removes an entry from its lists. The caller holds the lock of the key.
    pub(super) fn unlist(&self, entry: &Arc<Entry>) {
        let from_list = entry.ticket().and_then(|ticket| self.list.lock().remove(ticket));
        let from_function_list = entry.function_ticket().and_then(|ticket| {
            let function_lists = self.function_lists.read().unwrap_or_else(PoisonError::into_inner);
            function_lists.get(entry.template())?.lock().remove(ticket)
        });
        drop((from_list, from_function_list));
    }

    /// Retires an entry that stays in its lists.
    pub(super) fn retire_in_place(&self, entry: &Entry) {
        entry.retire();
        self.count_for_purge(entry);
    }
}

/// The entries of a tier that is being cleared.
///
/// They are retired outside of the lock of the list, which may take long. A second `clear` has its turn when all of
/// them are retired: it does not find them in the list, and no hit may serve them after it either.
pub(super) struct TakenEntries<'a> {
    l1: &'a L1,
    entries: Box<dyn Iterator<Item = Arc<Entry>>>,
    _turn: MutexGuard<'a, ()>,
}

impl TakenEntries<'_> {
    pub(super) fn remove(self) {
        let Self { l1, entries, _turn: turn } = self;
        let entries: Vec<_> = entries.inspect(|entry| entry.retire()).collect();
        // From here on, no hit serves them.
        drop(turn);
        let is_purge_due = entries.iter().any(|entry| entry.may_be_in_thread_cache());
        // One by one: Moka's `invalidate_all` compares timestamps, and would drop entries stored meanwhile.
        for entry in entries {
            l1.remove_entry(&entry);
        }
        if is_purge_due || l1.purge.has_bytes() {
            l1.purge.request();
        }
    }
}

impl Drop for L1 {
    /// Retires all entries, and asks threads to purge those that may be in thread caches.
    fn drop(&mut self) {
        let mut is_purge_due = false;
        for entry in self.list.lock().clear() {
            entry.retire();
            is_purge_due |= entry.may_be_in_thread_cache();
        }
        if is_purge_due || self.purge.has_bytes() {
            self.purge.request();
        }
    }
}
