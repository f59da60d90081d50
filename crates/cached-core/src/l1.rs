//! The in-process tier: typed slots in Moka, bounded by their bytes.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use moka::{notification::RemovalCause, policy::EvictionPolicy, sync::Cache};

use crate::{
    claim::Claim,
    clock::Nanos,
    event::{EventKind, SharedObservers},
    functions::{Function, Functions},
    hot::Heat,
    key::{BuildPrehashed, Key, KeyHasher, KeyRef},
    site::Site,
    slot::Slot,
    tier::Stamp,
};

type Slots = Cache<Key, Arc<Kept>, BuildPrehashed>;
type Roster = Cache<Key, (), BuildPrehashed>;

/// What Moka, the claim and its mark add to each entry, roughly.
const OVERHEAD: usize = 360;

pub(crate) struct L1 {
    slots: Slots,
    /// Counts the times that everything was cleared. Moka compares timestamps for that, and two can be equal.
    epoch: AtomicU64,
    functions: Arc<Functions>,
    /// For each function with an entry cap, the keys that it may keep.
    rosters: RwLock<HashMap<&'static str, Roster, foldhash::fast::RandomState>>,
}

/// An entry.
pub(crate) struct Kept {
    pub(crate) slot: Arc<dyn Slot>,
    /// On what it may be served.
    pub(crate) claim: Claim,
    /// Names the value in the shared tier; zero if it is not there.
    pub(crate) stamp: Stamp,
    /// After a load in its place has failed, none is begun before that.
    rests_until: AtomicU64,
    /// Counts its uses, if its function keeps keys warm.
    heat: Option<Arc<Heat>>,
    /// Whose it is, so that a hit finds its counter.
    pub(crate) function: Arc<Function>,
    epoch: u64,
    /// Of the schema. Two versions of a function have the same key.
    version: u32,
}

impl L1 {
    pub(crate) fn new(
        max_bytes: u64,
        observers: &SharedObservers,
        hasher: &Arc<dyn KeyHasher>,
        functions: &Arc<Functions>,
    ) -> Self {
        let mut slots = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, kept: &Arc<Kept>| {
                let names = kept.claim.mark.name().len();
                u32::try_from(key.len() + names + kept.slot.meta().weight + OVERHEAD).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::lru());
        if !observers.is_empty() {
            let (observers, hasher) = (observers.clone(), hasher.clone());
            slots = slots.eviction_listener(move |key: Arc<Key>, kept: Arc<Kept>, cause| {
                if cause == RemovalCause::Size {
                    observers.tell(
                        EventKind::Evict,
                        kept.function.name(),
                        Some(key.as_ref().as_ref()),
                        &*hasher,
                    );
                }
            });
        }
        let slots = slots.build_with_hasher(BuildPrehashed::default());
        Self { slots, epoch: AtomicU64::new(0), functions: functions.clone(), rosters: RwLock::default() }
    }

    /// The entry under `key` if it may still be served. One that is too old is dropped on the way.
    #[inline]
    pub(crate) fn get(&self, site: &Site, key: KeyRef<'_>, now: Nanos) -> Option<Arc<Kept>> {
        let kept = self.slots.get(&key)?;
        if kept.version != site.schema_version() {
            return None;
        }
        if !self.is_live(&kept, now) {
            self.remove_dead(key, now);
            return None;
        }
        if site.entry_cap().is_some() {
            self.roster(site, |roster| roster.get(&key));
        }
        Some(kept)
    }

