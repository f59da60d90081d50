//! Peers that read a value from Redis.

use std::{hint::black_box, sync::Arc};

use ::cached::{AsyncRedisCache, ConcurrentCachedAsync};
use hitbox::{DisabledOffload, concurrency::NoopConcurrencyManager, policy::PolicyConfig};
use hitbox_fn::cached as hitbox_cached;
use hitbox_redis::{ConnectionMode, RedisBackend};
use multi_tier_cache::{CacheManager, CacheStrategy};

use super::{
    Invalidator, Items, Reader,
    readers::load_items,
    tiers::{redis_only, two_tiers},
};
use crate::work::TTL;

/// `cached` with its Redis store, used as its attribute would use it.
///
/// There is no in-process tier; the codec is `MessagePack`.
#[derive(Clone)]
pub(crate) struct Cached(Arc<AsyncRedisCache<u64, Items>>, u32);

impl Cached {
    pub(crate) async fn new(url: &str, rows: u32) -> Self {
        let builder = AsyncRedisCache::builder(format!("cached-{rows}")).ttl(TTL).connection_string(url);
        Self(Arc::new(builder.build().await.expect("Redis is there")), rows)
    }
}

impl Invalidator for Cached {
    async fn invalidate(&self, id: u32) {
        let before = self.0.async_cache_remove(&id.into()).await.expect("Redis is there");
        assert!(before.is_some(), "it was there");
    }
}

impl Reader for Cached {
    async fn read(&mut self, id: u32) {
        let known = self.0.async_cache_get(&id.into()).await.expect("Redis is there");
        let value = if let Some(value) = known {
            value
        } else {
            let value = load_items(id, self.1);
            self.0.async_cache_set(id.into(), value.clone()).await.expect("Redis is there");
            value
        };
        assert_eq!(black_box(value).id, id);
    }
}

/// `hitbox` with Redis as its only backend.
///
/// There is no in-process tier and no stampede protection; the codec is bincode.
#[derive(Clone)]
pub(crate) struct Hitbox(Arc<HitboxCache>, u32);

type HitboxCache = hitbox_fn::Cache<RedisBackend, NoopConcurrencyManager, DisabledOffload>;

#[hitbox_cached(prefix = "items")]
async fn with_hitbox(rows: u32, id: u32) -> Items {
    load_items(id, rows)
}

impl Hitbox {
    pub(crate) fn new(url: &str, rows: u32) -> Self {
        let backend = RedisBackend::builder().connection(ConnectionMode::single(url)).build();
        let policy = PolicyConfig::builder().ttl(TTL).build();
        let builder = hitbox_fn::Cache::builder().backend(backend.expect("a valid address")).policy(policy);
        Self(Arc::new(builder.build()), rows)
    }
}

impl Reader for Hitbox {
    async fn read(&mut self, id: u32) {
        assert_eq!(black_box(with_hitbox(self.1, id).cache(&*self.0).await).id, id);
    }
}

/// `multi-tier-cache` with Redis as its only tier, and with `MessagePack`.
#[derive(Clone)]
pub(crate) struct MultiTier(Arc<CacheManager>, u32);

impl MultiTier {
    pub(crate) async fn new(url: &str, rows: u32) -> Self {
        Self(Arc::new(redis_only(url).await), rows)
    }

    /// Creates a cache with Moka in front of Redis, which notifies other processes of invalidations.
    pub(crate) async fn in_both(url: &str, rows: u32) -> Self {
        Self(Arc::new(two_tiers(url).await), rows)
    }

    fn key(&self, id: u32) -> String {
        format!("tiers:{}:{id}", self.1)
    }
}

impl Reader for MultiTier {
    async fn read(&mut self, id: u32) {
        let (rows, key) = (self.1, self.key(id));
        let value =
            self.0.get_or_compute_typed(&key, CacheStrategy::Custom(TTL), async || Ok(load_items(id, rows)));
        assert_eq!(black_box(value.await.expect("Redis is there")).id, id);
    }
}

impl Invalidator for MultiTier {
    async fn invalidate(&self, id: u32) {
        self.0.invalidate(&self.key(id)).await.expect("Redis is there");
    }
}
