//! Everything that an application can observe: counters, histograms, events and spans.

pub(crate) mod event;
pub(crate) mod functions;
pub(crate) mod latency;
pub(crate) mod span;
pub(crate) mod stats;
pub(crate) mod step;
