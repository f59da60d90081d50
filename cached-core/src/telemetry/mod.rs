//! Everything that an application can observe: counters, histograms, events and spans.

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
