//! Cache-aside and memoization in one attribute.

pub use cached_core::*;
#[cfg(feature = "redis")]
pub use cached_redis::{RedisTier, RedisTierBuilder};

#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
pub use redis::use_redis;

/// The cache of every function that names no other: the one that was [installed](Cache::install), or else one with the
/// Redis that the environment names, or else one in this process alone.
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

/// The README's snippets compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
