//! The default cache with Redis behind it.

use std::{
    env,
    sync::{Mutex, PoisonError},
};

use cached_core::{Cache, CacheBuilder, Error, Mode};
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
/// With the same settings again, as in each test of a program, it returns the same cache.
///
/// # Errors
/// [`is_config`](Error::is_config) for a malformed URL or namespace, and [`is_installed`](Error::is_installed) if the
/// default was set with other settings, or used, before.
pub fn use_redis(url: &str, namespace: &str) -> Result<&'static Cache, Error> {
    static USED: Mutex<Option<[String; 2]>> = Mutex::new(None);
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = [url.to_owned(), namespace.to_owned()];
    if used.as_ref() != Some(&settings) {
        with_redis(Cache::builder().namespace(namespace), url)?.build()?.install()?;
        *used = Some(settings);
    }
    Ok(crate::default_cache())
}

fn with_redis(builder: CacheBuilder, url: &str) -> Result<CacheBuilder, Error> {
    Ok(builder.tier(RedisTier::builder(url).build()?))
}

/// `REDIS_URL` and `CACHED_ASIDE_NAMESPACE`, for programs that set up nothing.
///
/// Where there is to be a Redis and cannot be one, caching is off. A cache of this process alone would look as well, and
/// would hear of no invalidation.
pub(crate) fn from_environment() -> Cache {
    let url = env::var_os("REDIS_URL").filter(|url| !url.is_empty());
    // Without one, it is the name of the program.
    let namespace = env::var_os("CACHED_ASIDE_NAMESPACE").filter(|namespace| !namespace.is_empty());
    let builder = match namespace {
        None => Cache::builder(),
        // What is no UTF-8 comes to hold what no namespace holds, and is refused.
        Some(namespace) => match namespace.into_string() {
            Ok(namespace) => Cache::builder().namespace(namespace),
            Err(_) => Cache::builder().namespace("*"),
        },
    };
    let Some(url) = url else { return builder.build_or_warn() };
    match with_redis(builder, &url.to_string_lossy()) {
        Ok(builder) => builder.build_or_warn(),
        Err(error) => {
            eprintln!("cached-aside: CACHING IS OFF: REDIS_URL cannot be used: {error}");
            Cache::builder().mode(Mode::Off).build_or_warn()
        }
    }
}
