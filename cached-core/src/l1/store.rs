//! The store of the in-process tier: typed values in Moka, bounded by their bytes.
//!
//! Moka holds the entries, and the [`Policy`] of this crate selects those that leave. A function with an
//! entry cap has a second policy, for its own entries.
//!
//! Invariants:
//!
//! * The entries in the policy are those in the tier.
//! * An entry that leaves is retired first, and removed from Moka afterwards. A thread that still finds it in
//!   Moka sees that it is retired and does not serve it.
//! * Changes of one key happen one after the other, under the lock of the key (one of `key_locks`).
//! * Lock order: a shard of `flight` (held by most callers), the lock of a key, `function_lists`, a list. The
//!   lock of a key is never taken under the lock of a list.
//! * The drop of a value and an observer are user code. They run under none of these locks: see `deferred_drops` and
//!   [`report_evictions`](L1::report_evictions).
//!
//! The policy is in `eviction`, the state of an entry in `entry`, and the shorter path of a hit in
//! `thread_cache`. The fence in `flight` decides between fills and invalidations.

use std::{
    cell::Cell,
    collections::HashMap,
    fmt, mem, ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    base::clock::Nanos,
    coherence::{epoch::Epoch, validity::Validity},
    key::{Key, KeyHasher, KeyRef},
    l1::{
        deferred_drops::DeferredDrops,
        entry::{Entry, EntryParts, MemoryBudget},
        eviction::{Policy, Resident, Ticket, Uses},
        hot_keys::HotKeys,
        map::Map,
        thread_cache,
    },
    spec::FunctionSpec,
    telemetry::{
        event::{EventKind, SharedObservers},
        functions::FunctionRegistry,
    },
    tier::Revision,
    value::erased::ErasedValue,
};

/// Bytes that Moka, the policy, the validity and the epoch of its name add to each entry.
///
/// Measured with a million entries (docs/performance.md).
const ENTRY_OVERHEAD: usize = 850;

/// Bytes that a tag adds to each entry that has it.
const TAG_BYTES: usize = 16;

/// Bytes that a tag adds once, to its first entries: its epoch, and the place in the table of epochs.
const TAG_EPOCH_BYTES: usize = 180;

/// Greatest number of references to the epoch of a tag that counts as new.
///
/// A load holds several references while its value is stored.
const NEW_TAG_REFERENCES: usize = 4;

/// Least number of bytes for which threads are asked to purge: each has to scan its whole thread cache.
const MIN_PURGE_BYTES: u64 = 1 << 20;

/// Number of locks under which the changes of one key happen one after the other.
const KEY_LOCKS: usize = 64;

/// The in-process tier of one cache.
pub(crate) struct L1 {
    map: Map,
    memory: Arc<MemoryBudget>,
    list: BoundedList<Arc<Entry>>,
    /// List of each function with an entry cap, by its template.
    function_lists: RwLock<HashMap<&'static str, Arc<BoundedList<Listed>>, foldhash::fast::RandomState>>,
    hot_keys: HotKeys,
    key_locks: [Mutex<()>; KEY_LOCKS],
    /// Evicted entries that observers have not been notified of.
    unreported_evictions: Mutex<Vec<Arc<Entry>>>,
    /// Bytes that have left since threads were last asked to purge their caches.
    bytes_since_purge: AtomicU64,
    /// Value of `bytes_since_purge` above which threads are asked to purge.
    purge_threshold: u64,
    functions: Arc<FunctionRegistry>,
    observers: SharedObservers,
    hasher: Arc<dyn KeyHasher>,
}

/// Bounded list of entries: a policy under a lock.
struct BoundedList<T>(Mutex<Policy<T>>);

/// An entry in the list of its function.
struct Listed(Arc<Entry>);

/// Member of a list.
trait ListMember: Resident {
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
    fn new(capacity: u64) -> Self {
        Self(Mutex::new(Policy::new(capacity)))
    }

    fn lock(&self) -> MutexGuard<'_, Policy<T>> {
        lock(&self.0)
    }

    /// Adds an entry, in the place of the earlier one of its key if there is one, which is returned.
    fn put(&self, old_ticket: Option<Ticket>, hash: u64, weight: u32, item: T) -> (Ticket, Option<T>) {
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
    /// Each entry is retired while the lock is still held. A concurrent [`clear`](L1::clear) does not find it
    /// in the list, and no hit may serve it after that.
    fn evict_excess(&self, mut on_evict: impl FnMut(&Arc<Entry>)) {
        loop {
            let mut policy = self.lock();
            let Some(item) = policy.evict() else { return };
            item.entry().retire();
            drop(policy);
            on_evict(item.entry());
        }
    }
}

