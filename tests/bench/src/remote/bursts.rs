//! A slow function behind caches that several processes share, called by many tasks at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::cached::{AsyncRedisCache, ConcurrentCachedAsync};
use cached_aside::{Cache, Format, cached};
use hitbox::{
    DisabledOffload,
    concurrency::BroadcastConcurrencyManager,
    policy::{ConcurrencyLimit, PolicyConfig},
};
use hitbox_fn::cached as hitbox_cached;
use hitbox_redis::{ConnectionMode, RedisBackend};
use multi_tier_cache::{CacheManager, CacheStrategy};
use tokio::{task::JoinSet, time::sleep};

use super::{PATIENCE, cache, tiers::two_tiers};
use crate::work::{TTL, load, loads};

/// Caches by name. Stampede protection is enabled in every cache that has it.
#[derive(Clone)]
pub(crate) struct Bursts {
    ours: Cache,
    hitbox: Arc<ProtectedRedisCache>,
    tiers: Arc<CacheManager>,
    cached: Arc<AsyncRedisCache<u64, u64>>,
}

type ProtectedRedisCache = hitbox_fn::Cache<RedisBackend, BroadcastConcurrencyManager<u64>, DisabledOffload>;

async fn slow(key: u64, duration: Duration) -> u64 {
    sleep(duration).await;
    load(key)
}

#[cached("slow:{key}", ttl = "1h", cache = cache, skip(cache, duration))]
async fn ours(cache: &Cache, key: u64, duration: Duration) -> u64 {
    slow(key, duration).await
}

#[hitbox_cached(prefix = "slow")]
async fn boxed(key: u64, millis: u64) -> u64 {
    slow(key, Duration::from_millis(millis)).await
}

impl Bursts {
    pub(crate) const NAMES: [&str; 4] = ["ours", "hitbox", "multi-tier-cache", "cached"];

    pub(crate) async fn new(url: &str) -> Self {
        let connection = ConnectionMode::single(url);
        let backend = RedisBackend::builder().connection(connection).response_timeout(PATIENCE).build();
        let one = ConcurrencyLimit::new(1).expect("one is allowed");
        let hitbox = hitbox_fn::Cache::builder()
            .backend(backend.expect("a valid address"))
            .policy(PolicyConfig::builder().ttl(TTL).concurrency(one).build())
            .concurrency_manager(BroadcastConcurrencyManager::new())
            .build();
        let cached = AsyncRedisCache::builder("burst").ttl(TTL).connection_string(url).build();
        Self {
            ours: cache(url, Format::Json),
            hitbox: Arc::new(hitbox),
            tiers: Arc::new(two_tiers(url).await),
            cached: Arc::new(cached.await.expect("Redis is there")),
        }
    }

    async fn call(&self, arm: &str, key: u64, duration: Duration) -> u64 {
        match arm {
            "ours" => ours(&self.ours, key, duration).await,
            "hitbox" => {
                let millis = u64::try_from(duration.as_millis()).expect("it is short");
                boxed(key, millis).cache(&*self.hitbox).await
            }
            "multi-tier-cache" => {
                let (name, strategy) = (format!("slow:{key}"), CacheStrategy::Custom(TTL));
                let value = self
                    .tiers
                    .get_or_compute_typed(&name, strategy, || async { Ok(slow(key, duration).await) });
                value.await.expect("it does not fail")
            }
            // These are the steps of the attribute of `cached` with this store.
            "cached" => {
                if let Ok(Some(value)) = self.cached.async_cache_get(&key).await {
                    return value;
                }
                let value = slow(key, duration).await;
                let _before = self.cached.async_cache_set(key, value).await;
                value
            }
            _ => panic!("no cache is called {arm}"),
        }
    }

    /// Calls the function from `callers` tasks at once.
    ///
    /// Returns the loads of this process, and the milliseconds until all callers have their answer.
    pub(crate) async fn run(&self, arm: &str, key: u64, callers: u32, duration: Duration) -> (usize, u128) {
        let (before, began) = (loads(), Instant::now());
        let mut calls = JoinSet::new();
        for _ in 0..callers {
            let (caches, arm) = (self.clone(), arm.to_owned());
            calls.spawn(async move { caches.call(&arm, key, duration).await });
        }
        assert!(calls.join_all().await.iter().all(|value| *value == key), "the value of its key");
        (loads() - before, began.elapsed().as_millis())
    }
}
