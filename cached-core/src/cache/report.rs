//! Counts and events of the operations of a cache, and the counters that they add up to.
//!
//! An event is made only if there are observers.

use std::sync::Arc;

use crate::{
    cache::Cache,
    key::KeyRef,
    spec::FunctionSpec,
    telemetry::{
        event::EventKind,
        functions::FunctionMetrics,
        stats::{Count, FunctionStats, Stats},
    },
};

impl Cache {
    /// Returns the counters of the whole cache since it was built.
    pub fn stats(&self) -> Stats {
        let (l1_entries, l1_bytes) = self.0.l1.usage();
        Stats {
            l1_entries,
            l1_bytes,
            l1_retired_bytes: self.0.l1.memory().retired_bytes(),
            in_flight: self.0.flights.len() as u64,
            waiting: self.0.flights.followers() as u64,
            pending_invalidations: self.shared().outbox.len() as u64,
            ..self.0.functions.total()
        }
    }

    /// Returns the counters of each function that was called, sorted by name.
    pub fn stats_by_function(&self) -> Vec<FunctionStats> {
        self.0.functions.snapshots()
    }

    /// Returns the metrics of the function described by `spec`.
    pub(crate) fn function(&self, spec: &FunctionSpec) -> &Arc<FunctionMetrics> {
        self.0.functions.metrics_of(spec)
    }

    /// Counts an event that concerns several functions, or none.
    pub(super) fn count(&self, count: Count) {
        self.0.functions.cache_wide().add(count);
    }

    pub(crate) fn count_of(&self, spec: &FunctionSpec, count: Count) {
        self.function(spec).add(count);
    }

    /// Counts an event, and notifies the observers.
    pub(crate) fn report(&self, count: Count, spec: &FunctionSpec, key: KeyRef<'_>) {
        self.count_of(spec, count);
        if !self.0.observers.is_empty() {
            self.notify_observers(count, spec.template(), Some(key));
        }
    }

    /// Counts an event of several keys, and notifies the observers.
    pub(super) fn report_many(&self, count: Count) {
        self.count(count);
        if !self.0.observers.is_empty() {
            self.notify_observers(count, "", None);
        }
    }

    #[cold]
    pub(super) fn notify_observers(&self, count: Count, function: &'static str, key: Option<KeyRef<'_>>) {
        if let Some(kind) = EventKind::of_count(count) {
            self.0.observers.notify(kind, function, key, &*self.shared().hasher);
        }
    }
}
