//! Observability: counters, latencies, events, spans and exported metrics.
//!
//! To count a hit must not allocate, lock or call a recorder. So counters are atomics in shards (`stats`),
//! and durations go into histograms of fixed size (`latency`). The recorder of the `metrics` crate gets its
//! numbers from a separate export (`metrics`, `exported`).
//!
//! `functions` holds the counters of each function. `event` calls the observers of a cache. `span` and `step`
//! wrap the steps of a call that wait. Metrics, events and spans never contain an argument or a value.

pub(crate) mod event;
#[cfg(feature = "metrics")]
pub(crate) mod exported;
pub(crate) mod functions;
pub(crate) mod latency;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod span;
pub(crate) mod stats;
pub(crate) mod step;