impl L1 {
    pub(crate) fn new(
        max_bytes: u64,
        observers: &SharedObservers,
        hasher: &Arc<dyn KeyHasher>,
        functions: &Arc<FunctionRegistry>,
    ) -> Self {
        Self {
            map: Map::new(),
            memory: MemoryBudget::new(max_bytes),
            list: BoundedList::new(max_bytes),
            function_lists: RwLock::default(),
            hot_keys: HotKeys::default(),
            key_locks: [const { Mutex::new(()) }; KEY_LOCKS],
            unreported_evictions: Mutex::default(),
            bytes_since_purge: AtomicU64::new(0),
            purge_threshold: (max_bytes / 16).max(MIN_PURGE_BYTES),
            functions: functions.clone(),
            observers: observers.clone(),
            hasher: hasher.clone(),
        }
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    /// Returns the entry under `key`, unless it is too old to be served: then it is removed.
    pub(crate) fn get(&self, spec: &FunctionSpec, key: KeyRef<'_>, now: Nanos) -> Option<Arc<Entry>> {
        let mut entry = self.map.get(key)?;
        if entry.is_retired() {
            entry = self.get_under_lock(key)?;
        }
        if !entry.slot.freshness().is_usable(now) {
            self.remove_entry(&entry);
            return None;
        }
        entry.touch(spec.own_max_entries().is_some());
        Some(entry)
    }

    /// Returns whether there is an entry under `key`: see [`Map::has`].
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.map.has(key.as_ref())
    }

    /// Looks again, under the lock of the key: a new entry may be about to replace the retired one.
    #[cold]
    fn get_under_lock(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let _deferred = DeferredDrops::begin();
        let _key_lock = self.lock_key(key.hash());
        self.map.get(key).filter(|entry| !entry.is_retired())
    }

    /// Stores a value under `key`, and evicts entries that do not fit any more.
    ///
    /// Observers learn of the evictions from [`report_evictions`](Self::report_evictions), which the caller
    /// calls later, when it holds no lock.
    pub(crate) fn insert(
        &self,
        spec: &FunctionSpec,
        key: &Key,
        slot: Arc<dyn ErasedValue>,
        validity: Validity,
        revision: Revision,
    ) {
        let _deferred = DeferredDrops::begin();
        let function = self.functions.metrics_of(spec).clone();
        let name_bytes =
            validity.epoch.name().len() + validity.tags.iter().map(|(tag, _)| tag_weight(tag)).sum::<usize>();
        let weight = u32::try_from(key.len() + name_bytes + slot.freshness().weight + ENTRY_OVERHEAD)
            .unwrap_or(u32::MAX);
        let key_lock = self.lock_key(key.hash());
        let before = if self.has(key) { self.map.get(key.as_ref()) } else { None };
        if let Some(before) = &before {
            before.mark_removed();
        }
        let is_new = before.as_ref().is_none_or(|before| !Arc::ptr_eq(&before.slot, &slot));
        let heat = (spec.warm_keys() > 0).then(|| {
            let before = before.as_ref().and_then(|before| before.heat().cloned());
            self.hot_keys.of(spec.template()).heat_for(key, before, is_new.then(|| slot.freshness()))
        });
        // The same value with a new validity keeps its backoff.
        let backoff_until = before.as_ref().filter(|_| !is_new).map_or(0, |before| before.backoff_until());
        let function_list = spec.own_max_entries().map(|cap| self.function_list(spec.template(), cap));
        let entry = Arc::new(Entry::new(EntryParts {
            key: key.clone(),
            memory: self.memory.clone(),
            slot,
            validity,
            revision,
            backoff_until,
            function,
            heat,
            weight,
        }));
        match &before {
            // Both are in the same lists, where `put` replaces the earlier entry.
            Some(before) if before.function_ticket().is_some() == function_list.is_some() => {
                self.retire_in_place(before);
            }
            Some(before) => self.retire(before),
            None => {}
        }
        let old_ticket = before.as_ref().and_then(|before| before.ticket());
        let (ticket, _before) = self.list.put(old_ticket, key.hash(), weight, entry.clone());
        entry.set_ticket(ticket);
        if let Some(function_list) = &function_list {
            let old_function_ticket = before.as_ref().and_then(|before| before.function_ticket());
            let (ticket, _before) =
                function_list.put(old_function_ticket, key.hash(), 1, Listed(entry.clone()));
            entry.set_function_ticket(ticket);
        }
        self.map.insert(key.clone(), entry.clone());
        if entry.is_retired() {
            // Meanwhile, the tier was cleared, or another thread evicted this entry.
            self.retire(&entry);
            entry.mark_removed();
            self.map.remove(key.as_ref());
        }
        drop(key_lock);
        self.list.evict_excess(|entry| self.evict(entry));
        if let Some(function_list) = function_list {
            function_list.evict_excess(|entry| self.evict(entry));
        }
    }

