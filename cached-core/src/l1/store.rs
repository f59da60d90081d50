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
//! * Changes of one key happen one after the other, under the turn of the key (one of `TURNS` locks).
//! * Lock order: a shard of `flight` (held by most callers), a turn, `rosters`, a list. No turn is taken
//!   under the lock of a list.
//! * The drop of a value and an observer are user code. They run under none of these locks: see `leaving` and
//!   [`tell_evicted`](L1::tell_evicted).
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
        entry::{Entry, EntryParts, MemoryBudget},
        eviction::{Policy, Resident, Ticket, Uses},
        hot_keys::HotKeys,
        leaving::Leaving,
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
const OVERHEAD: usize = 850;

/// Bytes that a tag adds to each entry that has it.
const TAG: usize = 16;

/// Bytes that a tag adds once, to its first entries: its epoch, and the place in the table of epochs.
const TAG_MARK: usize = 180;

/// Greatest number of references to the epoch of a tag that counts as new.
///
/// A load holds several references while its value is stored.
const FEW: usize = 4;

/// Least number of bytes for which threads are asked to purge: each has to scan its whole thread cache.
const FEWEST_LEFT: u64 = 1 << 20;

/// Number of turns: locks under which the changes of one key happen one after the other.
const TURNS: usize = 64;

/// The in-process tier of one cache.
pub(crate) struct L1 {
    slots: Map,
    home: Arc<MemoryBudget>,
    list: FunctionList<Arc<Entry>>,
    /// List of each function with an entry cap, by its template.
    rosters: RwLock<HashMap<&'static str, Arc<FunctionList<Listed>>, foldhash::fast::RandomState>>,
    hot_keys: HotKeys,
    turns: [Mutex<()>; TURNS],
    /// Evicted entries that observers have not been notified of.
    untold: Mutex<Vec<Arc<Entry>>>,
    /// Bytes that have left since threads were last asked to purge their caches.
    left: AtomicU64,
    /// Value of `left` above which threads are asked to purge.
    most_left: u64,
    functions: Arc<FunctionRegistry>,
    observers: SharedObservers,
    hasher: Arc<dyn KeyHasher>,
}

/// Bounded list of entries: a policy under a lock.
struct FunctionList<T>(Mutex<Policy<T>>);

/// An entry in the list of its function.
struct Listed(Arc<Entry>);

/// Member of a list.
trait ListMember: Resident {
    fn kept(&self) -> &Arc<Entry>;
}

impl ListMember for Arc<Entry> {
    fn kept(&self) -> &Arc<Entry> {
        self
    }
}

impl ListMember for Listed {
    fn kept(&self) -> &Arc<Entry> {
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
        self.0.listed_uses()
    }
}

impl<T: ListMember> FunctionList<T> {
    fn new(capacity: u64) -> Self {
        Self(Mutex::new(Policy::new(capacity)))
    }

