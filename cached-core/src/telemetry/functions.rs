//! Metrics of each cached function: counters, latencies, and the cost and size of its loads.
//!
//! An L1 entry holds the `FunctionMetrics` of its function, so a hit finds its counter without a lookup. All
//! other code looks the function up by its template in the `FunctionRegistry`.

use std::{
    fmt,
    sync::{
        Arc, Once, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    base::{clock::Nanos, function_table::FunctionTable, notice},
    error::{Error, tier::TierError},
    spec::{FunctionSpec, Owner},
    telemetry::{
        latency::Histogram,
        stats::{Count, Counters, FunctionStats, Stats},
    },
    tier::{LARGE_VALUE, budget::Budget},
};

/// Metrics of one function, or of all functions that share a template.
pub(crate) struct FunctionMetrics {
    name: &'static str,
    counters: Counters,
    /// Latencies of hits. Allocated with the function, because a hit must not allocate.
    hit_latency: Histogram,
    lookup_latency: OnceLock<Box<Histogram>>,
    load_latency: OnceLock<Box<Histogram>>,
    /// Moving average of the duration of loads that returned a value, in nanoseconds; zero before the first.
    average_load_nanos: AtomicU64,
    /// Approximate size in bytes of the larger values in the shared tier; at most `LARGE_VALUE` if none was
    /// large recently.
    large_value_size: AtomicUsize,
    /// Guards the warning that errors are not shared, which is given once.
    unshared_error_warning: Once,
    /// Set while the next value is decoded again before it is stored. This is so for the first value, and
    /// after a stored value could not be decoded, until one value passes the check.
    is_codec_check_due: AtomicBool,
    has_warned_unshared: AtomicBool,
    has_warned_large_value: AtomicBool,
    /// Fingerprint of the first `FunctionSpec` with this template that uses the shared tier; 0 if there is
    /// none.
    first_fingerprint: AtomicU64,
    /// Set if a second such `FunctionSpec` has another fingerprint, so that different functions share the
    /// template.
    has_clash: AtomicBool,
    #[cfg(feature = "metrics")]
    pub(crate) exported: crate::telemetry::exported::Exported,
}

impl FunctionMetrics {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            counters: Counters::new(),
            hit_latency: Histogram::new(),
            lookup_latency: OnceLock::new(),
            load_latency: OnceLock::new(),
            average_load_nanos: AtomicU64::new(0),
            large_value_size: AtomicUsize::new(0),
            unshared_error_warning: Once::new(),
            is_codec_check_due: AtomicBool::new(true),
            has_warned_unshared: AtomicBool::new(false),
            has_warned_large_value: AtomicBool::new(false),
            first_fingerprint: AtomicU64::new(0),
            has_clash: AtomicBool::new(false),
            #[cfg(feature = "metrics")]
            exported: crate::telemetry::exported::Exported::default(),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns whether the next value is decoded again before it is stored.
    pub(crate) fn is_codec_check_due(&self) -> bool {
        self.is_codec_check_due.load(Ordering::Relaxed)
    }

    /// Records that a value was encoded and, if `was_checked`, decoded again.
    pub(crate) fn record_encoded(&self, was_checked: bool) {
        if was_checked {
            self.is_codec_check_due.store(false, Ordering::Relaxed);
        }
    }

    /// Records that a stored value could not be decoded.
    pub(crate) fn require_codec_check(&self) {
        self.is_codec_check_due.store(true, Ordering::Relaxed);
    }

    /// Warns that the shared tier cannot hold a value. The warning is given once, because other values of the
    /// function are likely to have the same problem.
    pub(crate) fn warn_unshared(&self, reason: &Error) {
        if !self.has_warned_unshared.swap(true, Ordering::Relaxed) {
            notice::warn(self.name, &format!("{reason}; each process keeps its own values"));
        }
    }

    /// Warns, once, that the shared tier did not store a large value although it stored the stub in its
    /// place.
    pub(crate) fn warn_large_value_not_stored(&self, bytes: usize, reason: &TierError) {
        if !self.has_warned_large_value.swap(true, Ordering::Relaxed) {
            notice::warn(
                self.name,
                &format!("a value of {bytes} bytes was not stored: {reason}; each process keeps its own"),
            );
        }
    }

    /// Registers a `FunctionSpec` with this template, and warns once if it is not that of the first function.
    #[cold]
    fn register_spec(&self, spec: &FunctionSpec) {
        let before = self.first_fingerprint.compare_exchange(
            0,
            spec.fingerprint(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if before.is_err_and(|before| before != spec.fingerprint())
            && !self.has_clash.swap(true, Ordering::Relaxed)
        {
            let owner = match spec.owned_by() {
                Owner::Anyone => "a keyspace",
                Owner::Function(path) | Owner::Schema(path) => path,
            };
            notice::warn(
                self.name,
                &format!(
                    "more than one function has this prefix or template (one of them: {owner}). They displace each other's \
                     values in the shared tier: give each its own, or all of them the same `schema`"
                ),
            );
        }
    }

    /// Returns whether different functions that use the shared tier have this template.
    pub(crate) fn has_clash(&self) -> bool {
        self.has_clash.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn add(&self, count: Count) {
        self.counters.add(count);
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn hit_latency(&self) -> &Histogram {
        &self.hit_latency
    }

    pub(crate) fn lookup_latency(&self) -> &Histogram {
        self.lookup_latency.get_or_init(|| Box::new(Histogram::new()))
    }

    /// Returns the latencies of lookups in the shared tier; `None` before the first lookup.
    #[cfg(feature = "metrics")]
    pub(crate) fn recorded_lookup_latency(&self) -> Option<&Histogram> {
        self.lookup_latency.get().map(|histogram| &**histogram)
    }

    /// Returns the latencies of loads; `None` before the first load.
    #[cfg(feature = "metrics")]
    pub(crate) fn recorded_load_latency(&self) -> Option<&Histogram> {
        self.load_latency.get().map(|histogram| &**histogram)
    }

    pub(crate) fn load_latency(&self) -> &Histogram {
        self.load_latency.get_or_init(|| Box::new(Histogram::new()))
    }

    /// Adds the duration of a load that returned a value to the moving average.
    pub(crate) fn record_load_time(&self, took: Nanos) {
        const SHARE: u64 = 8;

        // The update is not atomic: of two concurrent updates, one may be lost.
        let before = self.average_load_nanos.load(Ordering::Relaxed);
        let now = if before == 0 { took } else { before - before / SHARE + took / SHARE };
        self.average_load_nanos.store(now.max(1), Ordering::Relaxed);
    }

    /// Returns the average duration of a load; `None` if no load in this process has returned a value.
    pub(crate) fn average_load_time(&self) -> Option<Duration> {
        Some(self.average_load_nanos.load(Ordering::Relaxed))
            .filter(|nanos| *nanos > 0)
            .map(Duration::from_nanos)
    }

    /// Records the size of a value that the shared tier holds or is about to hold.
    ///
    /// A large value counts at once, and its size decays over the next hundreds of values. If some values of
    /// a function are large, the next one may be, too.
    pub(crate) fn record_value_size(&self, bytes: usize) {
        const SHARE: usize = 64;

        let before = self.large_value_size.load(Ordering::Relaxed);
        // Usually no value is large, and nothing is written. Zero bytes mean that the value was not read: its
        // real size is unknown.
        if bytes.max(before) <= LARGE_VALUE || bytes == 0 {
            return;
        }
        let now = bytes.max(before - before / SHARE);
        if now != before {
            self.large_value_size.store(now, Ordering::Relaxed);
        }
    }

    /// Returns the estimated size in bytes of the next value, if it may be large; at most `LARGE_VALUE`
    /// otherwise.
    pub(crate) fn expected_value_size(&self) -> usize {
        self.large_value_size.load(Ordering::Relaxed)
    }

    /// Returns the time for which a call may wait for the shared tier.
    pub(crate) fn budget(&self, spec: &FunctionSpec) -> Budget {
        match spec.own_tier_timeout() {
            Some(budget) => Budget::Exactly(budget),
            None => Budget::from_load_time(self.average_load_nanos.load(Ordering::Relaxed)),
        }
    }

    /// Warns, once, that the errors of the function are not shared, and names the option that shares them.
    pub(crate) fn warn_unshared_errors(&self) {
        self.unshared_error_warning.call_once(|| {
            notice::warn(
                self.name,
                "the error is neither `Clone` nor `From<SharedLoadError>`, so after a failed load its \
                 followers load one after the other: add `share_err = |e| ..` to share the error",
            );
        });
    }

    pub(crate) fn snapshot(&self) -> FunctionStats {
        let of = |histogram: &OnceLock<Box<Histogram>>| {
            histogram.get().map(|histogram| histogram.snapshot()).unwrap_or_default()
        };
        FunctionStats {
            function: self.name.to_owned(),
            hit: self.hit_latency.snapshot(),
            lookup: of(&self.lookup_latency),
            load: of(&self.load_latency),
            ..self.counters.function_stats()
        }
    }
}

/// Registry of the functions of a cache.
pub(crate) struct FunctionRegistry {
    functions: FunctionTable<Arc<FunctionMetrics>>,
    /// Counters for events that concern several functions, or none.
    cache_wide: Arc<FunctionMetrics>,
}

impl FunctionRegistry {
    pub(crate) fn new() -> Self {
        Self { functions: FunctionTable::new(), cache_wide: Arc::new(FunctionMetrics::new("")) }
    }

    pub(crate) fn metrics_of(&self, spec: &FunctionSpec) -> &Arc<FunctionMetrics> {
        let make = || Arc::new(FunctionMetrics::new(spec.template()));
        let function = self.functions.get_or_insert(spec.template(), spec.template_fingerprint(), make);
        if !spec.is_local() && function.first_fingerprint.load(Ordering::Relaxed) != spec.fingerprint() {
            function.register_spec(spec);
        }
        function
    }

    pub(crate) fn cache_wide(&self) -> &Arc<FunctionMetrics> {
        &self.cache_wide
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<FunctionMetrics>> {
        self.functions.iter()
    }

    /// Returns the statistics of each function, sorted by name.
    pub(crate) fn snapshots(&self) -> Vec<FunctionStats> {
        let mut all: Vec<_> = self.iter().map(|function| function.snapshot()).collect();
        all.sort_by(|a, b| a.function.cmp(&b.function));
        all
    }

    /// Returns the templates that different functions share, sorted.
    pub(crate) fn clashes(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .iter()
            .filter(|function| function.has_clash())
            .map(|function| function.name.to_owned())
            .collect();
        all.sort();
        all
    }

    /// Returns a number that grows with every value served from memory. One call may count more than once.
    pub(crate) fn served_from_memory(&self) -> u64 {
        let of = |function: &Arc<FunctionMetrics>| {
            let counts = [Count::HitL1, Count::Stale, Count::ServedInOutage];
            counts.iter().map(|count| function.counters.sum(*count)).fold(0, u64::wrapping_add)
        };
        self.iter().map(of).fold(0, u64::wrapping_add)
    }

    /// Returns the totals of all functions, and of events that belong to none.
    pub(crate) fn total(&self) -> Stats {
        Counters::total(self.iter().chain([&self.cache_wide]).map(|function| &function.counters))
    }
}

impl fmt::Debug for FunctionRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionRegistry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_template_has_exactly_one_metrics_record() {
        let functions = FunctionRegistry::new();
        let names: Vec<&'static str> = (0..1000).map(|n: u32| &*n.to_string().leak()).collect();
        for name in &names {
            functions.metrics_of(&FunctionSpec::prefix(name)).add(Count::Miss);
        }
        for name in &names {
            // Equal text at another address.
            functions.metrics_of(&FunctionSpec::prefix(name.to_string().leak())).add(Count::Load);
        }
        functions.cache_wide().add(Count::Miss);
        let all = functions.snapshots();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|one| (one.misses, one.loads) == (1, 1)));
        assert_eq!((functions.total().misses, functions.total().loads), (1001, 1000));
    }

    #[test]
    fn expected_value_size_decays_slowly_after_a_large_value() {
        let function = FunctionMetrics::new("");
        function.record_value_size(LARGE_VALUE);
        assert_eq!(function.expected_value_size(), 0, "it is not large");
        function.record_value_size(12 << 20);
        assert_eq!(function.expected_value_size(), 12 << 20);
        for _ in 0..100 {
            function.record_value_size(10);
        }
        assert!(function.expected_value_size() > LARGE_VALUE);
        for _ in 0..1000 {
            function.record_value_size(10);
        }
        assert!(function.expected_value_size() <= LARGE_VALUE, "{}", function.expected_value_size());
    }

    #[test]
    fn concurrent_first_uses_of_a_function_share_one_metrics_record() {
        let functions = FunctionRegistry::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for name in ["a", "b", "c", "d"] {
                        functions.metrics_of(&FunctionSpec::prefix(name)).add(Count::Miss);
                    }
                });
            }
        });
        let all = functions.snapshots();
        assert_eq!(all.iter().map(|one| one.misses).collect::<Vec<_>>(), [8; 4]);
    }
}
