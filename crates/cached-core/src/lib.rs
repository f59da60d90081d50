//! The runtime of `cached-aside`: depend on that crate.

mod builder;
mod cache;
mod call;
mod clock;
mod codec;
mod control;
mod counter;
mod envelope;
mod error;
mod flight;
mod function;
mod guard;
mod key;
mod keyspace;
mod l1;
mod shape;
mod shared;
mod site;
mod slot;
mod stats;
pub mod testing;
mod tier;
mod turns;

#[doc(hidden)]
#[path = "private/mod.rs"]
pub mod __private;

pub use builder::CacheBuilder;
pub use cache::{Cache, Mode};
pub use cached_macros::cached;
pub use clock::Clock;
pub use codec::{Codec, Format, Target, erased_serde};
pub use control::{CacheControl, CacheOutcome, Layer, LoadRule, MayLoad, OnlyIfCached, Reason, Reply};
pub use error::Error;
pub use function::{Call, SyncCall};
#[cfg(feature = "sha256")]
pub use key::Sha256;
#[cfg(feature = "xxh3")]
pub use key::Xxh3;
pub use key::{Blake3, KeyHasher, KeyedBlake3};
pub use keyspace::{Keyspace, LoadError};
pub use stats::Stats;
pub use tier::{NoTier, Stored, Tier, TierError};