    pub(crate) fn remove(&self, key: &Key) {
        let _deferred = DeferredDrops::begin();
        let key_lock = self.lock_key(key.hash());
        let before = self.map.get(key.as_ref());
        if let Some(before) = &before {
            self.retire(before);
            before.mark_removed();
            self.map.remove(key.as_ref());
        }
        drop(key_lock);
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
        for entry in some.iter().filter(|entry| !entry.validity.is_intact()) {
            self.remove_entry(entry);
        }
        next
    }

    pub(crate) fn hot_keys(&self) -> &HotKeys {
        &self.hot_keys
    }

    /// Returns the number of entries and their bytes.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let list = self.list.lock();
        (list.len() as u64, list.weight())
    }

    /// Removes an entry that the policy has evicted, and queues it for observers.
    fn evict(&self, entry: &Arc<Entry>) {
        self.remove_entry(entry);
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
                let key = entry.key().as_ref();
                self.observers.notify(EventKind::Evict, entry.function.name(), Some(key), &*self.hasher);
            }
        }
        REPORTING_L1.set(before);
    }

    /// Retires an entry and removes it from Moka. A newer entry of its key, from another thread, stays.
    fn remove_entry(&self, entry: &Arc<Entry>) {
        let _deferred = DeferredDrops::begin();
        self.retire(entry);
        let key = entry.key();
        let _key_lock = self.lock_key(key.hash());
        if !entry.mark_removed() {
            self.map.remove(key.as_ref());
        }
    }

    /// Retires an entry, so that no hit serves it, and removes it from its lists.
    fn retire(&self, entry: &Arc<Entry>) {
        self.retire_in_place(entry);
        let from_list = entry.ticket().and_then(|ticket| self.list.lock().remove(ticket));
        let from_function_list = entry.function_ticket().and_then(|ticket| {
            let function_lists = self.function_lists.read().unwrap_or_else(PoisonError::into_inner);
            function_lists.get(entry.function.name())?.lock().remove(ticket)
        });
        drop((from_list, from_function_list));
    }

    /// Retires an entry that stays in its lists, and asks threads to purge if enough bytes have left.
    fn retire_in_place(&self, entry: &Entry) {
        entry.retire();
        let weight = entry.weight.into();
        if self.bytes_since_purge.fetch_add(weight, Ordering::Relaxed) + weight > self.purge_threshold {
            self.bytes_since_purge.store(0, Ordering::Relaxed);
            thread_cache::request_purge();
        }
    }

    fn function_list(&self, template: &'static str, cap: u64) -> Arc<BoundedList<Listed>> {
        let known = self.function_lists.read().unwrap_or_else(PoisonError::into_inner).get(template).cloned();
        known.unwrap_or_else(|| {
            let mut function_lists = self.function_lists.write().unwrap_or_else(PoisonError::into_inner);
            function_lists.entry(template).or_insert_with(|| Arc::new(BoundedList::new(cap))).clone()
        })
    }

    #[allow(clippy::cast_possible_truncation, reason = "any bits of the hash select a lock")]
    fn lock_key(&self, hash: u64) -> MutexGuard<'_, ()> {
        lock(&self.key_locks[(hash >> 32) as usize % KEY_LOCKS])
    }
}