    fn is_live(&self, kept: &Kept, now: Nanos) -> bool {
        kept.slot.meta().is_usable(now) && kept.epoch == self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn insert(&self, site: &Site, key: &Key, slot: Arc<dyn Slot>, claim: Claim, stamp: Stamp) {
        let epoch = self.epoch.load(Ordering::Acquire);
        let (function, version) = (self.functions.of(site.template()).clone(), site.schema_version());
        let before = self.slots.get(&key.as_ref());
        let is_new = before.as_ref().is_none_or(|before| !Arc::ptr_eq(&before.slot, &slot));
        let heat = (site.warm_keys() > 0).then(|| {
            let before = before.as_ref().and_then(|before| before.heat.clone());
            function.hot.follow(key, before, is_new.then(|| slot.meta()))
        });
        // The same value on a new claim rests as long as it would have.
        let before = before.filter(|_| !is_new);
        let rests_until = before.map_or(0, |before| before.rests_until.load(Ordering::Relaxed)).into();
        let kept = Kept { slot, claim, stamp, rests_until, heat, function, epoch, version };
        self.slots.insert(key.clone(), Arc::new(kept));
        self.roster(site, |roster| roster.insert(key.clone(), ()));
    }

    pub(crate) fn remove(&self, site: &Site, key: &Key) {
        self.slots.invalidate(&key.as_ref());
        self.roster(site, |roster| roster.invalidate(&key.as_ref()));
    }

    pub(crate) fn clear(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.slots.invalidate_all();
        for roster in self.rosters.read().unwrap_or_else(PoisonError::into_inner).values() {
            roster.invalidate_all();
        }
    }

    /// Entries and their bytes, after what is pending was done.
    pub(crate) fn usage(&self) -> (u64, u64) {
        for roster in self.rosters.read().unwrap_or_else(PoisonError::into_inner).values() {
            roster.run_pending_tasks();
        }
        self.slots.run_pending_tasks();
        (self.slots.entry_count(), self.slots.weighted_size())
    }

    /// Another thread may have filled the key anew since it was read: only a slot that is still dead goes.
    #[cold]
    fn remove_dead(&self, key: KeyRef<'_>, now: Nanos) {
        self.slots.entry(key.owned()).and_compute_with(|entry| match entry {
            Some(entry) if !self.is_live(entry.value(), now) => moka::ops::compute::Op::Remove,
            _ => moka::ops::compute::Op::Nop,
        });
    }

    fn roster<T>(&self, site: &Site, act: impl FnOnce(&Roster) -> T) -> Option<T> {
        let cap = site.entry_cap()?;
        let known = self.rosters.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(roster) = known.get(site.template()) {
            return Some(act(roster));
        }
        drop(known);
        let mut rosters = self.rosters.write().unwrap_or_else(PoisonError::into_inner);
        Some(act(rosters.entry(site.template()).or_insert_with(|| self.new_roster(cap))))
    }

    /// What falls off the roster leaves the tier.
    fn new_roster(&self, cap: u64) -> Roster {
        let slots = self.slots.clone();
        Cache::builder()
            .max_capacity(cap)
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |key: Arc<Key>, (), cause| {
                if cause == RemovalCause::Size {
                    slots.invalidate(&key.as_ref().as_ref());
                }
            })
            .build_with_hasher(BuildPrehashed::default())
    }
}

impl Kept {
    /// A load in its place has failed: the next one is not before `moment`.
    pub(crate) fn rest_until(&self, moment: Nanos) {
        self.rests_until.store(moment, Ordering::Relaxed);
    }

    /// Counts a use; whether that may make its key one of the most used.
    #[inline]
    pub(crate) fn used(&self) -> bool {
        self.heat.as_ref().is_some_and(|heat| heat.add() && self.function.hot.wants(heat))
    }

    /// `None` if its function keeps no keys warm.
    pub(crate) fn heat(&self) -> Option<&Arc<Heat>> {
        self.heat.as_ref()
    }

    pub(crate) fn is_resting(&self, now: Nanos) -> bool {
        self.rests(now).is_some()
    }

    /// Until when.
    pub(crate) fn rests(&self, now: Nanos) -> Option<Nanos> {
        Some(self.rests_until.load(Ordering::Relaxed)).filter(|until| now < *until)
    }
}

impl fmt::Debug for L1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("L1").field("entries", &self.slots.entry_count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        key::Blake3,
        line::Line,
        marks::Marks,
        slot::{Meta, Value},
    };

    #[test]
    fn what_was_there_before_a_clearing_is_dead_whatever_its_timestamp() {
        let (l1, site, key) = (
            L1::new(1 << 20, &Arc::default(), &(Arc::new(Blake3) as _), &Arc::new(Functions::new())),
            Site::prefix("x"),
            KeyRef::new(b"x").owned(),
        );
        let meta = Meta::new(0, Duration::ZERO, Duration::from_secs(60), 0);
        let claim =
            Claim { mark: Marks::new().of("x"), tags: Box::default(), line: Line::certain(), checked: 0 };
        l1.insert(&site, &key, Arc::new(Value { meta, value: () }), claim, 0);
        assert!(l1.get(&site, key.as_ref(), 1).is_some());
        l1.epoch.fetch_add(1, Ordering::AcqRel);
        assert!(l1.get(&site, key.as_ref(), 1).is_none());
        assert_eq!(l1.usage().0, 0);
    }
}
