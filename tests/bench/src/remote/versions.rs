//! A value that changes, behind caches that keep it in the memory of each process.

use ::cached::{AsyncRedisCache, ConcurrentCachedAsync};
use cached_aside::{Cache, Format, cached};
use multi_tier_cache::{CacheManager, CacheStrategy};
use redis::{AsyncCommands, aio::MultiplexedConnection};

use super::{cache, connect, tiers::two_tiers};
use crate::work::TTL;

/// Caches by name.
pub(crate) struct Versions {
    ours: Cache,
    tiers: CacheManager,
    cached: AsyncRedisCache<u64, u64>,
    source: Source,
}

/// Source of the values, with one key for each arm.
#[derive(Clone)]
struct Source(MultiplexedConnection);

impl Source {
    async fn read(&self, arm: &str) -> u64 {
        self.0.clone().get(format!("source:{arm}")).await.expect("Redis is there")
    }
}

#[cached("version", ttl = "1h", cache = cache, skip(cache, source))]
async fn version(cache: &Cache, source: &Source) -> u64 {
    source.read("ours").await
}

const KEY: &str = "version";

impl Versions {
    pub(crate) const NAMES: [&str; 3] = ["ours", "multi-tier-cache", "cached, client-side caching"];

    pub(crate) async fn new(url: &str) -> Self {
        // Redis notifies this cache when a key that it has read changes.
        let cached = AsyncRedisCache::builder("versions").ttl(TTL).connection_string(url);
        Self {
            ours: cache(url, Format::Json),
            tiers: two_tiers(url).await,
            cached: cached.client_side_caching(true).build().await.expect("Redis is there"),
            source: Source(connect(url).await),
        }
    }

    /// Changes the value in the source.
    pub(crate) async fn write(&self, arm: &str, number: u64) {
        let _: () = self.source.0.clone().set(format!("source:{arm}"), number).await.expect("Redis is there");
    }

    /// Reads through the cache.
    pub(crate) async fn read(&self, arm: &str) -> u64 {
        match arm {
            "ours" => version(&self.ours, &self.source).await,
            "multi-tier-cache" => {
                let strategy = CacheStrategy::Custom(TTL);
                let value = self
                    .tiers
                    .get_or_compute_typed(KEY, strategy, || async { Ok(self.source.read(arm).await) });
                value.await.expect("Redis is there")
            }
            _ => {
                if let Some(value) = self.cached.async_cache_get(&0).await.expect("Redis is there") {
                    return value;
                }
                let value = self.source.read(arm).await;
                self.cached.async_cache_set(0, value).await.expect("Redis is there");
                value
            }
        }
    }

    pub(crate) async fn invalidate(&self, arm: &str) {
        match arm {
            "ours" => version::invalidate(&self.ours, &self.source).await.expect("Redis is there"),
            "multi-tier-cache" => self.tiers.invalidate(KEY).await.expect("Redis is there"),
            _ => {
                let before = self.cached.async_cache_remove(&0).await.expect("Redis is there");
                assert!(before.is_some(), "it was there");
            }
        }
    }
}