    fn lock(&self) -> MutexGuard<'_, Policy<T>> {
        lock(&self.0)
    }

    /// Adds an entry, in the place of the earlier one of its key if there is one, which is returned.
    fn put(&self, before: Option<Ticket>, hash: u64, weight: u32, item: T) -> (Ticket, Option<T>) {
        let mut policy = self.lock();
        let Some(ticket) = before else { return (policy.insert(hash, weight, item), None) };
        match policy.replace(ticket, weight, item) {
            Ok((ticket, before)) => (ticket, Some(before)),
            // The earlier entry has left the list already.
            Err(item) => (policy.insert(hash, weight, item), None),
        }
    }

    /// Evicts entries until the rest fits, and calls `leaves` for each, without the lock.
    ///
    /// Each entry is retired while the lock is still held. A concurrent [`clear`](L1::clear) does not find it
    /// in the list, and no hit may serve it after that.
    fn shed(&self, mut leaves: impl FnMut(&Arc<Entry>)) {
        loop {
            let mut policy = self.lock();
            let Some(item) = policy.evict() else { return };
            item.kept().retire();
            drop(policy);
            leaves(item.kept());
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
            slots: Map::new(),
            home: MemoryBudget::new(max_bytes),
            list: FunctionList::new(max_bytes),
            rosters: RwLock::default(),
            hot_keys: HotKeys::default(),
            turns: [const { Mutex::new(()) }; TURNS],
            untold: Mutex::default(),
            left: AtomicU64::new(0),
            most_left: (max_bytes / 16).max(FEWEST_LEFT),
            functions: functions.clone(),
            observers: observers.clone(),
            hasher: hasher.clone(),
        }
    }

    #[inline]
    pub(crate) fn home(&self) -> &Arc<MemoryBudget> {
        &self.home
    }

    /// Returns the entry under `key`, unless it is too old to be served: then it is removed.
    pub(crate) fn get(&self, site: &FunctionSpec, key: KeyRef<'_>, now: Nanos) -> Option<Arc<Entry>> {
        let mut kept = self.slots.get(key)?;
        if kept.is_retired() {
            kept = self.get_in_turn(key)?;
        }
        if !kept.slot.meta().is_usable(now) {
            self.take_out(&kept);
            return None;
        }
        kept.touch(site.entry_cap().is_some());
        Some(kept)
    }

    /// Returns whether there is an entry under `key`: see [`Map::has`].
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.slots.has(key.as_ref())
    }

    /// Looks again, under the turn of the key: a new entry may be about to replace the retired one.
    #[cold]
    fn get_in_turn(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let _leaving = Leaving::begin();
        let _turn = self.turn(key.hash());
        self.slots.get(key).filter(|kept| !kept.is_retired())
    }

    /// Stores a value under `key`, and evicts entries that do not fit any more.
    ///
    /// Observers learn of the evictions from [`tell_evicted`](Self::tell_evicted), which the caller calls
    /// later, when it holds no lock.
    pub(crate) fn insert(
        &self,
        site: &FunctionSpec,
        key: &Key,
        slot: Arc<dyn ErasedValue>,
        claim: Validity,
        stamp: Revision,
    ) {
        let _leaving = Leaving::begin();
        let function = self.functions.of(site).clone();
        let names =
            claim.mark.name().len() + claim.tags.iter().map(|(tag, _)| tag_weight(tag)).sum::<usize>();
        let weight = u32::try_from(key.len() + names + slot.meta().weight + OVERHEAD).unwrap_or(u32::MAX);
        let turn = self.turn(key.hash());
        let before = if self.has(key) { self.slots.get(key.as_ref()) } else { None };
        if let Some(before) = &before {
            before.leave();
        }
        let is_new = before.as_ref().is_none_or(|before| !Arc::ptr_eq(&before.slot, &slot));
        let heat = (site.warm_keys() > 0).then(|| {
            let before = before.as_ref().and_then(|before| before.heat().cloned());
            self.hot_keys.of(site.template()).follow(key, before, is_new.then(|| slot.meta()))
        });
        // The same value with a new validity keeps its backoff.
        let rests_until = before.as_ref().filter(|_| !is_new).map_or(0, |before| before.rest());
        let roster = site.entry_cap().map(|cap| self.roster(site.template(), cap));
        let kept = Arc::new(Entry::new(EntryParts {
            key: key.clone(),
            home: self.home.clone(),
            slot,
            claim,
            stamp,
            rests_until,
            function,
            heat,
            weight,
        }));
        match &before {
            // Both are in the same lists, where `put` replaces the earlier entry.
            Some(before) if before.listed_ticket().is_some() == roster.is_some() => self.lay_off(before),
            Some(before) => self.retire(before),
            None => {}
        }
        let place = before.as_ref().and_then(|before| before.ticket());
        let (ticket, _before) = self.list.put(place, key.hash(), weight, kept.clone());
        kept.enlisted(ticket);
        if let Some(roster) = &roster {
            let place = before.as_ref().and_then(|before| before.listed_ticket());
            let (ticket, _before) = roster.put(place, key.hash(), 1, Listed(kept.clone()));
            kept.listed(ticket);
        }
        self.slots.insert(key.clone(), kept.clone());
        if kept.is_retired() {
            // Meanwhile, the tier was cleared, or another thread evicted this entry.
            self.retire(&kept);
            kept.leave();
            self.slots.remove(key.as_ref());
        }
        drop(turn);
        self.list.shed(|kept| self.evict(kept));
        if let Some(roster) = roster {
            roster.shed(|kept| self.evict(kept));
        }
    }

    pub(crate) fn remove(&self, key: &Key) {
        let _leaving = Leaving::begin();
        let turn = self.turn(key.hash());
        let before = self.slots.get(key.as_ref());
        if let Some(before) = &before {
            self.retire(before);
            before.leave();
            self.slots.remove(key.as_ref());
        }
        drop(turn);
    }

    pub(crate) fn clear(&self) {
        let mut list = self.list.lock();
        let all: Vec<_> = list.clear().inspect(|kept| kept.retire()).collect();
        drop(list);
        // One by one: Moka's `invalidate_all` compares timestamps, and would drop entries stored meanwhile.
        for kept in &all {
            self.take_out(kept);
        }
        thread_cache::let_go();
    }

    /// Scans `many` places of the list from `from` on, and removes entries of which an epoch has ended.
    ///
    /// Returns the place to continue at; `None` at the end.
    pub(crate) fn take_fallen(&self, from: usize, many: usize) -> Option<usize> {
        let (some, next) = self.list.lock().some(from, many);
        for kept in some.iter().filter(|kept| !kept.claim.is_intact()) {
            self.take_out(kept);
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
    fn evict(&self, kept: &Arc<Entry>) {
        self.take_out(kept);
        if !self.observers.is_empty() {
            lock(&self.untold).push(kept.clone());
        }
    }

    /// Notifies observers of evicted entries. The caller holds no lock, as observers may use the cache.
    pub(crate) fn tell_evicted(&self) {
        if self.observers.is_empty() {
            return;
        }
        thread_local!(static TELLS_OF: Cell<usize> = const { Cell::new(0) });
        // If an observer causes another eviction, the loop that called it reports that as well. Nested loops
        // would need the stack of a call for each eviction.
        let here = ptr::from_ref(self).addr();
        if TELLS_OF.get() == here {
            return;
        }
        let before = TELLS_OF.replace(here);
        loop {
            // Not in the head of the inner loop, which would hold the lock until its end.
            let untold = mem::take(&mut *lock(&self.untold));
            if untold.is_empty() {
                break;
            }
            for kept in untold {
                let key = kept.key().as_ref();
                self.observers.tell(EventKind::Evict, kept.function.name(), Some(key), &*self.hasher);
            }
        }
        TELLS_OF.set(before);
    }

    /// Retires an entry and removes it from Moka. A newer entry of its key, from another thread, stays.
    fn take_out(&self, kept: &Arc<Entry>) {
        let _leaving = Leaving::begin();
        self.retire(kept);
        let key = kept.key();
        let _turn = self.turn(key.hash());
        if !kept.leave() {
            self.slots.remove(key.as_ref());
        }
    }

    /// Retires an entry, so that no hit serves it, and removes it from its lists.
    fn retire(&self, kept: &Arc<Entry>) {
        self.lay_off(kept);
        let own = kept.ticket().and_then(|ticket| self.list.lock().remove(ticket));
        let listed = kept.listed_ticket().and_then(|ticket| {
            let rosters = self.rosters.read().unwrap_or_else(PoisonError::into_inner);
            rosters.get(kept.function.name())?.lock().remove(ticket)
        });
        drop((own, listed));
    }

    /// Retires an entry that stays in its lists, and asks threads to purge if enough bytes have left.
    fn lay_off(&self, kept: &Entry) {
        kept.retire();
        let weight = kept.weight.into();
        if self.left.fetch_add(weight, Ordering::Relaxed) + weight > self.most_left {
            self.left.store(0, Ordering::Relaxed);
            thread_cache::let_go();
        }
    }

    fn roster(&self, template: &'static str, cap: u64) -> Arc<FunctionList<Listed>> {
        let known = self.rosters.read().unwrap_or_else(PoisonError::into_inner).get(template).cloned();
        known.unwrap_or_else(|| {
            let mut rosters = self.rosters.write().unwrap_or_else(PoisonError::into_inner);
            rosters.entry(template).or_insert_with(|| Arc::new(FunctionList::new(cap))).clone()
        })
    }

    #[allow(clippy::cast_possible_truncation, reason = "any of its bits will do")]
    fn turn(&self, hash: u64) -> MutexGuard<'_, ()> {
        lock(&self.turns[(hash >> 32) as usize % TURNS])
    }
}

