//! The store of the in-process tier: typed values, bounded by their bytes.
//!
//! The [regions](crate::l1::regions) hold the entries, and the [policy](crate::l1::eviction::Policy) selects
//! those that leave. A function with `max_entries` has a second policy, for its own entries.
//!
//! Invariants:
//!
//! * The entries in the policy are those in the tier, except during `clear`: it takes all of them out of the policy,
//!   and retires them afterwards.
//! * An entry that leaves is retired before it is removed from its region. A thread that still finds it there sees
//!   that it is retired and does not serve it.
//! * Changes of one key happen one after the other, under the lock of the key: the lock of its shard in the
//!   regions. An entry moves to the main region under the same lock, unless it is retired.
//! * An entry gets its tickets under the lock of its key, and a removal reads them under that lock.
//! * Lock order: a shard of `flight` (held by most callers), the lock of a key, `function_lists` or the proof of a
//!   function, a list. The lock of a key is never taken under the lock of a list. `clear` takes the list alone.
//! * The drop of a value and an observer are user code. They run under none of these locks: see
//!   `deferred_drops` and [`report_evictions`](L1::report_evictions).
//!
//! The policy is in `eviction`, the state of an entry in `entry`, and the shorter path of a hit in
//! `thread_cache`. The fence in `flight` decides between fills and invalidations.
//!
//! * `removal`: the entries that leave.
//! * `evictions`: those that the policy selects, and their observers.
//! * `expiry`: the removal of entries that are over.
//! * `list`: a policy under a lock.
//! * `purge`: the request that threads purge their caches.
//! * `weight`: the bytes that an entry counts for.

mod evictions;
mod expiry;
mod list;
mod purge;
mod removal;
#[cfg(test)]
mod tests;
mod weight;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use self::{
    expiry::Expiry,
    list::{BoundedList, Listed},
    purge::PurgeTrigger,
    weight::entry_weight,
};
use crate::{
    base::{clock::Nanos, function_table::FunctionTable},
    coherence::validity::Validity,
    key::{KeyHasher, KeyRef, OwnedKey},
    l1::{
        deferred_drops::DeferredDrops,
        entry::{Entry, EntryParts, Extra},
        function::L1Function,
        hot_keys::HotKeys,
        memory::MemoryBudget,
        regions::Regions,
    },
    spec::FunctionSpec,
    telemetry::{event::SharedObservers, functions::FunctionRegistry},
    tier::Revision,
    value::erased::ErasedValue,
};

/// The in-process tier of one cache.
pub(crate) struct L1 {
    regions: Regions,
    memory: Arc<MemoryBudget>,
    list: BoundedList<Arc<Entry>>,
    /// Held while the entries of a cleared tier are retired.
    clearing: Mutex<()>,
    /// List of each function with `max_entries`, by its template.
    function_lists: RwLock<HashMap<&'static str, Arc<BoundedList<Listed>>, foldhash::fast::RandomState>>,
    expiry: Expiry,
    hot_keys: HotKeys,
    /// Evicted entries that observers have not been notified of.
    unreported_evictions: Mutex<Vec<Arc<Entry>>>,
    purge: PurgeTrigger,
    functions: FunctionTable<Arc<L1Function>>,
    metrics: Arc<FunctionRegistry>,
    observers: SharedObservers,
    hasher: Arc<dyn KeyHasher>,
}

impl L1 {
    pub(crate) fn new(
        max_bytes: u64,
        observers: &SharedObservers,
        hasher: &Arc<dyn KeyHasher>,
        metrics: &Arc<FunctionRegistry>,
    ) -> Self {
        Self {
            regions: Regions::new(max_bytes),
            memory: MemoryBudget::new(max_bytes),
            list: BoundedList::new(max_bytes),
            clearing: Mutex::default(),
            function_lists: RwLock::default(),
            expiry: Expiry::default(),
            hot_keys: HotKeys::default(),
            unreported_evictions: Mutex::default(),
            purge: PurgeTrigger::new(max_bytes),
            functions: FunctionTable::new(),
            metrics: metrics.clone(),
            observers: observers.clone(),
            hasher: hasher.clone(),
        }
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    pub(crate) fn hot_keys(&self) -> &HotKeys {
        &self.hot_keys
    }

    /// Returns the number of entries and their bytes.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let list = self.list.lock();
        (list.len() as u64, list.weight())
    }

    /// Returns the entry under `key` with the current time, unless it is too old to be served: then it is removed.
    ///
    /// Removes some other entries that are over, too, if that is due. The time itself is read only if it matters.
    pub(crate) fn get(
        &self,
        spec: &FunctionSpec,
        key: KeyRef<'_>,
        upper_bound: Nanos,
        now: impl Fn() -> Nanos,
    ) -> Option<(Arc<Entry>, Nanos)> {
        let Some((entry, now)) = self.find_usable(key, &now) else {
            if self.is_expiry_due(upper_bound) {
                self.expire_at_miss(now());
            }
            return None;
        };
        self.expire_at_hit(now);
        entry.touch(spec.own_max_entries().is_some());
        Some((entry, now))
    }

