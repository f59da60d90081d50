//! The core of cached-aside under [loom], which runs a program through every order in which its threads can take their
//! steps, and through what each load of an atomic may then see.
//!
//! The sources are those of `cached-core`, compiled once more: a crate names `crate::sync` and `tokio`, and here these
//! are other modules. So nothing is rebuilt from memory, and what the models find is in the code that runs. Instead of
//! Redis there is a [`redis`] whose operations are one step each, as its scripts are, and whose messages come when
//! somebody hands them on. Out of scope: time (the clock stands still, so that leases, proofs and patience do not
//! end), the eviction of entries, and tasks that go on beside their caller (here they run where they are spawned).
//!
//! A model must do the same in each execution, so it says things of one name at a time: the order in a hash map is
//! random.

// Or the unit tests of those sources would be in it.
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

// What stands in the place of crates.
extern crate self as futures_timer;
extern crate self as tokio;

mod redis;
pub mod runtime;
pub mod scenario;
pub mod sync;
pub mod task;
mod timer;

pub use timer::Delay;

// What the model has its own of, in part.
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
    none::NoTier,
};
pub use value::codec::{Codec, Format, Target, erased_serde};