fn tag_weight(tag: &Arc<Epoch>) -> usize {
    if Arc::strong_count(tag) > FEW { TAG } else { TAG + TAG_MARK + tag.name().len() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for L1 {
    /// Retires all entries and asks threads to purge them, so that thread caches do not keep them.
    fn drop(&mut self) {
        self.list.lock().clear().for_each(|kept| kept.retire());
        thread_cache::let_go();
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

    const SITE: FunctionSpec = FunctionSpec::prefix("x");
    const LISTED: FunctionSpec = FunctionSpec::prefix("y").max_entries(10);

    fn l1(max_bytes: u64) -> L1 {
        L1::new(max_bytes, &Arc::default(), &(Arc::new(Blake3) as _), &Arc::new(FunctionRegistry::new()))
    }

    fn key(number: usize) -> Key {
        KeyRef::write(&mut Vec::new(), &SITE, &Part(&number)).unwrap().owned()
    }

    /// Stores a value of this weight that expires after a second.
    fn fill(l1: &L1, site: &FunctionSpec, number: usize, weight: usize) {
        let meta = Freshness::new(0, Duration::ZERO, Duration::from_secs(1), weight);
        let (tags, line) = (Box::default(), ChangeFeed::certain());
        let claim = Validity { mark: Epochs::new().of("x"), tags, line, checked: 0 };
        l1.insert(site, &key(number), Arc::new(Value { meta, value: number }), claim, 0);
    }

    fn get(l1: &L1, site: &FunctionSpec, number: usize) -> Option<Arc<Entry>> {
        l1.get(site, key(number).as_ref(), 1)
    }

    fn moka_has(l1: &L1, number: usize) -> bool {
        l1.slots.has(key(number).as_ref())
    }

    #[test]
    fn every_removal_retires_the_entry_and_takes_it_out_of_moka() {
        let l1 = l1(1 << 20);
        (0..5).for_each(|number| fill(&l1, &SITE, number, 0));
        let all: Vec<_> = (0..5).map(|number| get(&l1, &SITE, number).unwrap()).collect();
        assert!(all.iter().all(|kept| !kept.is_retired()));

        fill(&l1, &SITE, 0, 0);
        assert!(all[0].is_retired() && moka_has(&l1, 0) && !get(&l1, &SITE, 0).unwrap().is_retired());
        l1.remove(&key(1));
        assert!(all[1].is_retired() && !moka_has(&l1, 1));
        assert!(l1.get(&SITE, key(2).as_ref(), 2_000_000_000).is_none());
        assert!(all[2].is_retired() && !moka_has(&l1, 2));
        assert!(!all[3].is_retired() && l1.usage().0 == 3);
        l1.clear();
        assert!(all.iter().all(|kept| kept.is_retired()) && !moka_has(&l1, 3));
        assert_eq!(l1.usage(), (0, 0));
    }

    #[test]
    fn stale_removal_keeps_the_newer_entry() {
        let l1 = l1(1 << 20);
        let filled = |number| {
            fill(&l1, &SITE, number, 0);
            get(&l1, &SITE, number).unwrap()
        };
        let replaced = filled(0);
        let newer = filled(0);
        l1.take_out(&replaced);
        assert!(Arc::ptr_eq(&get(&l1, &SITE, 0).unwrap(), &newer));

        let removed = filled(1);
        l1.remove(&key(1));
        let newer = filled(1);
        l1.take_out(&removed);
        assert!(Arc::ptr_eq(&get(&l1, &SITE, 1).unwrap(), &newer));

        let taken = filled(2);
        l1.take_out(&taken);
        let newer = filled(2);
        l1.take_out(&taken);
        assert!(Arc::ptr_eq(&get(&l1, &SITE, 2).unwrap(), &newer));
    }

    #[test]
    fn l1_is_bounded_by_bytes_and_evicted_entries_leave_moka() {
        let l1 = l1(100_000);
        (0..1000).for_each(|number| fill(&l1, &SITE, number, 500));
        let (entries, bytes) = l1.usage();
        assert!((90_000..=100_000).contains(&bytes) && (60..80).contains(&entries), "{entries} {bytes}");
        assert_eq!((0..1000).filter(|number| moka_has(&l1, *number)).count() as u64, entries);
        fill(&l1, &SITE, 7, 200_000);
        assert!(get(&l1, &SITE, 7).is_none() && !moka_has(&l1, 7), "it has no room at all");
        assert!(l1.usage().0 >= entries - 1);
    }

    #[test]
    fn a_tag_weighs_what_it_takes_once() {
        let (l1, marks) = (l1(1 << 20), Epochs::new());
        let name = "x".repeat(100);
        let weigh = |number: usize, tags: Vec<Arc<Epoch>>| {
            let before = l1.usage().1;
            let meta = Freshness::new(0, Duration::ZERO, Duration::from_secs(1), 0);
            let tags = tags.into_iter().map(|tag| (tag, 1)).collect();
            let claim = Validity { mark: marks.of("x"), tags, line: ChangeFeed::certain(), checked: 0 };
            l1.insert(&SITE, &key(number), Arc::new(Value { meta, value: number }), claim, 0);
            l1.usage().1 - before
        };
        let none = weigh(0, Vec::new());
        let own = weigh(1, vec![marks.of(&name)]);
        assert_eq!(own - none, (TAG + TAG_MARK + name.len()) as u64);
        let all: Vec<_> = (2..100).map(|number| weigh(number, vec![marks.of(&name)]) - none).collect();
        assert_eq!(all.last(), Some(&(TAG as u64)));
        assert!(all.iter().sum::<u64>() < 98 * TAG as u64 + 4 * own);
    }

    #[test]
    fn a_function_with_a_cap_keeps_so_many_and_takes_no_room_of_others() {
        let l1 = l1(1 << 20);
        (0..50).for_each(|number| fill(&l1, &SITE, number, 0));
        (100..200).for_each(|number| fill(&l1, &LISTED, number, 0));
        assert_eq!(l1.usage().0, 60);
        assert_eq!((100..200).filter(|number| get(&l1, &LISTED, *number).is_some()).count(), 10);
        l1.clear();
        (100..200).for_each(|number| fill(&l1, &LISTED, number, 0));
        assert_eq!(l1.usage().0, 10);
    }

    #[test]
    fn removed_entry_counts_as_retired_while_it_is_held() {
        let l1 = l1(1 << 20);
        fill(&l1, &SITE, 1, 1000);
        let held = get(&l1, &SITE, 1).unwrap();
        assert_eq!(l1.home.retired(), 0);
        l1.remove(&key(1));
        assert_eq!(l1.home.retired(), u64::from(held.weight));
    }

    #[test]
    fn threads_that_fill_and_remove_the_same_keys_leave_the_list_and_moka_alike() {
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
                            _ => fill(l1, if round % 3 == 0 { &LISTED } else { &SITE }, number, 0),
                        }
                        get(l1, &SITE, number);
                    }
                });
            }
        });
        let (entries, bytes) = l1.usage();
        assert!(bytes <= 40_000, "{bytes}");
        assert_eq!((0..97).filter(|number| get(&l1, &SITE, *number).is_some()).count() as u64, entries);
        assert_eq!((0..97).filter(|number| moka_has(&l1, *number)).count() as u64, entries);
    }

    thread_local!(static OWN: RefCell<Option<Arc<L1>>> = const { RefCell::new(None) });

    /// Value that fills the tier of its thread when it is dropped, with more than Moka takes in before its
    /// housekeeping.
    struct Filler(Freshness);

    impl ErasedValue for Filler {
        fn meta(&self) -> &Freshness {
            &self.0
        }
    }

    impl Drop for Filler {
        fn drop(&mut self) {
            let Some(l1) = OWN.with_borrow(Clone::clone) else { return };
            (0..1_000).for_each(|number| fill(&l1, &SITE, 1_000 + number, 0));
        }
    }

    /// Moka frees entries long after their removal, and some of them under the lock of its housekeeping. A
    /// look-up of any entry may run that housekeeping. A fill from the `Drop` of a value would then wait for
    /// the lock for ever.
    #[test]
    fn a_value_that_is_freed_by_a_look_at_another_one_may_fill_the_tier() {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let l1 = Arc::new(l1(1 << 20));
            OWN.set(Some(l1.clone()));
            for number in 0..100 {
                let meta = Freshness::new(0, Duration::ZERO, Duration::from_secs(1), 0);
                let (tags, line) = (Box::default(), ChangeFeed::certain());
                let claim = Validity { mark: Epochs::new().of("x"), tags, line, checked: 0 };
                l1.insert(&SITE, &key(number % 10), Arc::new(Filler(meta)), claim, 0);
                (0..100).for_each(|_| _ = get(&l1, &SITE, number % 10));
            }
            OWN.set(None);
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(60)).expect("it hangs");
    }
}
