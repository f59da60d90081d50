//! Bounded lists of entries: a policy under a lock.
//!
//! L1 has a list of all entries, bounded by bytes. A function with `max_entries` has one of its own, in which
//! each entry weighs 1.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::l1::{
    entry::Entry,
    eviction::{Policy, Resident, Ticket, Uses},
    store::lock,
};

/// Bounded list of entries: a policy under a lock.
pub(super) struct BoundedList<T>(Mutex<Policy<T>>);

/// An entry in the list of its function.
pub(super) struct Listed(pub(super) Arc<Entry>);

/// Member of a list.
pub(super) trait ListMember: Resident {
    fn entry(&self) -> &Arc<Entry>;
}

impl ListMember for Arc<Entry> {
    fn entry(&self) -> &Arc<Entry> {
        self
    }
}

impl ListMember for Listed {
    fn entry(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Resident for Entry {
    fn uses(&self) -> &Uses {
        self.uses()
    }
}

impl Resident for Listed {
    fn uses(&self) -> &Uses {
        self.0.function_uses()
    }
}

impl<T: ListMember> BoundedList<T> {
    pub(super) fn new(capacity: u64) -> Self {
        Self(Mutex::new(Policy::new(capacity)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Policy<T>> {
        lock(&self.0)
    }

    /// Adds an entry, in the place of the earlier one of its key if there is one, which is returned.
    pub(super) fn put(
        &self,
        old_ticket: Option<Ticket>,
        hash: u64,
        weight: u32,
        item: T,
    ) -> (Ticket, Option<T>) {
        let mut policy = self.lock();
        let Some(ticket) = old_ticket else { return (policy.insert(hash, weight, item), None) };
        match policy.replace(ticket, weight, item) {
            Ok((ticket, before)) => (ticket, Some(before)),
            // The earlier entry has left the list already.
            Err(item) => (policy.insert(hash, weight, item), None),
        }
    }

    /// Evicts entries until the rest fits, and calls `on_evict` for each, without the lock.
    ///
    /// Each entry is retired while the lock is still held. A concurrent `L1::clear` does not find it in
    /// the list, and no hit may serve it after that.
    pub(super) fn evict_excess(&self, mut on_evict: impl FnMut(&Arc<Entry>)) {
        loop {
            let mut policy = self.lock();
            let Some(item) = policy.evict() else { return };
            item.entry().retire();
            drop(policy);
            on_evict(item.entry());
        }
    }
}
