//! An entry of the in-process tier.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool as StdAtomicBool, AtomicU8, Ordering},
    },
};

use crate::{
    base::clock::Nanos,
    coherence::validity::Validity,
    key::{KeyRef, OwnedKey, StoredKey},
    l1::{
        deferred_drops::defer_drop,
        eviction::{Ticket, TicketCell, Uses},
        function::L1Function,
        heat::Heat,
        memory::MemoryBudget,
        proof::Proof,
    },
    sync::AtomicBool,
    telemetry::functions::FunctionMetrics,
    tier::Revision,
    value::erased::ErasedValue,
};

/// A value with everything that a hit needs to serve it.
///
/// A thread that holds the entry serves it without reading anything that several threads modify.
///
/// The fields that a hit does not read come first, between the reference counter and the others. The entry is
/// not aligned to a cache line: an allocator takes several times as long for such a block, and a tenth more
/// memory. The value is a block of its own, because it outlives the entry: a load hands it to its followers before
/// there is an entry, and an entry with a newer proof takes over the value.
#[repr(C)]
pub(crate) struct Entry {
    /// State that few functions need.
    extra: Option<Box<Extra>>,
    /// Place in the eviction policy of the tier.
    ticket: TicketCell,
    /// Estimated size in bytes.
    pub(crate) weight: u32,
    /// Marks of the entry: a bit for each.
    marks: AtomicU8,
    /// Use count for the bound of the tier.
    uses: Uses,
    /// Set when the entry has left the tier.
    is_retired: AtomicBool,
    /// Set before a thread cache holds the entry.
    was_thread_cached: StdAtomicBool,
    /// Time from which the value is due: a copy, so that a hit of the thread cache need not read that of the
    /// erased value.
    due: Nanos,
    pub(crate) erased: Arc<dyn ErasedValue>,
    proof: Arc<Proof>,
    function: Arc<L1Function>,
    key: StoredKey,
}

/// State of an entry of a function that has `max_entries`, or keeps keys warm.
#[derive(Default)]
pub(crate) struct Extra {
    /// Use counter of the key; `None` if the function keeps no keys warm.
    heat: Option<Arc<Heat>>,
    /// Place in the list of the function.
    ticket: TicketCell,
    /// Use count for the `max_entries` of the function.
    uses: Uses,
}

impl Extra {
    pub(crate) fn new(heat: Option<Arc<Heat>>) -> Self {
        Self { heat, ..Self::default() }
    }
}

/// Mark of an entry of which the weight is counted in the retired bytes of the budget.
const COUNTED_RETIRED: u8 = 1;
/// Mark of an entry that is removed from its region.
const REMOVED: u8 = 2;
/// Mark of an entry that is in the main region, and not in the window.
const IN_MAIN: u8 = 4;

/// Arguments of [`Entry::new`].
pub(crate) struct EntryParts {
    pub(crate) key: OwnedKey,
    pub(crate) erased: Arc<dyn ErasedValue>,
    pub(crate) proof: Arc<Proof>,
    pub(crate) function: Arc<L1Function>,
    pub(crate) extra: Option<Box<Extra>>,
    pub(crate) weight: u32,
}

impl Entry {
    pub(crate) fn new(parts: EntryParts) -> Self {
        let EntryParts { key, erased, proof, function, extra, weight } = parts;
        Self {
            due: erased.freshness().due(),
            key: key.into(),
            erased,
            proof,
            function,
            extra,
            weight,
            is_retired: AtomicBool::new(false),
            uses: Uses::default(),
            was_thread_cached: StdAtomicBool::new(false),
            marks: AtomicU8::new(0),
            ticket: TicketCell::default(),
        }
    }

