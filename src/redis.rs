//! The default cache with Redis behind it.

use std::env;

use cached_core::{Cache, CacheBuilder, Error};
use cached_redis::RedisTier;

/// Puts Redis behind every function that names no other cache: the one line in `main`.
///
/// It connects in the background, so it returns at once whether or not Redis is there. For more settings, build a
/// [`Cache`] with a [`RedisTier`] and [`install`](Cache::install) it. A program that ends soon calls
/// [`flush`](Cache::flush) on the cache that is returned, because values reach Redis in the background.
///
/// ```
/// # fn main() -> Result<(), cached_aside::Error> {
/// cached_aside::use_redis("redis://127.0.0.1:6379", "shop")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`is_config`](Error::is_config) for a malformed URL or namespace, and [`is_installed`](Error::is_installed) if the
/// default was set, or used, before.
pub fn use_redis(url: &str, namespace: &str) -> Result<&'static Cache, Error> {
    with_redis(Cache::builder().namespace(namespace), url)?.build()?.install()?;
    Ok(crate::default_cache())
}

fn with_redis(builder: CacheBuilder, url: &str) -> Result<CacheBuilder, Error> {
    Ok(builder.tier(RedisTier::builder(url).build()?))
}

/// `REDIS_URL` and `CACHED_ASIDE_NAMESPACE`, for programs that set up nothing.
pub(crate) fn from_environment() -> Cache {
    let named = env::var("CACHED_ASIDE_NAMESPACE").ok();
    let url = env::var("REDIS_URL").ok().filter(|url| !url.is_empty());
    // Two applications that find the same Redis in their environment must not read each other's values.
    let namespace = named.or_else(|| url.as_ref().and_then(|_| own_name()));
    let builder = || match &namespace {
        Some(namespace) => Cache::builder().namespace(namespace),
        None => Cache::builder(),
    };
    let Some(url) = url else { return builder().build_or_warn() };
    match with_redis(builder(), &url) {
        Ok(builder) => builder.build_or_warn(),
        Err(error) => {
            eprintln!("cached-aside: REDIS_URL is not used: {error}");
            builder().build_or_warn()
        }
    }
}

/// The name of the program, if it can be a namespace.
fn own_name() -> Option<String> {
    let name = env::current_exe().ok()?.file_stem()?.to_str()?.to_owned();
    name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)).then_some(name)
}
