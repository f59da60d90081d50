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
    pub(super) evicted: Evicted<T>,
    /// The earlier entry of the key, which is dropped outside of the lock of the list.
    _replaced: Option<T>,
}

/// Result of an eviction.
pub(super) struct Evicted<T> {
    /// The entry that has left the list, and is retired; `None` if none must leave.
    pub(super) item: Option<T>,
    /// More entries must leave.
    pub(super) has_more: bool,
    /// Entries in the window that have proved their use meanwhile. They may have left as well.
    pub(super) proven: Vec<Arc<Entry>>,
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
    ///
    /// If another one must leave for it, it leaves at once, as in [`evict`](Self::evict).
    pub(super) fn put(
        &self,
        old_ticket: Option<Ticket>,
        hash: u64,
        weight: u32,
        item: T,
        retire: impl FnOnce(&Arc<Entry>),
    ) -> Placement<T> {
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
        let evicted = Self::evict_from(&mut policy, retire);
        Placement { ticket, evicted, _replaced: replaced }
    }

    /// Removes and returns entries that are over, in a bounded number of steps. Returns also whether there may be
    /// more.
    ///
    /// Each entry is retired while the lock is held, as in [`evict`](Self::evict).
    pub(super) fn take_expired(&self, now: Nanos, steps: usize) -> (Vec<T>, bool) {
        let mut policy = self.lock();
        let (expired, has_more) = policy.take_expired(now, steps);
        for item in &expired {
            item.entry().retire();
        }
        (expired, has_more)
    }

    /// Evicts the next entry to leave, if the list is over its capacity.
    ///
    /// `retire` retires the entry while the lock is still held. A concurrent `L1::clear` does not find it in the list,
    /// and no hit may serve it after that.
    pub(super) fn evict(&self, retire: impl FnOnce(&Arc<Entry>)) -> Evicted<T> {
        Self::evict_from(&mut self.lock(), retire)
    }

    fn evict_from(policy: &mut Policy<T>, retire: impl FnOnce(&Arc<Entry>)) -> Evicted<T> {
        let mut proven = Vec::new();
        let item = policy.evict(&mut |item| {
            if T::REPORTS_PROOFS && !item.entry().is_in_main() {
                proven.push(item.entry().clone());
            }
        });
        if let Some(item) = &item {
            retire(item.entry());
        }
        // If the policy has found none, it finds none the next time either.
        let has_more = item.is_some() && policy.is_over_capacity();
        Evicted { item, has_more, proven }
    }
}
