//! The core of cached-aside under [loom], which runs a program through every order of the steps of its
//! threads.
//!
//! Loom also tries every value that a load of an atomic may see in that order.
//!
//! The sources are those of `cached-core`, compiled once more: they name `crate::sync` and `tokio`, which are
//! other modules in this crate. So nothing is reimplemented, and a fault that a model finds is in the code
//! that runs. A [`redis`] takes the place of Redis. Its operations are one or two steps, like the scripts of
//! Redis, and its messages are delivered when a model asks for it. Out of scope are time (the clock stands
//! still, so leases, proofs and timeouts do not end), the eviction of entries, and tasks that run beside
//! their caller (here they run where they are spawned).
//!
//! A model must do the same in each execution. So it invalidates one name at a time: the order in a hash map
//! is random.

// Otherwise the unit tests of those sources would be included.
#![cfg(not(test))]
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    unexpected_cfgs,
    reason = "the models use a part of the core"
)]
#![allow(missing_docs, clippy::pedantic, reason = "the sources are checked where they belong")]
#![allow(clippy::modulo_one, reason = "tables have one part here")]

// This crate takes the place of these crates.
extern crate self as futures_timer;
extern crate self as tokio;

mod redis;
pub mod runtime;
pub mod scenario;
pub mod sync;
pub mod task;
mod timer;

pub use timer::Delay;

// Replaced by the model in part.
mod l1;

// The core itself.
#[path = "../../../cached-core/src/private/mod.rs"]
pub mod __private;
#[path = "../../../cached-core/src/api/mod.rs"]
mod api;
#[path = "../../../cached-core/src/base/mod.rs"]
mod base;
#[path = "../../../cached-core/src/cache/mod.rs"]
mod cache;
#[path = "../../../cached-core/src/call/mod.rs"]
mod call;
#[path = "../../../cached-core/src/coherence/mod.rs"]
mod coherence;
#[path = "../../../cached-core/src/error/mod.rs"]
mod error;
#[path = "../../../cached-core/src/flight/mod.rs"]
mod flight;
#[path = "../../../cached-core/src/key/mod.rs"]
mod key;
#[path = "../../../cached-core/src/l2/mod.rs"]
mod l2;
#[path = "../../../cached-core/src/spec.rs"]
mod spec;
#[path = "../../../cached-core/src/telemetry/mod.rs"]
mod telemetry;
#[path = "../../../cached-core/src/testing/mod.rs"]
mod testing;
#[path = "../../../cached-core/src/tier/mod.rs"]
mod tier;
#[path = "../../../cached-core/src/value/mod.rs"]
mod value;
#[path = "../../../cached-core/src/warm/mod.rs"]
mod warm;

pub use api::{
    function::{Call, SyncCall},
    keyspace::{Keyspace, LoadError},
};
pub use base::clock::Clock;
pub use cache::{Cache, Mode, builder::CacheBuilder, health::Health, invalidation::Invalidation};
pub use call::control::{CacheControl, CacheOutcome, Layer, LoadRule, MayLoad, OnlyIfCached, Reason, Reply};
pub use error::{Error, load_timeout::LoadTimeout, shared::SharedLoadError, tier::TierError};
pub use key::{Blake3, KeyHasher, KeyPart, KeyedBlake3, tag::Tag};
pub use telemetry::{
    event::{Event, EventKind, KeyDigest},
    latency::Latency,
    stats::{FunctionStats, Stats},
};
pub use tier::{
    Attachment, ChangeListener, Filled, Found, JournalPosition, LeaseMode, LeaseReply, LeaseRequest,
    LeaseToken, Leased, Lookup, Note, Record, Revision, Stored, TagRequest, TagsClaimed, Tier, TierFill,
    budget::Budget,
    cause::{CertificateFault, TierCause},
    feed::ChangeFeed,
    health::{TierHealth, TierState},
    no_tier::NoTier,
};
pub use value::codec::{Codec, Format, Target, erased_serde};
