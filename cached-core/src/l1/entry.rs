//! An entry of the in-process tier, and the memory accounting of that tier.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool as StdAtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    base::clock::Nanos,
    coherence::validity::Validity,
    key::OwnedKey,
    l1::{
        deferred_drops::defer_drop,
        eviction::{Ticket, Uses},
        heat::Heat,
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
/// memory.
#[repr(C)]
pub(crate) struct Entry {
    /// Use counter of the key; `None` if the function keeps no keys warm.
    heat: Option<Arc<Heat>>,
    /// Revision of the value in the shared tier; zero if it is not there.
    pub(crate) revision: Revision,
    /// End of the backoff: after a failed load that was to replace the value, no other begins before it.
    backoff_until: AtomicU64,
    /// Place in the eviction policy of the tier.
    ticket: OnceLock<Ticket>,
    /// Place in the list of the function.
    function_ticket: OnceLock<Ticket>,
    /// Estimated size in bytes.
    pub(crate) weight: u32,
    /// Set when the weight is counted in the retired bytes of the budget.
    is_counted_retired: StdAtomicBool,
    /// Set when the entry is removed from its region.
    is_removed: StdAtomicBool,
    /// Set when the entry is in the main region, and not in the window.
    is_in_main: StdAtomicBool,
    /// Set when the entry has left the tier.
    is_retired: AtomicBool,
    /// Budget of the tier that the entry belongs to; it identifies that tier.
    memory: Arc<MemoryBudget>,
    /// Time from which the value is due: a copy, so that a hit of the thread cache need not read that of the
    /// erased value.
    due: Nanos,
    pub(crate) erased: Arc<dyn ErasedValue>,
    /// Validity: the proof that the value is current.
    pub(crate) validity: Validity,
    /// Metrics of the function that the entry belongs to, so that a hit finds its counter.
    pub(crate) function: Arc<FunctionMetrics>,
    key: OwnedKey,
    /// Use count for the bound of the tier.
    uses: Uses,
    /// Use count for the `max_entries` of the function.
    function_uses: Uses,
}

/// Arguments of [`Entry::new`].
pub(crate) struct EntryParts {
    pub(crate) key: OwnedKey,
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) erased: Arc<dyn ErasedValue>,
    pub(crate) validity: Validity,
    pub(crate) revision: Revision,
    pub(crate) backoff_until: Nanos,
    pub(crate) function: Arc<FunctionMetrics>,
    pub(crate) heat: Option<Arc<Heat>>,
    pub(crate) weight: u32,
}

impl Entry {
    pub(crate) fn new(parts: EntryParts) -> Self {
        let EntryParts { key, memory, erased, validity, revision, backoff_until, function, heat, weight } =
            parts;
        Self {
            due: erased.freshness().due(),
            key,
            memory,
            erased,
            validity,
            is_retired: AtomicBool::new(false),
            uses: Uses::default(),
            function_uses: Uses::default(),
            function,
            heat,
            revision,
            backoff_until: backoff_until.into(),
            weight,
            is_counted_retired: StdAtomicBool::new(false),
            is_removed: StdAtomicBool::new(false),
            is_in_main: StdAtomicBool::new(false),
            ticket: OnceLock::new(),
            function_ticket: OnceLock::new(),
        }
    }

    pub(crate) fn key(&self) -> &OwnedKey {
        &self.key
    }

    /// Returns whether the entry is in the tier of this budget.
    #[inline]
    pub(crate) fn is_in(&self, memory: &Arc<MemoryBudget>) -> bool {
        Arc::ptr_eq(&self.memory, memory) && !self.is_retired()
    }

