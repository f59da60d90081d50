//! What can be seen of a cache from outside, and what must not be.

#[cfg(all(feature = "metrics", feature = "tracing"))]
mod canary;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod docs;
mod health;
#[cfg(feature = "tracing")]
mod instrument;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "metrics")]
mod recorder;
#[cfg(feature = "tracing")]
mod spans;
#[cfg(all(feature = "redis", feature = "tracing"))]
mod standing;
mod stats;
mod support;
#[cfg(feature = "tracing")]
mod watch;
