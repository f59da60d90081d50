//! The runtime of `cached-aside`: depend on that crate.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
compile_error!(
    "cached-aside needs a monotonic clock and threads, and `wasm32-unknown-unknown` has neither; use a target with WASI"
);

mod arrival;
mod aside;
mod background;
mod budget;
mod builder;
mod cache;
mod call;
mod cause;
mod claim;
mod clock;
mod close;
mod codec;
mod control;
mod counter;
mod either;
mod envelope;
mod error;
mod event;
#[cfg(feature = "metrics")]
mod export;
mod flight;
mod front;
mod function;
mod functions;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod health;
mod hot;
mod invalidation;
mod join;
mod keep_warm;
mod kept;
mod key;
mod keyspace;
mod l1;
mod landing;
mod latency;
mod lease;
mod leaving;
mod line;
mod load;
mod map;
mod marks;
mod note;
mod notice;
mod observe;
mod pattern;
mod pending;
mod places;
mod planted;
mod policy;
mod program;
mod reap;
mod renew;
mod replay;
mod returning;
mod said;
mod seek;
mod shape;
mod shared;
mod shared_error;
mod site;
mod slot;
mod span;
mod standing;
mod stats;
mod sweeps;
mod sync;
mod tags;
pub mod testing;
mod tier;
mod timeout;
mod warm;
mod warming;

#[doc(hidden)]
#[path = "private/mod.rs"]
pub mod __private;

pub use budget::Budget;
pub use builder::CacheBuilder;
pub use cache::{Cache, Mode};
pub use cached_macros::{cached, invalidates};
pub use cause::{CertificateFault, TierCause};
pub use clock::Clock;
pub use codec::{Codec, Format, Target, erased_serde};
pub use control::{CacheControl, CacheOutcome, Layer, LoadRule, MayLoad, OnlyIfCached, Reason, Reply};
pub use error::Error;
pub use event::{Event, EventKind, KeyDigest};
#[cfg(feature = "metrics")]
pub use export::{METRICS, Metric, MetricKind};
pub use function::{Call, SyncCall};
pub use health::{Health, TierHealth, TierState};
pub use invalidation::Invalidation;
#[cfg(feature = "sha256")]
pub use key::Sha256;
#[cfg(feature = "xxh3")]
pub use key::Xxh3;
pub use key::{Blake3, KeyHasher, KeyPart, KeyedBlake3};
pub use keyspace::{Keyspace, LoadError};
pub use latency::Latency;
pub use line::Line;
pub use shared_error::SharedLoadError;
#[cfg(feature = "tracing")]
pub use span::{SPANS, SpanInfo};
pub use stats::{FunctionStats, Stats};
pub use tags::Tag;
pub use tier::{
    Adopted, Ask, Attachment, Filled, Grant, LARGE_VALUE, LeaseClaim, Leased, Moment, NoTier, Note, Record,
    Seen, Stamp, Stored, TagAsk, Take, Tier, TierError, TierFill, Token, Watcher,
};
pub use timeout::LoadTimeout;
pub use warm::{Warm, WarmList, WarmOutcome, WarmReport, WarmSource, WarmStream, Warmed, warm, warm_from};
pub use warming::Warming;