    /// Returns whether both entries are, or were, under the same key of the same tier.
    pub(crate) fn has_same_key(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory) && self.key == other.key
    }

    /// Returns whether the value is not due yet.
    #[inline]
    pub(crate) fn is_before_due(&self, now: Nanos) -> bool {
        now < self.due
    }

    pub(crate) fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    /// Returns the use count for the eviction policy of the tier.
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// Returns the use count for the list of the function.
    pub(crate) fn function_uses(&self) -> &Uses {
        &self.function_uses
    }

    /// Counts a use for the eviction policy of the tier and, if the function has `max_entries`, for
    /// its list.
    #[inline]
    pub(crate) fn touch(&self, has_entry_cap: bool) {
        self.uses.increment();
        if has_entry_cap {
            self.function_uses.increment();
        }
    }

    pub(crate) fn set_ticket(&self, ticket: Ticket) {
        let _ = self.ticket.set(ticket);
    }

    pub(crate) fn set_function_ticket(&self, ticket: Ticket) {
        let _ = self.function_ticket.set(ticket);
    }

    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.ticket.get().copied()
    }

    pub(crate) fn function_ticket(&self) -> Option<Ticket> {
        self.function_ticket.get().copied()
    }

    /// Marks the entry as having left the tier.
    ///
    /// From then on, no hit serves it without asking the shared tier. The weight counts as retired from the
    /// first call until the entry is dropped.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::SeqCst);
        if !self.is_counted_retired.swap(true, Ordering::Relaxed) {
            self.memory.retired_bytes.fetch_add(self.weight.into(), Ordering::Relaxed);
        }
    }

    /// Marks the entry as about to be removed from its region. Returns whether it was marked already.
    ///
    /// The caller holds the lock of the key.
    pub(crate) fn mark_removed(&self) -> bool {
        self.is_removed.swap(true, Ordering::Relaxed)
    }

    /// Returns whether the entry is removed from its region, or about to be.
    pub(crate) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// Returns whether the entry is in the main region. Only a caller that holds the lock of the key can rely on
    /// it.
    pub(crate) fn is_in_main(&self) -> bool {
        self.is_in_main.load(Ordering::Relaxed)
    }

    /// Records that the entry is in the main region. The caller holds the lock of the key.
    pub(crate) fn set_in_main(&self) {
        self.is_in_main.store(true, Ordering::Relaxed);
    }

    /// Returns whether the key of the entry may have been invalidated, as far as the entry itself knows.
    ///
    /// The epoch of a name ends with each invalidation of the name. An entry without a name only leaves the
    /// tier.
    pub(crate) fn may_be_outdated(&self) -> bool {
        self.validity.epoch.is_of_function() && self.is_retired()
    }

    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Begins a backoff after a failed load: the next load is not before `moment`.
    pub(crate) fn start_backoff(&self, moment: Nanos) {
        self.backoff_until.store(moment, Ordering::Relaxed);
    }

    pub(crate) fn is_backing_off(&self, now: Nanos) -> bool {
        self.backoff(now).is_some()
    }

    /// Returns the end of the backoff, if that is later than `now`.
    pub(crate) fn backoff(&self, now: Nanos) -> Option<Nanos> {
        Some(self.backoff_until()).filter(|until| now < *until)
    }

    pub(crate) fn backoff_until(&self) -> Nanos {
        self.backoff_until.load(Ordering::Relaxed)
    }

    /// Counts a use of the key. Returns whether it may make the key one of the most used.
    #[inline]
    pub(crate) fn add_heat(&self) -> bool {
        self.heat.as_ref().is_some_and(|heat| heat.add_use())
    }

    /// Returns the use counter of the key; `None` if the function keeps no keys warm.
    pub(crate) fn heat(&self) -> Option<&Arc<Heat>> {
        self.heat.as_ref()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        defer_drop(&self.erased);
        if *self.is_counted_retired.get_mut() {
            self.memory.retired_bytes.fetch_sub(self.weight.into(), Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("weight", &self.weight).finish_non_exhaustive()
    }
}

/// Memory accounting of one in-process tier. Entries refer to it, which identifies their tier.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    max_bytes: u64,
    /// Bytes held by thread caches. An entry that is in several of them counts once for each.
    thread_cache_bytes: AtomicU64,
    /// Bytes of entries that have left the tier and are still referenced.
    retired_bytes: AtomicU64,
}

impl MemoryBudget {
    /// Creates the budget of a tier of `max_bytes`.
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes, thread_cache_bytes: AtomicU64::new(0), retired_bytes: AtomicU64::new(0) })
    }

    /// Returns the bytes that each thread cache may hold, regardless of the others.
    ///
    /// A thread that never calls again keeps the entries of its cache.
    pub(crate) fn thread_share(&self) -> u64 {
        self.max_bytes / 16
    }

    /// Returns whether a thread cache may hold that many more `bytes`, beyond its share.
    ///
    /// It may if all thread caches together then hold at most half of the tier.
    pub(crate) fn can_reserve(&self, bytes: u64) -> bool {
        self.thread_cache_bytes.load(Ordering::Relaxed) + bytes <= self.max_bytes / 2
    }

    /// Adds `weight` to the bytes held by thread caches.
    pub(crate) fn reserve(&self, weight: u64) {
        self.thread_cache_bytes.fetch_add(weight, Ordering::Relaxed);
    }

    /// Subtracts `weight` from the bytes held by thread caches.
    pub(crate) fn release(&self, weight: u64) {
        self.thread_cache_bytes.fetch_sub(weight, Ordering::Relaxed);
    }

    pub(crate) fn retired_bytes(&self) -> u64 {
        self.retired_bytes.load(Ordering::Relaxed)
    }
}
