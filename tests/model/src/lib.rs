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

// What the model has its own of: Moka frees values when it likes, and that may be in another execution.
mod l1;
// And of what leaves: nothing in here has code of its own.
mod leaving;

// The core itself.
#[path = "../../../cached-core/src/private/mod.rs"]
pub mod __private;
#[path = "../../../cached-core/src/arrival.rs"]
mod arrival;
#[path = "../../../cached-core/src/aside.rs"]
mod aside;
#[path = "../../../cached-core/src/background.rs"]
mod background;
#[path = "../../../cached-core/src/budget.rs"]
mod budget;
#[path = "../../../cached-core/src/builder.rs"]
mod builder;
#[path = "../../../cached-core/src/cache.rs"]
mod cache;
#[path = "../../../cached-core/src/call.rs"]
mod call;
#[path = "../../../cached-core/src/cause.rs"]
mod cause;
#[path = "../../../cached-core/src/claim.rs"]
mod claim;
#[path = "../../../cached-core/src/clock.rs"]
mod clock;
#[path = "../../../cached-core/src/codec/mod.rs"]
mod codec;
#[path = "../../../cached-core/src/control.rs"]
mod control;
#[path = "../../../cached-core/src/counter.rs"]
mod counter;
#[path = "../../../cached-core/src/either.rs"]
mod either;
#[path = "../../../cached-core/src/envelope/mod.rs"]
mod envelope;
#[path = "../../../cached-core/src/error.rs"]
mod error;
#[path = "../../../cached-core/src/event.rs"]
mod event;
#[path = "../../../cached-core/src/flight/mod.rs"]
mod flight;
#[path = "../../../cached-core/src/front/mod.rs"]
mod front;
#[path = "../../../cached-core/src/function.rs"]
mod function;
#[path = "../../../cached-core/src/functions.rs"]
mod functions;
#[path = "../../../cached-core/src/guard.rs"]
mod guard;
#[path = "../../../cached-core/src/health.rs"]
mod health;
#[path = "../../../cached-core/src/hot.rs"]
mod hot;
#[path = "../../../cached-core/src/invalidation.rs"]
mod invalidation;
#[path = "../../../cached-core/src/join.rs"]
mod join;
#[path = "../../../cached-core/src/keep_warm.rs"]
mod keep_warm;
#[path = "../../../cached-core/src/kept.rs"]
mod kept;
#[path = "../../../cached-core/src/key/mod.rs"]
mod key;
#[path = "../../../cached-core/src/keyspace.rs"]
mod keyspace;
#[path = "../../../cached-core/src/landing.rs"]
mod landing;
#[path = "../../../cached-core/src/latency.rs"]
mod latency;
#[path = "../../../cached-core/src/lease/mod.rs"]
mod lease;
#[path = "../../../cached-core/src/line.rs"]
mod line;
#[path = "../../../cached-core/src/load.rs"]
mod load;
#[path = "../../../cached-core/src/marks.rs"]
mod marks;
#[path = "../../../cached-core/src/note.rs"]
mod note;
#[path = "../../../cached-core/src/notice.rs"]
mod notice;
#[path = "../../../cached-core/src/observe.rs"]
mod observe;
#[path = "../../../cached-core/src/pattern.rs"]
mod pattern;
#[path = "../../../cached-core/src/pending.rs"]
mod pending;
#[path = "../../../cached-core/src/places.rs"]
mod places;
#[path = "../../../cached-core/src/planted.rs"]
mod planted;
#[path = "../../../cached-core/src/policy/mod.rs"]
mod policy;
#[path = "../../../cached-core/src/program.rs"]
mod program;
#[path = "../../../cached-core/src/reap.rs"]
mod reap;
#[path = "../../../cached-core/src/renew.rs"]
mod renew;
#[path = "../../../cached-core/src/replay.rs"]
mod replay;
#[path = "../../../cached-core/src/returning.rs"]
mod returning;
#[path = "../../../cached-core/src/said.rs"]
mod said;
#[path = "../../../cached-core/src/seek.rs"]
mod seek;
#[path = "../../../cached-core/src/shape.rs"]
mod shape;
#[path = "../../../cached-core/src/shared.rs"]
mod shared;
#[path = "../../../cached-core/src/shared_error.rs"]
mod shared_error;
#[path = "../../../cached-core/src/site.rs"]
mod site;
#[path = "../../../cached-core/src/slot.rs"]
mod slot;
#[path = "../../../cached-core/src/span.rs"]
mod span;
#[path = "../../../cached-core/src/standing.rs"]
mod standing;
#[path = "../../../cached-core/src/stats.rs"]
mod stats;
#[path = "../../../cached-core/src/sweeps.rs"]
mod sweeps;
#[path = "../../../cached-core/src/tags.rs"]
mod tags;
#[path = "../../../cached-core/src/testing/mod.rs"]
pub mod testing;
#[path = "../../../cached-core/src/tier.rs"]
mod tier;
#[path = "../../../cached-core/src/timeout.rs"]
mod timeout;
#[path = "../../../cached-core/src/warm.rs"]
mod warm;
#[path = "../../../cached-core/src/warming.rs"]
mod warming;

pub use builder::CacheBuilder;
pub use cache::{Cache, Mode};
pub use cause::{CertificateFault, TierCause};
pub use clock::Clock;
pub use codec::{Codec, Format, Target, erased_serde};
pub use control::{CacheControl, CacheOutcome, Layer, LoadRule, MayLoad, OnlyIfCached, Reason, Reply};
pub use error::Error;
pub use event::{Event, EventKind, KeyDigest};
pub use function::{Call, SyncCall};
pub use health::{Health, TierHealth, TierState};
pub use invalidation::Invalidation;
pub use key::{Blake3, KeyHasher, KeyPart, KeyedBlake3};
pub use keyspace::{Keyspace, LoadError};
pub use latency::Latency;
pub use line::Line;
pub use shared_error::SharedLoadError;
pub use stats::{FunctionStats, Stats};
pub use tags::Tag;
pub use tier::{
    Adopted, Ask, Attachment, Filled, Grant, LeaseClaim, Leased, Moment, NoTier, Note, Record, Seen, Stamp,
    Stored, TagAsk, Take, Tier, TierError, TierFill, Token, Watcher,
};
pub use timeout::LoadTimeout;