    #[inline]
    pub(crate) fn key(&self) -> KeyRef<'_> {
        self.key.with_template(self.function.template)
    }

    /// Returns the template of the function that the entry belongs to.
    pub(crate) fn template(&self) -> &'static str {
        self.function.template
    }

    /// Returns the hash of the key.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.key.hash()
    }

    /// Returns the validity: the proof that the value is current.
    #[inline]
    pub(crate) fn validity(&self) -> &Validity {
        &self.proof.validity
    }

    /// Returns the revision of the value in the shared tier; zero if it is not there.
    pub(crate) fn revision(&self) -> Revision {
        self.proof.revision
    }

    /// Returns the metrics of the function that the entry belongs to, so that a hit finds its counter.
    #[inline]
    pub(crate) fn metrics(&self) -> &FunctionMetrics {
        &self.function.metrics
    }

    /// Returns whether the entry is in the tier of this budget.
    #[inline]
    pub(crate) fn is_in(&self, memory: &Arc<MemoryBudget>) -> bool {
        Arc::ptr_eq(&self.function.memory, memory) && !self.is_retired()
    }

    /// Returns whether both entries are, or were, under the same key of the same tier.
    pub(crate) fn has_same_key(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.memory(), other.memory()) && self.key().is_same(other.key())
    }

    /// Returns whether the value is not due yet.
    #[inline]
    pub(crate) fn is_before_due(&self, now: Nanos) -> bool {
        now < self.due
    }

    pub(crate) fn memory(&self) -> &Arc<MemoryBudget> {
        &self.function.memory
    }

    /// Returns the use count for the eviction policy of the tier.
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// Returns the use count for the list of the function, if it has one.
    pub(crate) fn function_uses(&self) -> &Uses {
        self.extra.as_ref().map_or(&self.uses, |extra| &extra.uses)
    }

    /// Counts a use for the eviction policy of the tier and, if the function has `max_entries`, for
    /// its list.
    #[inline]
    pub(crate) fn touch(&self, has_entry_cap: bool) {
        self.uses.increment();
        if has_entry_cap {
            self.function_uses().increment();
        }
    }

    pub(crate) fn set_ticket(&self, ticket: Ticket) {
        self.ticket.set(ticket);
    }

    pub(crate) fn set_function_ticket(&self, ticket: Ticket) {
        if let Some(extra) = &self.extra {
            extra.ticket.set(ticket);
        }
    }

    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.ticket.get()
    }

    pub(crate) fn function_ticket(&self) -> Option<Ticket> {
        self.extra.as_ref()?.ticket.get()
    }

    /// Marks the entry as having left the tier.
    ///
    /// From then on, no hit serves it without asking the shared tier. The weight counts as retired from the
    /// first call until the entry is dropped.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::SeqCst);
        if !self.mark(COUNTED_RETIRED) {
            self.memory().retire(self.weight.into());
        }
    }

    /// Sets a mark. Returns whether it was set already.
    fn mark(&self, mark: u8) -> bool {
        self.marks.fetch_or(mark, Ordering::Relaxed) & mark != 0
    }

    fn has_mark(&self, mark: u8) -> bool {
        self.marks.load(Ordering::Relaxed) & mark != 0
    }

    /// Marks the entry as about to be removed from its region. Returns whether it was marked already.
    ///
    /// The caller holds the lock of the key.
    pub(crate) fn mark_removed(&self) -> bool {
        self.mark(REMOVED)
    }

    /// Returns whether the entry is removed from its region, or about to be.
    pub(crate) fn is_removed(&self) -> bool {
        self.has_mark(REMOVED)
    }

    /// Returns whether the entry is in the main region. Only a caller that holds the lock of the key can rely on
    /// it.
    pub(crate) fn is_in_main(&self) -> bool {
        self.has_mark(IN_MAIN)
    }

    /// Records that the entry is in the main region. The caller holds the lock of the key.
    pub(crate) fn set_in_main(&self) {
        self.mark(IN_MAIN);
    }

    /// Returns whether the key of the entry may have been invalidated, as far as the entry itself knows.
    ///
    /// The epoch of a name ends with each invalidation of the name. An entry without a name only leaves the
    /// tier.
    pub(crate) fn may_be_outdated(&self) -> bool {
        self.validity().epoch.is_of_function() && self.is_retired()
    }

    /// Records that a thread cache is about to hold the entry. Returns false if the entry has left the tier.
    ///
    /// Each of two threads stores its own flag before it loads that of the other. So either this call returns
    /// false, or the thread that retires the entry finds afterwards that a thread cache may hold it.
    pub(crate) fn enter_thread_cache(&self) -> bool {
        self.was_thread_cached.store(true, Ordering::SeqCst);
        !self.is_retired.load(Ordering::SeqCst)
    }

    /// Returns whether a thread cache may hold the entry, or may have held it.
    pub(crate) fn may_be_in_thread_cache(&self) -> bool {
        self.was_thread_cached.load(Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Begins a backoff after a failed load: the next load is not before `moment`.
    ///
    /// Does nothing if the value is not served while it is renewed.
    pub(crate) fn start_backoff(&self, moment: Nanos) {
        self.proof.start_backoff(moment);
    }

    pub(crate) fn is_backing_off(&self, now: Nanos) -> bool {
        self.backoff(now).is_some()
    }

    /// Returns the end of the backoff, if that is later than `now`.
    pub(crate) fn backoff(&self, now: Nanos) -> Option<Nanos> {
        Some(self.backoff_until()).filter(|until| now < *until)
    }

    pub(crate) fn backoff_until(&self) -> Nanos {
        self.proof.backoff_until()
    }

    /// Counts a use of the key. Returns whether it may make the key one of the most used.
    #[inline]
    pub(crate) fn add_heat(&self) -> bool {
        self.heat().is_some_and(|heat| heat.add_use())
    }

    /// Returns the use counter of the key; `None` if the function keeps no keys warm.
    pub(crate) fn heat(&self) -> Option<&Arc<Heat>> {
        self.extra.as_ref()?.heat.as_ref()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        defer_drop(&self.erased);
        if self.has_mark(COUNTED_RETIRED) {
            self.memory().release_retired(self.weight.into());
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("weight", &self.weight).finish_non_exhaustive()
    }
}
