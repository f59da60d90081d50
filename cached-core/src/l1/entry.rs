//! An entry of the in-process tier.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool as Counted, AtomicU64, Ordering},
    },
};

use crate::{
    base::clock::Nanos,
    coherence::validity::Validity,
    key::Key,
    l1::{
        eviction::{Ticket, Uses},
        heat::Heat,
        leaving::leave,
    },
    sync::AtomicBool,
    telemetry::functions::FunctionMetrics,
    tier::Revision,
    value::erased::ErasedValue,
};

/// A value with all that a hit has to know of it, so that whoever holds the entry can serve it without a look at anything
/// that threads change in common.
///
/// What a hit reads lies at the start, in two cache lines, and not beside the counter of references. A key of more than 14
/// bytes ends in the third.
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// Of which cache.
    home: Arc<MemoryBudget>,
    /// Until when it is to be served without more ado.
    due: Nanos,
    pub(crate) slot: Arc<dyn ErasedValue>,
    /// On what it may be served.
    pub(crate) claim: Validity,
    /// Whose it is, so that a hit finds its counter.
    pub(crate) function: Arc<FunctionMetrics>,
    /// It has left the tier.
    is_retired: AtomicBool,
    /// For the bound of the tier,
    uses: Uses,
    /// and for that of its function.
    listed_uses: Uses,
    key: Key,
    /// Counts its uses, if its function keeps keys warm.
    heat: Option<Arc<Heat>>,
    /// Names the value in the shared tier; zero if it is not there.
    pub(crate) stamp: Revision,
    /// After a load in its place has failed, none is begun before that.
    rests_until: AtomicU64,
    /// Estimated bytes.
    pub(crate) weight: u32,
    /// They are counted as bytes that have left.
    is_counted: Counted,
    /// Moka does not have it any more.
    is_out: Counted,
    /// Its place in the list of the tier,
    ticket: OnceLock<Ticket>,
    /// and of its function.
    listed_ticket: OnceLock<Ticket>,
}

/// What an entry is made of.
pub(crate) struct EntryParts {
    pub(crate) key: Key,
    pub(crate) home: Arc<MemoryBudget>,
    pub(crate) slot: Arc<dyn ErasedValue>,
    pub(crate) claim: Validity,
    pub(crate) stamp: Revision,
    pub(crate) rests_until: Nanos,
    pub(crate) function: Arc<FunctionMetrics>,
    pub(crate) heat: Option<Arc<Heat>>,
    pub(crate) weight: u32,
}

impl Entry {
    pub(crate) fn new(parts: EntryParts) -> Self {
        let EntryParts { key, home, slot, claim, stamp, rests_until, function, heat, weight } = parts;
        Self {
            due: slot.meta().due(),
            key,
            home,
            slot,
            claim,
            is_retired: AtomicBool::new(false),
            uses: Uses::default(),
            listed_uses: Uses::default(),
            function,
            heat,
            stamp,
            rests_until: rests_until.into(),
            weight,
            is_counted: Counted::new(false),
            is_out: Counted::new(false),
            ticket: OnceLock::new(),
            listed_ticket: OnceLock::new(),
        }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether it is in this tier.
    #[inline]
    pub(crate) fn is_in(&self, home: &Arc<MemoryBudget>) -> bool {
        Arc::ptr_eq(&self.home, home) && !self.is_retired()
    }

    /// Whether both are, or were, under the same key of the same tier.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.home, &other.home) && self.key == other.key
    }

    /// Whether it is not yet to be loaded again.
    #[inline]
    pub(crate) fn is_early(&self, now: Nanos) -> bool {
        now < self.due
    }

    pub(crate) fn home(&self) -> &Arc<MemoryBudget> {
        &self.home
    }

    /// For whoever decides what leaves the tier,
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// and what leaves a function's own list.
    pub(crate) fn listed_uses(&self) -> &Uses {
        &self.listed_uses
    }

    /// Counts a use for those who decide what stays.
    #[inline]
    pub(crate) fn touch(&self, is_listed: bool) {
        self.uses.note();
        if is_listed {
            self.listed_uses.note();
        }
    }

    pub(crate) fn enlisted(&self, ticket: Ticket) {
        let _ = self.ticket.set(ticket);
    }

    pub(crate) fn listed(&self, ticket: Ticket) {
        let _ = self.listed_ticket.set(ticket);
    }

    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.ticket.get().copied()
    }

    pub(crate) fn listed_ticket(&self) -> Option<Ticket> {
        self.listed_ticket.get().copied()
    }

    /// It has left the tier: from now on, nobody serves it without asking.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::SeqCst);
        if !self.is_counted.swap(true, Ordering::Relaxed) {
            self.home.retired.fetch_add(self.weight.into(), Ordering::Relaxed);
        }
    }

    /// Moka is about to let go of it: for whoever has the turn of its key. Whether it was out already.
    pub(crate) fn leave(&self) -> bool {
        self.is_out.swap(true, Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// A load in its place has failed: the next one is not before `moment`.
    pub(crate) fn rest_until(&self, moment: Nanos) {
        self.rests_until.store(moment, Ordering::Relaxed);
    }

    pub(crate) fn is_resting(&self, now: Nanos) -> bool {
        self.rests(now).is_some()
    }

    /// Until when.
    pub(crate) fn rests(&self, now: Nanos) -> Option<Nanos> {
        Some(self.rest()).filter(|until| now < *until)
    }

    pub(crate) fn rest(&self) -> Nanos {
        self.rests_until.load(Ordering::Relaxed)
    }

    /// Counts a use; whether that may make its key one of the most used.
    #[inline]
    pub(crate) fn used(&self) -> bool {
        self.heat.as_ref().is_some_and(|heat| heat.add())
    }

    /// `None` if its function keeps no keys warm.
    pub(crate) fn heat(&self) -> Option<&Arc<Heat>> {
        self.heat.as_ref()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        leave(&self.slot);
        if *self.is_counted.get_mut() {
            self.home.retired.fetch_sub(self.weight.into(), Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("weight", &self.weight).finish_non_exhaustive()
    }
}

/// Where entries are at home: one in-process tier.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    max_bytes: u64,
    /// Bytes of it that threads have at hand.
    at_hand: AtomicU64,
    /// Bytes that have left the tier and are still held by somebody.
    retired: AtomicU64,
}

impl MemoryBudget {
    /// A tier of so many bytes.
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes, at_hand: AtomicU64::new(0), retired: AtomicU64::new(0) })
    }

    /// What each thread may have at hand of it, whatever the others have. One that never calls again keeps what it has.
    pub(crate) fn share(&self) -> u64 {
        self.max_bytes / 16
    }

    /// Whether a thread may have more than its share at hand: while all threads together have less than half of the tier.
    pub(crate) fn may_hold(&self, more: u64) -> bool {
        self.at_hand.load(Ordering::Relaxed) + more <= self.max_bytes / 2
    }

    /// A thread has so much more at hand,
    pub(crate) fn hold(&self, weight: u64) {
        self.at_hand.fetch_add(weight, Ordering::Relaxed);
    }

    /// or less.
    pub(crate) fn let_go(&self, weight: u64) {
        self.at_hand.fetch_sub(weight, Ordering::Relaxed);
    }

    pub(crate) fn retired(&self) -> u64 {
        self.retired.load(Ordering::Relaxed)
    }
}
