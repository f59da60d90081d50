//! In the place of `cached_core::l1`: a map that holds everything, each access to which is one step.

use std::{collections::HashMap, sync::Arc};

use crate::{
    claim::Claim,
    clock::Nanos,
    event::SharedObservers,
    functions::{Function, Functions},
    hot::Heat,
    key::{BuildPrehashed, Key, KeyHasher, KeyRef},
    site::Site,
    slot::Slot,
    sync::{Mutex, MutexGuard},
    tier::Stamp,
};

type Slots = HashMap<Key, Arc<Kept>, BuildPrehashed>;

pub(crate) struct L1(Mutex<Slots>, Arc<Functions>);

/// An entry.
pub(crate) struct Kept {
    pub(crate) slot: Arc<dyn Slot>,
    pub(crate) claim: Claim,
    pub(crate) stamp: Stamp,
    pub(crate) function: Arc<Function>,
}

impl Kept {
    pub(crate) fn rest_until(&self, _: Nanos) {}

    pub(crate) fn rests(&self, _: Nanos) -> Option<Nanos> {
        None
    }

    pub(crate) fn used(&self) -> bool {
        false
    }

    pub(crate) fn heat(&self) -> Option<&Arc<Heat>> {
        None
    }

    pub(crate) fn is_resting(&self, _: Nanos) -> bool {
        false
    }
}

impl L1 {
    pub(crate) fn new(
        _: u64,
        _: &SharedObservers,
        _: &Arc<dyn KeyHasher>,
        functions: &Arc<Functions>,
    ) -> Self {
        Self(Mutex::default(), functions.clone())
    }

    pub(crate) fn get(&self, _: &Site, key: KeyRef<'_>, _: Nanos) -> Option<Arc<Kept>> {
        self.slots().get(&key.owned()).cloned()
    }

    pub(crate) fn insert(&self, site: &Site, key: &Key, slot: Arc<dyn Slot>, claim: Claim, stamp: Stamp) {
        let function = self.1.of(site.template()).clone();
        let before = self.slots().insert(key.clone(), Arc::new(Kept { slot, claim, stamp, function }));
        // Marks lock their table when they are dropped: not in here.
        drop(before);
    }

    pub(crate) fn remove(&self, _: &Site, key: &Key) {
        let before = self.slots().remove(key);
        drop(before);
    }

    pub(crate) fn clear(&self) {
        let before = std::mem::take(&mut *self.slots());
        drop(before);
    }

    pub(crate) fn usage(&self) -> (u64, u64) {
        (self.slots().len() as u64, 0)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().expect("loom's locks are not poisoned")
    }
}

impl std::fmt::Debug for L1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("L1").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
