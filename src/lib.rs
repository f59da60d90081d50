//! Cache-aside and memoization in one attribute.

pub use cached_core::*;
#[cfg(feature = "redis")]
pub use cached_redis::{RedisTier, RedisTierBuilder};

#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
pub use redis::use_redis;

#[doc(hidden)]
pub mod __private {
    pub use cached_core::__private::*;

    /// The process default where nobody says what it is: Redis if the environment names one, and else this process.
    pub fn default_cache() -> &'static Cache {
        #[cfg(feature = "redis")]
        let init = crate::redis::from_environment;
        #[cfg(not(feature = "redis"))]
        let init = || Cache::builder().build_or_warn();
        Cache::default_or(init)
    }
}
