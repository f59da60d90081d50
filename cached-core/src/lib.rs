//! The runtime of `cached-aside`. Depend on that crate, which re-exports the public items of this one.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
compile_error!(
    "cached-aside needs a monotonic clock and threads, and `wasm32-unknown-unknown` has neither; use a target with WASI"
);

mod api;
mod base;
mod cache;
mod call;
mod coherence;
mod error;
mod flight;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod l1;
mod l2;
mod spec;
mod sync;
mod telemetry;
pub mod testing;
pub mod tier;
mod value;
mod warm;

#[doc(hidden)]
#[path = "private/mod.rs"]
pub mod __private;

pub use api::{
    function::{Call, SyncCall},
    keyspace::{Keyspace, LoadError},
};
pub use base::clock::Clock;
pub use cache::{Cache, Mode, builder::CacheBuilder, health::Health, invalidation::Invalidation};
pub use cached_macros::{cached, invalidates};
pub use call::control::{CacheControl, CacheOutcome, Layer, LoadRule, MayLoad, OnlyIfCached, Reason, Reply};
pub use error::{Error, load_timeout::LoadTimeout, shared::SharedLoadError, tier::TierError};
#[cfg(feature = "sha256")]
pub use key::Sha256;
#[cfg(feature = "xxh3")]
pub use key::Xxh3;
pub use key::{Blake3, KeyHasher, KeyPart, KeyedBlake3, tag::Tag};
#[cfg(feature = "metrics")]
pub use telemetry::metrics::{METRICS, Metric, MetricKind};
#[cfg(feature = "tracing")]
pub use telemetry::span::{SPANS, SpanInfo};
pub use telemetry::{
    event::{Event, EventKind, KeyDigest},
    latency::Latency,
    stats::{FunctionStats, Stats},
};
pub use tier::{
    cause::{CertificateFault, TierCause},
    health::{TierHealth, TierState},
};
pub use value::codec::{Codec, Format, Target, erased_serde};
pub use warm::{
    Warm,
    report::{WarmOutcome, WarmReport, Warmed},
    run::Warming,
    source::{WarmList, WarmSource, WarmStream},
    warm, warm_from,
};
