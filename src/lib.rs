//! Cache-aside and memoization in one attribute.
//!
//! A typed in-process tier is in front of a tier that all processes share.
//!
//! ```
//! use cached_aside::cached;
//!
//! #[cached("square", ttl = "10m")]
//! async fn square(n: u64) -> u64 {
//!     n * n
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_aside::Error> {
//! assert_eq!(square(7).await, 49);
//! square::invalidate(7).await?;
//! # Ok(()) }
//! ```
//!
//! The **[guide]** has a page for each feature.
//!
//! | start with | for |
//! |---|---|
//! | [`cached`] | the attribute, and its grammar |
//! | [`invalidates`] | the attribute of functions that write |
//! | [`use_redis`] | the one line in `main` |
//! | [`Cache::builder`] | every setting |
//! | [`CacheControl`], [`CacheOutcome`] | settings for one call, and its outcome |
//! | [`Cache::stats_by_function`], [`Cache::health`] | counters and latencies, and the state of the cache |
//! | [`warm`](fn@warm) | a list of keys loaded at start |
//! | [`Cache::keyspace`], [`Cache::incr`] | the cache without the attribute |
//! | [`testing`] | a clock that you move, a tier that you can make fail |
//! | [`tier`] | the contract of a shared tier, for writers of tiers |
//!
//! # Features
//!
//! `redis` (default): the Redis tier. `tls`: `rediss://`. `sentinel`: `redis-sentinel://`. `cluster`:
//! `redis-cluster://`. `msgpack`, `postcard`: codecs besides JSON. `compression`: LZ4 for large values.
//! `sha256`, `xxh3`: key hashers besides BLAKE3. `metrics`: counters and latencies for the `metrics` crate.
//! `tracing`: spans and log events for the `tracing` crate. A library that only annotates its functions turns
//! the default off.

pub use cached_core::*;
#[cfg(feature = "redis")]
pub use cached_redis::{
    Credentials, CredentialsError, CredentialsProvider, LargeHealth, RedisHealth, RedisState,
    RedisStateWatch, RedisTier, RedisTierBuilder,
};

// The snippets of the guide are doctests of `cached-tests`, which has the dependencies that they need.
#[cfg(all(doc, not(doctest)))]
pub mod guide;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
pub use redis::use_redis;

/// Returns the process default: the cache of every function that names no other.
///
/// This is the cache that was [installed](Cache::install). Without one, it is a cache with the Redis server
/// that the environment names, or else a cache in this process alone.
#[inline]
pub fn default_cache() -> &'static Cache {
    #[cfg(feature = "redis")]
    let init = redis::from_environment;
    #[cfg(not(feature = "redis"))]
    let init = || Cache::builder().build_or_warn();
    Cache::default_or(init)
}

#[doc(hidden)]
pub mod __private {
    pub use cached_core::__private::*;

    pub use crate::default_cache;
}
