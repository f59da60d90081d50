//! Process default with Redis as its shared tier.

use std::{
    env,
    sync::{Mutex, PoisonError},
};

use cached_core::{Cache, CacheBuilder, Error, Mode};
use cached_redis::RedisTier;

/// Puts Redis behind every function that names no other cache.
///
/// This is the one line that `main` needs. The connection is made in the background, so the call returns at
/// once whether or not Redis is there. For more settings, build a [`Cache`] with a [`RedisTier`] and
/// [`install`](Cache::install) it. Values reach Redis in the background, so a program that ends soon calls
/// [`flush`](Cache::flush) on the returned cache.
///
/// ```
/// # fn main() -> Result<(), cached_aside::Error> {
/// cached_aside::use_redis("redis://127.0.0.1:6379", "shop")?;
/// # Ok(()) }
/// ```
///
/// Another call with the same settings, as in each test of a program, returns the same cache.
///
/// # Errors
/// [`is_config`](Error::is_config) for a malformed URL or namespace, and
/// [`is_installed`](Error::is_installed) if the process default was already used, or set with other settings.
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

/// Builds a cache from `REDIS_URL` and `CACHED_ASIDE_NAMESPACE`, for programs that set up nothing.
///
/// If Redis is configured and cannot be used, caching is off. A cache in this process alone would seem to
/// work, but would receive no invalidation of other processes.
pub(crate) fn from_environment() -> Cache {
    let url = env::var_os("REDIS_URL").filter(|url| !url.is_empty());
    // The default namespace is the name of the program.
    let namespace = env::var_os("CACHED_ASIDE_NAMESPACE").filter(|namespace| !namespace.is_empty());
    let builder = match namespace {
        None => Cache::builder(),
        // A value that is not UTF-8 becomes `*`, which no namespace may contain, and is rejected.
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
