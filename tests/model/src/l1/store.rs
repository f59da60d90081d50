//! A replacement for `cached_core::l1`: a map without eviction. Each access is one step.

use std::{collections::HashMap, sync::Arc};

use crate::{
    base::{clock::Nanos, function_table::FunctionTable},
    coherence::validity::Validity,
    key::{BuildPrehashed, KeyHasher, KeyRef, OwnedKey},
    l1::{
        entry::{Entry, EntryParts},
        function::L1Function,
        hot_keys::HotKeys,
        memory::MemoryBudget,
    },
    spec::FunctionSpec,
    sync::{Mutex, MutexGuard},
    telemetry::{event::SharedObservers, functions::FunctionRegistry},
    tier::Revision,
    value::erased::ErasedValue,
};

type Slots = HashMap<OwnedKey, Arc<Entry>, BuildPrehashed>;

pub(crate) struct L1 {
    slots: Mutex<Slots>,
    memory: Arc<MemoryBudget>,
    functions: FunctionTable<Arc<L1Function>>,
    metrics: Arc<FunctionRegistry>,
    hot_keys: HotKeys,
}

impl L1 {
    pub(crate) fn new(
        max_bytes: u64,
        _: &SharedObservers,
        _: &Arc<dyn KeyHasher>,
        metrics: &Arc<FunctionRegistry>,
    ) -> Self {
        Self {
            slots: Mutex::default(),
            memory: MemoryBudget::new(max_bytes),
            functions: FunctionTable::new(),
            metrics: metrics.clone(),
            hot_keys: HotKeys::default(),
        }
    }

    /// Returns the end at once: no model has enough entries for a scan.
    pub(crate) fn remove_invalidated(&self, _: usize, _: usize) -> Option<usize> {
        None
    }

    /// Returns false: the clock stands still, and no entry is over.
    pub(crate) fn is_expiry_due(&self, _: Nanos) -> bool {
        false
    }

    pub(crate) fn remove_expired(&self, _: Nanos) {}

    pub(crate) fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    pub(crate) fn hot_keys(&self) -> &HotKeys {
        &self.hot_keys
    }

    pub(crate) fn has(&self, key: &OwnedKey) -> bool {
        self.slots().contains_key(key)
    }

    pub(crate) fn get(
        &self,
        _: &FunctionSpec,
        key: KeyRef<'_>,
        _: Nanos,
        now: impl Fn() -> Nanos,
    ) -> Option<(Arc<Entry>, Nanos)> {
        let entry = self.slots().get(&key.owned()).cloned()?;
        Some((entry, now()))
    }

    pub(crate) fn insert(
        &self,
        spec: &FunctionSpec,
        key: &OwnedKey,
        erased: Arc<dyn ErasedValue>,
        validity: Validity,
        revision: Revision,
    ) {
        let metrics = self.metrics.metrics_of(spec);
        let make = || L1Function::new(metrics, &self.memory);
        let function =
            self.functions.get_or_insert(spec.template(), spec.template_fingerprint(), make).clone();
        let entry = Entry::new(EntryParts {
            key: key.clone(),
            erased,
            proof: function.proof(validity, revision, true, 0),
            function,
            extra: None,
            weight: 0,
        });
        let previous = self.slots().insert(key.clone(), Arc::new(entry));
        // Dropping an epoch locks its shard, so no entry is dropped under this lock.
        retire(previous);
    }

    pub(crate) fn remove(&self, key: &OwnedKey) {
        let previous = self.slots().remove(key);
        retire(previous);
    }

    pub(crate) fn clear(&self) {
        let previous = std::mem::take(&mut *self.slots());
        previous.into_values().for_each(|entry| retire(Some(entry)));
    }

    pub(crate) fn release_proofs(&self, _: &[&str]) -> usize {
        0
    }

    pub(crate) fn report_evictions(&self) {}

    pub(crate) fn usage(&self) -> (u64, u64) {
        (self.slots().len() as u64, 0)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("loom's locks are not poisoned")
    }
}

fn retire(entry: Option<Arc<Entry>>) {
    if let Some(entry) = entry {
        entry.retire();
    }
}

impl std::fmt::Debug for L1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("L1").finish_non_exhaustive()
    }
}