fn tag_weight(tag: &Arc<Epoch>) -> usize {
    if Arc::strong_count(tag) > NEW_TAG_REFERENCES {
        TAG_BYTES
    } else {
        TAG_BYTES + TAG_EPOCH_BYTES + tag.name().len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for L1 {
    /// Retires all entries and asks threads to purge them, so that thread caches do not keep them.
    fn drop(&mut self) {
        self.list.lock().clear().for_each(|entry| entry.retire());
        thread_cache::request_purge();
    }
}

impl fmt::Debug for L1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("L1").field("entries", &self.list.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use super::*;
    use crate::{
        coherence::epoch::Epochs,
        key::{Blake3, Part},
        tier::feed::ChangeFeed,
        value::erased::{Freshness, Value},
    };

    const SPEC: FunctionSpec = FunctionSpec::prefix("x");
    const CAPPED_SPEC: FunctionSpec = FunctionSpec::prefix("y").max_entries(10);

    fn l1(max_bytes: u64) -> L1 {
        L1::new(max_bytes, &Arc::default(), &(Arc::new(Blake3) as _), &Arc::new(FunctionRegistry::new()))
    }

    fn key(number: usize) -> Key {
        KeyRef::encode(&mut Vec::new(), &SPEC, &Part(&number)).unwrap().owned()
    }

    /// Stores a value of this weight that expires after a second.
    fn fill(l1: &L1, spec: &FunctionSpec, number: usize, weight: usize) {
        let freshness = Freshness::new(0, Duration::ZERO, Duration::from_secs(1), weight);
        let (tags, feed) = (Box::default(), ChangeFeed::local());
        let validity = Validity { epoch: Epochs::new().current("x"), tags, feed, checked_at: 0 };
        l1.insert(spec, &key(number), Arc::new(Value { freshness, value: number }), validity, 0);
    }

    fn get(l1: &L1, spec: &FunctionSpec, number: usize) -> Option<Arc<Entry>> {
        l1.get(spec, key(number).as_ref(), 1)
    }

    fn moka_has(l1: &L1, number: usize) -> bool {
        l1.map.has(key(number).as_ref())
    }

    #[test]
    fn every_removal_retires_the_entry_and_removes_it_from_moka() {
        let l1 = l1(1 << 20);
        (0..5).for_each(|number| fill(&l1, &SPEC, number, 0));
        let all: Vec<_> = (0..5).map(|number| get(&l1, &SPEC, number).unwrap()).collect();
        assert!(all.iter().all(|entry| !entry.is_retired()));

        fill(&l1, &SPEC, 0, 0);
        assert!(all[0].is_retired() && moka_has(&l1, 0) && !get(&l1, &SPEC, 0).unwrap().is_retired());
        l1.remove(&key(1));
        assert!(all[1].is_retired() && !moka_has(&l1, 1));
        assert!(l1.get(&SPEC, key(2).as_ref(), 2_000_000_000).is_none());
        assert!(all[2].is_retired() && !moka_has(&l1, 2));
        assert!(!all[3].is_retired() && l1.usage().0 == 3);
        l1.clear();
        assert!(all.iter().all(|entry| entry.is_retired()) && !moka_has(&l1, 3));
        assert_eq!(l1.usage(), (0, 0));
    }

    #[test]
    fn stale_removal_keeps_the_newer_entry() {
        let l1 = l1(1 << 20);
        let filled = |number| {
            fill(&l1, &SPEC, number, 0);
            get(&l1, &SPEC, number).unwrap()
        };
        let replaced = filled(0);
        let newer = filled(0);
        l1.remove_entry(&replaced);
        assert!(Arc::ptr_eq(&get(&l1, &SPEC, 0).unwrap(), &newer));

        let removed = filled(1);
        l1.remove(&key(1));
        let newer = filled(1);
        l1.remove_entry(&removed);
        assert!(Arc::ptr_eq(&get(&l1, &SPEC, 1).unwrap(), &newer));

        let taken = filled(2);
        l1.remove_entry(&taken);
        let newer = filled(2);
        l1.remove_entry(&taken);
        assert!(Arc::ptr_eq(&get(&l1, &SPEC, 2).unwrap(), &newer));
    }

    #[test]
    fn l1_is_bounded_by_bytes_and_evicted_entries_leave_moka() {
        let l1 = l1(100_000);
        (0..1000).for_each(|number| fill(&l1, &SPEC, number, 500));
        let (entries, bytes) = l1.usage();
        assert!((90_000..=100_000).contains(&bytes) && (60..80).contains(&entries), "{entries} {bytes}");
        assert_eq!((0..1000).filter(|number| moka_has(&l1, *number)).count() as u64, entries);
        fill(&l1, &SPEC, 7, 200_000);
        assert!(get(&l1, &SPEC, 7).is_none() && !moka_has(&l1, 7), "it has no room at all");
        assert!(l1.usage().0 >= entries - 1);
    }

    #[test]
    fn epoch_of_a_tag_weighs_only_on_its_first_entries() {
        let (l1, epochs) = (l1(1 << 20), Epochs::new());
        let name = "x".repeat(100);
        let weigh = |number: usize, tags: Vec<Arc<Epoch>>| {
            let before = l1.usage().1;
            let freshness = Freshness::new(0, Duration::ZERO, Duration::from_secs(1), 0);
            let tags = tags.into_iter().map(|tag| (tag, 1)).collect();
            let validity =
                Validity { epoch: epochs.current("x"), tags, feed: ChangeFeed::local(), checked_at: 0 };
            l1.insert(&SPEC, &key(number), Arc::new(Value { freshness, value: number }), validity, 0);
            l1.usage().1 - before
        };
        let without_tag = weigh(0, Vec::new());
        let with_tag = weigh(1, vec![epochs.current(&name)]);
        assert_eq!(with_tag - without_tag, (TAG_BYTES + TAG_EPOCH_BYTES + name.len()) as u64);
        let all: Vec<_> =
            (2..100).map(|number| weigh(number, vec![epochs.current(&name)]) - without_tag).collect();
        assert_eq!(all.last(), Some(&(TAG_BYTES as u64)));
        assert!(all.iter().sum::<u64>() < 98 * TAG_BYTES as u64 + 4 * with_tag);
    }

    #[test]
    fn function_with_entry_cap_keeps_that_many_and_displaces_no_other_entries() {
        let l1 = l1(1 << 20);
        (0..50).for_each(|number| fill(&l1, &SPEC, number, 0));
        (100..200).for_each(|number| fill(&l1, &CAPPED_SPEC, number, 0));
        assert_eq!(l1.usage().0, 60);
        assert_eq!((100..200).filter(|number| get(&l1, &CAPPED_SPEC, *number).is_some()).count(), 10);
        l1.clear();
        (100..200).for_each(|number| fill(&l1, &CAPPED_SPEC, number, 0));
        assert_eq!(l1.usage().0, 10);
    }

    #[test]
    fn removed_entry_counts_as_retired_while_it_is_held() {
        let l1 = l1(1 << 20);
        fill(&l1, &SPEC, 1, 1000);
        let held = get(&l1, &SPEC, 1).unwrap();
        assert_eq!(l1.memory.retired_bytes(), 0);
        l1.remove(&key(1));
        assert_eq!(l1.memory.retired_bytes(), u64::from(held.weight));
    }

    #[test]
    fn list_and_moka_agree_after_concurrent_fills_and_removals() {
        let l1 = l1(40_000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let l1 = &l1;
                scope.spawn(move || {
                    for round in 0..5_000_usize {
                        let number = (round * (2 * thread + 1)) % 97;
                        match round % 7 {
                            0 => l1.remove(&key(number)),
                            1 if round % 500 == 1 => l1.clear(),
                            _ => fill(l1, if round % 3 == 0 { &CAPPED_SPEC } else { &SPEC }, number, 0),
                        }
                        get(l1, &SPEC, number);
                    }
                });
            }
        });
        let (entries, bytes) = l1.usage();
        assert!(bytes <= 40_000, "{bytes}");
        assert_eq!((0..97).filter(|number| get(&l1, &SPEC, *number).is_some()).count() as u64, entries);
        assert_eq!((0..97).filter(|number| moka_has(&l1, *number)).count() as u64, entries);
    }

    thread_local!(static OWN: RefCell<Option<Arc<L1>>> = const { RefCell::new(None) });

    /// Value that fills the tier of its thread when it is dropped, with more than Moka takes in before its
    /// housekeeping.
    struct Filler(Freshness);

    impl ErasedValue for Filler {
        fn freshness(&self) -> &Freshness {
            &self.0
        }
    }

    impl Drop for Filler {
        fn drop(&mut self) {
            let Some(l1) = OWN.with_borrow(Clone::clone) else { return };
            (0..1_000).for_each(|number| fill(&l1, &SPEC, 1_000 + number, 0));
        }
    }

    /// Moka frees entries long after their removal, and some of them under the lock of its housekeeping. A
    /// look-up of any entry may run that housekeeping. A fill from the `Drop` of a value would then wait for
    /// the lock for ever.
    #[test]
    fn drop_of_a_value_may_fill_l1_when_a_lookup_of_another_key_frees_it() {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let l1 = Arc::new(l1(1 << 20));
            OWN.set(Some(l1.clone()));
            for number in 0..100 {
                let freshness = Freshness::new(0, Duration::ZERO, Duration::from_secs(1), 0);
                let (tags, feed) = (Box::default(), ChangeFeed::local());
                let validity = Validity { epoch: Epochs::new().current("x"), tags, feed, checked_at: 0 };
                l1.insert(&SPEC, &key(number % 10), Arc::new(Filler(freshness)), validity, 0);
                (0..100).for_each(|_| _ = get(&l1, &SPEC, number % 10));
            }
            OWN.set(None);
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(60)).expect("it hangs");
    }
}
