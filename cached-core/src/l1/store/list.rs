//! Bounded lists of entries: a policy under a lock.
//!
//! L1 has a list of all entries, bounded by bytes. A function with `max_entries` has one of its own, in which
//! each entry weighs 1.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::{
    base::clock::Nanos,
    l1::{
        entry::Entry,
        eviction::{Policy, Resident, Ticket, Uses},
        store::lock,
    },
};

/// Bounded list of entries: a policy under a lock.
pub(super) struct BoundedList<T>(Mutex<Policy<T>>);

/// An entry in the list of its function.
pub(super) struct Listed(pub(super) Arc<Entry>);

/// Result of an addition to a list.
pub(super) struct Placement<T> {
    pub(super) ticket: Ticket,
    /// Entries must leave.
    pub(super) is_over_capacity: bool,
    /// The earlier entry of the key, which is dropped outside of the lock of the list.
    _replaced: Option<T>,
}

/// Member of a list.
pub(super) trait ListMember: Resident {
    /// Whether the region of an entry depends on its proofs of use in this list.
    const REPORTS_PROOFS: bool;

    fn entry(&self) -> &Arc<Entry>;
}

impl ListMember for Arc<Entry> {
    const REPORTS_PROOFS: bool = true;

    fn entry(&self) -> &Arc<Entry> {
        self
    }
}

impl ListMember for Listed {
    const REPORTS_PROOFS: bool = false;

    fn entry(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Resident for Entry {
    fn uses(&self) -> &Uses {
        self.uses()
    }

    fn end(&self) -> Nanos {
        self.erased.freshness().usable_until()
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

    /// Adds an entry, in the place of the earlier one of its key if there is one.
    pub(super) fn put(&self, old_ticket: Option<Ticket>, hash: u64, weight: u32, item: T) -> Placement<T> {
        let mut policy = self.lock();
        let replaced = match old_ticket {
            Some(ticket) => policy.replace(ticket, weight, item),
            None => Err(item),
        };
        let (ticket, replaced) = match replaced {
            Ok((ticket, before)) => (ticket, Some(before)),
            // There is no earlier entry, or it has left the list already.
            Err(item) => (policy.insert(hash, weight, item), None),
        };
        Placement { ticket, is_over_capacity: policy.is_over_capacity(), _replaced: replaced }
    }

    /// Removes and returns entries that are over, in a bounded number of steps. Returns also whether there may be
    /// more.
    ///
    /// Each entry is retired while the lock is held, as in [`evict_excess`](Self::evict_excess).
    pub(super) fn take_expired(&self, now: Nanos, steps: usize) -> (Vec<T>, bool) {
        let mut policy = self.lock();
        let (expired, has_more) = policy.take_expired(now, steps);
        for item in &expired {
            item.entry().retire();
        }
        (expired, has_more)
    }

    /// Evicts entries until the rest fits, and calls `on_evict` for each, without the lock.
    ///
    /// Each entry is retired while the lock is still held. A concurrent `L1::clear` does not find it in
    /// the list, and no hit may serve it after that. Returns the entries in the window that have proved their
    /// use meanwhile. They may have left as well.
    pub(super) fn evict_excess(&self, mut on_evict: impl FnMut(&Arc<Entry>)) -> Vec<Arc<Entry>> {
        let mut proven = Vec::new();
        loop {
            let mut policy = self.lock();
            let evicted = policy.evict(&mut |item| {
                if T::REPORTS_PROOFS && !item.entry().is_in_main() {
                    proven.push(item.entry().clone());
                }
            });
            let Some(item) = evicted else { return proven };
            item.entry().retire();
            let is_over_capacity = policy.is_over_capacity();
            drop(policy);
            on_evict(item.entry());
            if !is_over_capacity {
                return proven;
            }
        }
    }
}
