//! A function, as its entries in one tier refer to it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    base::clock::Nanos,
    coherence::validity::Validity,
    l1::{memory::MemoryBudget, proof::Proof},
    telemetry::functions::FunctionMetrics,
    tier::Revision,
};

/// State that the entries of a function in one tier share.
pub(crate) struct L1Function {
    /// Template of the function.
    pub(crate) template: &'static str,
    pub(crate) metrics: Arc<FunctionMetrics>,
    /// Budget of the tier, which identifies it.
    pub(crate) memory: Arc<MemoryBudget>,
    /// Proof of the entries without names and tags, on the present epoch of the function.
    common_proof: Mutex<Option<Arc<Proof>>>,
}

impl L1Function {
    pub(crate) fn new(metrics: &Arc<FunctionMetrics>, memory: &Arc<MemoryBudget>) -> Arc<Self> {
        let template = metrics.name();
        Arc::new(Self {
            template,
            metrics: metrics.clone(),
            memory: memory.clone(),
            common_proof: Mutex::default(),
        })
    }

    /// Gives up the proof that entries share, if it has ended. Returns the number of those entries.
    pub(crate) fn release_proof(&self) -> usize {
        let mut common = self.common_proof.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = common.take_if(|proof| !proof.validity.is_intact());
        ended.map_or(0, |proof| Arc::strong_count(&proof) - 1)
    }

    /// Returns the proof of an entry. The entries with the epoch of the function share it, if they have no tags.
    ///
    /// `has_backoff` is set if the entry may be served while it is renewed. A new epoch begins after a pattern has
    /// selected the entries: then they get another proof.
    pub(crate) fn proof(
        &self,
        validity: Validity,
        revision: Revision,
        has_backoff: bool,
        backoff_until: Nanos,
    ) -> Arc<Proof> {
        if has_backoff || revision > 0 || !validity.epoch.is_of_function() || !validity.tags.is_empty() {
            return Arc::new(Proof::of_entry(validity, revision, backoff_until));
        }
        let mut common = self.common_proof.lock().unwrap_or_else(PoisonError::into_inner);
        match &*common {
            // No tier confirms such entries, so their validities differ in nothing else.
            Some(proof) if Arc::ptr_eq(&proof.validity.epoch, &validity.epoch) => proof.clone(),
            _ => common.insert(Arc::new(Proof::of_entries(validity))).clone(),
        }
    }
}