    fn find_usable(&self, key: KeyRef<'_>, now: impl Fn() -> Nanos) -> Option<(Arc<Entry>, Nanos)> {
        let mut entry = self.regions.get(key)?;
        let now = now();
        if entry.is_retired() {
            entry = self.get_under_lock(key)?;
        }
        if !entry.erased.freshness().is_usable(now) {
            self.remove_entry(&entry);
            return None;
        }
        Some((entry, now))
    }

    /// Returns whether there is an entry under `key`: see [`Regions::has`].
    pub(crate) fn has(&self, key: &OwnedKey) -> bool {
        self.regions.has(key.as_ref())
    }

    /// Looks again, under the lock of the key: a new entry may be about to replace the retired one.
    #[cold]
    fn get_under_lock(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let _deferred = DeferredDrops::begin();
        self.regions.lock(key.hash()).get(key).filter(|entry| !entry.is_retired())
    }

    /// Stores a value under `key`, and evicts entries that do not fit any more.
    ///
    /// Observers learn of the evictions from [`report_evictions`](Self::report_evictions), which the caller
    /// calls later, when it holds no lock.
    pub(crate) fn insert(
        &self,
        spec: &FunctionSpec,
        key: &OwnedKey,
        erased: Arc<dyn ErasedValue>,
        validity: Validity,
        revision: Revision,
    ) {
        let _deferred = DeferredDrops::begin();
        let function = self.function(spec).clone();
        // Of a value from the shared tier, this is a while ago. Then a look-up finds the time for a check.
        let now = erased.freshness().loaded_at();
        let weight = entry_weight(key, &validity, erased.freshness().weight);
        let mut regions = self.regions.lock(key.hash());
        let before = regions.get(key.as_ref());
        if let Some(before) = &before {
            before.mark_removed();
        }
        let is_new = before.as_ref().is_none_or(|before| !Arc::ptr_eq(&before.erased, &erased));
        let is_kept_warm = spec.warm_keys() > 0;
        let heat = is_kept_warm.then(|| {
            let before = before.as_ref().and_then(|before| before.heat().cloned());
            self.hot_keys.of(spec.template()).heat_for(key, before, is_new.then(|| erased.freshness()))
        });
        // The same value with a new validity keeps its backoff.
        let backoff_until = before.as_ref().filter(|_| !is_new).map_or(0, |before| before.backoff_until());
        let function_list = spec.own_max_entries().map(|cap| self.function_list(spec.template(), cap));
        let has_extra = heat.is_some() || function_list.is_some();
        let extra = has_extra.then(|| Box::new(Extra::new(heat)));
        let has_backoff = is_kept_warm || erased.freshness().is_ever_due();
        let proof = function.proof(validity, revision, has_backoff, backoff_until);
        let entry =
            Arc::new(Entry::new(EntryParts { key: key.clone(), erased, proof, function, extra, weight }));
        match &before {
            // Both are in the same lists, where `put` replaces the earlier entry.
            Some(before) if before.function_ticket().is_some() == function_list.is_some() => {
                self.retire_in_place(before);
            }
            Some(before) => self.retire(before),
            None => {}
        }
        let old_ticket = before.as_ref().and_then(|before| before.ticket());
        let retire = |entry: &Arc<Entry>| self.retire_evicted(entry);
        let placement = self.list.put(old_ticket, key.hash(), weight, entry.clone(), retire);
        entry.set_ticket(placement.ticket);
        let function_evictions = function_list.map(|function_list| {
            let old_function_ticket = before.as_ref().and_then(|before| before.function_ticket());
            let listed = Listed(entry.clone());
            let placement =
                function_list.put(old_function_ticket, key.hash(), 1, listed, |entry| entry.retire());
            entry.set_function_ticket(placement.ticket);
            (function_list, placement)
        });
        if let Some(entry) = regions.put(before.as_ref(), entry) {
            // Meanwhile, the tier was cleared, or another thread evicted this entry.
            self.retire(&entry);
            entry.mark_removed();
            regions.remove(&entry);
        }
        drop(regions);
        self.finish_evictions(placement.evicted);
        if let Some((function_list, placement)) = function_evictions {
            self.finish_function_evictions(&function_list, placement.evicted);
        }
        self.expire_at_miss(now);
    }

    /// Moves an entry that has proved its use to the main region, unless it has left the tier.
    ///
    /// If it is retired during the move, its removal waits for the lock of the key, and takes it out of the main
    /// region.
    fn move_to_main(&self, entry: &Arc<Entry>) {
        let mut regions = self.regions.lock(entry.hash());
        if !entry.is_retired() && !entry.is_removed() {
            regions.move_to_main(entry);
        }
    }

    fn function(&self, spec: &FunctionSpec) -> &Arc<L1Function> {
        let make = || L1Function::new(self.metrics.metrics_of(spec), &self.memory);
        self.functions.get_or_insert(spec.template(), spec.template_fingerprint(), make)
    }

    fn function_list(&self, template: &'static str, cap: u64) -> Arc<BoundedList<Listed>> {
        let known = self.function_lists.read().unwrap_or_else(PoisonError::into_inner).get(template).cloned();
        known.unwrap_or_else(|| {
            let mut function_lists = self.function_lists.write().unwrap_or_else(PoisonError::into_inner);
            function_lists.entry(template).or_insert_with(|| Arc::new(BoundedList::new(cap))).clone()
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for L1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("L1").field("entries", &self.list.lock().len()).finish_non_exhaustive()
    }
}
