//! Export of metrics to the recorder of the `metrics` crate.
//!
//! A hit does not call a recorder, because that would cost more than the rest of the hit. An export reads the
//! counters of each function instead. It passes on the increase since the last export, so that the counters
//! of several caches in one process add up.

use std::{mem, time::Duration};

use metrics::{Label, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram};

use crate::telemetry::{
    functions::FunctionMetrics,
    latency::{BUCKETS, Histogram, bucket_middle},
    stats::Count,
};

/// Description of a metric that [`Cache::export_metrics`](crate::Cache::export_metrics) sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Name of the metric, which does not change.
    pub name: &'static str,
    /// Kind of the metric.
    pub kind: MetricKind,
    /// Names of the labels. No label ever holds an argument or a value.
    pub labels: &'static [&'static str],
    /// Values of the label `outcome`; empty if the metric does not have it.
    pub outcomes: &'static [&'static str],
    /// Meaning of the metric.
    pub help: &'static str,
}

/// Kind of a [`Metric`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricKind {
    /// Count that only grows.
    Counter,
    /// Current value, which rises and falls.
    Gauge,
    /// Distribution of durations, in seconds.
    Histogram,
}

impl MetricKind {
    /// Returns `counter`, `gauge` or `histogram`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

macro_rules! metrics {
    ($(
        $constant:ident: $kind:ident $name:literal [$($label:literal),*] $({$($outcome:literal),*})? $help:literal;
    )+) => {
        $(pub(crate) const $constant: &str = $name;)+

        /// All metrics that [`Cache::export_metrics`](crate::Cache::export_metrics) sets.
        pub const METRICS: &[Metric] = &[$(
            Metric {
                name: $name,
                kind: MetricKind::$kind,
                labels: &[$($label),*],
                outcomes: &[$($($outcome),*)?],
                help: $help,
            },
        )+];
    };
}

metrics! {
    HITS: Counter "cached_aside_hits_total" ["function", "tier"] "Calls answered by a tier";
    STALE: Counter "cached_aside_stale_total" ["function"]
        "Calls answered by a tier with a value that was no longer fresh";
    MISSES: Counter "cached_aside_misses_total" ["function"] "Calls that no tier answered";
    JOINED: Counter "cached_aside_joined_total" ["function"] "Calls answered by the load of another call";
    BYPASSED: Counter "cached_aside_bypassed_total" ["function"] "Calls that bypassed the cache";
    LOADS: Counter "cached_aside_loads_total" ["function"] "Runs of the function's body";
    KEPT_WARM: Counter "cached_aside_kept_warm_total" ["function"]
        "Renewals of the most used keys, started without a call before the keys expired";
    LOAD_FAILURES: Counter "cached_aside_load_failures_total" ["function", "outcome"] {"error", "panic"}
        "Loads that returned an error, or panicked";
    LOAD_TIMEOUTS: Counter "cached_aside_load_timeouts_total" ["function"]
        "Loads, and waits for loads, that exceeded `load_timeout` and ended in an error";
    FILLS: Counter "cached_aside_fills_total" ["function", "outcome"] {"kept", "rejected"}
        "Loaded values that were stored in the in-process tier, or were overtaken by an invalidation";
    SHARED_FILLS: Counter "cached_aside_shared_fills_total" ["function", "outcome"] {"stored", "rejected", "error"}
        "Attempts to store a loaded value in the shared tier";
    SHARED_READ_FAILURES: Counter "cached_aside_shared_read_failures_total" ["function", "outcome"] {"error", "skipped", "unreadable"}
        "Reads of the shared tier that failed, were skipped, or returned an unreadable value";
    REVALIDATED: Counter "cached_aside_revalidated_total" ["function"]
        "Entries of the in-process tier that the shared tier confirmed as unchanged";
    SERVED_IN_OUTAGE: Counter "cached_aside_served_in_outage_total" ["function"]
        "Entries that were served while the shared tier could not be reached";
    KEYS_REFUSED: Counter "cached_aside_keys_refused_total" ["function"] "Arguments that could not be part of a key";
    INVALIDATIONS: Counter "cached_aside_invalidations_total" ["function"] "Invalidations";
    NOT_PROPAGATED: Counter "cached_aside_not_propagated_total" ["function"]
        "Invalidations that could not be delivered to the shared tier at once";
    KEPT_UNSHARED: Counter "cached_aside_kept_unshared_total" ["function"]
        "Values that were kept in this process only, because the shared tier cannot hold them";
    HIT_SECONDS: Histogram "cached_aside_hit_seconds" ["function"]
        "Durations of hits in the in-process tier, sampled one in 64";
    LOOKUP_SECONDS: Histogram "cached_aside_lookup_seconds" ["function"]
        "Durations of lookups in the shared tier";
    LOAD_SECONDS: Histogram "cached_aside_load_seconds" ["function"] "Durations of loads";
    L1_ENTRIES: Gauge "cached_aside_l1_entries" ["namespace"] "Entries in the in-process tier";
    L1_BYTES: Gauge "cached_aside_l1_bytes" ["namespace"]
        "Estimated bytes of the entries in the in-process tier";
    IN_FLIGHT: Gauge "cached_aside_in_flight" ["namespace"] "Loads in progress";
    WAITING: Gauge "cached_aside_waiting" ["namespace"] "Calls that wait for the load of another call";
    PENDING: Gauge "cached_aside_pending_invalidations" ["namespace"]
        "Invalidations that are not yet delivered to the shared tier";
    BACKGROUND: Gauge "cached_aside_background_jobs" ["namespace"] "Background jobs in progress";
    TIER_READY: Gauge "cached_aside_tier_ready" ["namespace"]
        "1 if the shared tier can be reached, 0 if not; absent without one";
    TIER_RECONNECTS: Gauge "cached_aside_tier_reconnects" ["namespace"]
        "New connections to the shared tier after a lost one; absent without one";
    BREAKER_OPEN: Gauge "cached_aside_tier_breaker_open" ["namespace"]
        "1 if the shared tier is skipped for a while because it failed; absent without one";
}

/// Returns the name of the metric that exports a counter, and its label besides `function`.
fn series(count: Count) -> (&'static str, Option<(&'static str, &'static str)>) {
    match count {
        Count::HitL1 => (HITS, Some(("tier", "l1"))),
        Count::HitL2 => (HITS, Some(("tier", "l2"))),
        Count::Stale => (STALE, None),
        Count::Miss => (MISSES, None),
        Count::Joined => (JOINED, None),
        Count::Bypass => (BYPASSED, None),
        Count::Load => (LOADS, None),
        Count::KeptWarm => (KEPT_WARM, None),
        Count::LoadError => (LOAD_FAILURES, Some(("outcome", "error"))),
        Count::LoadPanic => (LOAD_FAILURES, Some(("outcome", "panic"))),
        Count::LoadTimeout => (LOAD_TIMEOUTS, None),
        Count::Fill => (FILLS, Some(("outcome", "kept"))),
        Count::RejectedFill => (FILLS, Some(("outcome", "rejected"))),
        Count::Revalidate => (REVALIDATED, None),
        Count::ServedInOutage => (SERVED_IN_OUTAGE, None),
        Count::Unshared => (KEPT_UNSHARED, None),
        Count::SharedFill => (SHARED_FILLS, Some(("outcome", "stored"))),
        Count::SharedReject => (SHARED_FILLS, Some(("outcome", "rejected"))),
        Count::SharedFillError => (SHARED_FILLS, Some(("outcome", "error"))),
        Count::SharedReadError => (SHARED_READ_FAILURES, Some(("outcome", "error"))),
        Count::SharedSkipped => (SHARED_READ_FAILURES, Some(("outcome", "skipped"))),
        Count::Unreadable => (SHARED_READ_FAILURES, Some(("outcome", "unreadable"))),
        Count::KeyRefused => (KEYS_REFUSED, None),
        Count::Invalidate => (INVALIDATIONS, None),
        Count::NotPropagated => (NOT_PROPAGATED, None),
    }
}

pub(crate) fn export(function: &FunctionMetrics) {
    let mut last = function.exported.last();
    for count in Count::ALL {
        let now = function.counters().sum(count);
        let added = now - mem::replace(&mut last.counts[count as usize], now);
        if added > 0 {
            let (name, label) = series(count);
            let label = label.map(|(key, word)| Label::from_static_parts(key, word));
            counter!(name, function_label(function).into_iter().chain(label).collect::<Vec<_>>())
                .increment(added);
        }
    }
    let histograms = [
        (HIT_SECONDS, Some(function.hit_latency())),
        (LOOKUP_SECONDS, function.recorded_lookup_latency()),
        (LOAD_SECONDS, function.recorded_load_latency()),
    ];
    for ((name, histogram), last) in histograms.into_iter().zip(&mut last.latencies) {
        if let Some(histogram) = histogram {
            let last = last.get_or_insert_with(|| Box::new([0; BUCKETS]));
            export_latencies(name, function, histogram, last);
        }
    }
}

/// Exports the new measurements of a histogram. A recorder takes values and not buckets, so each measurement
/// is exported as the middle of its bucket.
fn export_latencies(
    name: &'static str,
    function: &FunctionMetrics,
    histogram: &Histogram,
    last: &mut [u64; BUCKETS],
) {
    for (bucket, (now, last)) in histogram.counts().into_iter().zip(last).enumerate() {
        let added = now - mem::replace(last, now);
        if let Ok(added @ 1..) = usize::try_from(added) {
            let seconds = Duration::from_nanos(bucket_middle(bucket)).as_secs_f64();
            metrics::histogram!(name, function_label(function)).record_many(seconds, added);
        }
    }
}

fn function_label(function: &FunctionMetrics) -> Vec<Label> {
    vec![Label::from_static_parts("function", function.name())]
}

pub(crate) fn describe() {
    for Metric { name, kind, help, .. } in METRICS.iter().copied() {
        let help = SharedString::const_str(help);
        match kind {
            MetricKind::Counter => describe_counter!(name, help),
            MetricKind::Gauge => describe_gauge!(name, help),
            MetricKind::Histogram => describe_histogram!(name, Unit::Seconds, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_list_exactly_the_labels_and_outcomes_of_their_counters() {
        let mut counted = Vec::new();
        for (name, label) in Count::ALL.map(series) {
            let metric = METRICS.iter().find(|metric| metric.name == name).expect("it is one of them");
            assert_eq!(metric.labels.get(1).copied(), label.map(|(label, _)| label), "{name}");
            counted.extend(label.filter(|(label, _)| *label == "outcome").map(|(_, value)| (name, value)));
        }
        let mut listed: Vec<_> = METRICS
            .iter()
            .flat_map(|metric| metric.outcomes.iter().map(|outcome| (metric.name, *outcome)))
            .collect();
        counted.sort_unstable();
        listed.sort_unstable();
        assert_eq!(counted, listed);
    }
}
