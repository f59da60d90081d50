//! Caches of `multi-tier-cache` with Redis.

use std::sync::Arc;

use multi_tier_cache::{
    CacheManager, CacheSerializer, CacheTier, InvalidationConfig, MokaCache, MokaCacheConfig, RedisCache,
    serialization::MsgPackSerializer,
};

use crate::work::TTL;

/// Creates a cache with Redis as its only tier.
pub(crate) async fn redis_only(url: &str) -> CacheManager {
    // These arguments are those of `TierConfig::as_l1`.
    let tier = CacheTier::new(redis(url).await, 1, false, 1, 1.0);
    binary(CacheManager::new_with_tiers(vec![tier], None).expect("one tier is in order"))
}

/// Creates a cache with Moka in front of Redis, which notifies other processes of invalidations.
pub(crate) async fn two_tiers(url: &str) -> CacheManager {
    let config = MokaCacheConfig { max_capacity: 100_000, time_to_live: TTL, time_to_idle: TTL };
    let memory = Arc::new(MokaCache::new(config).expect("a valid configuration"));
    let invalidation = InvalidationConfig::default();
    let manager = CacheManager::new_with_invalidation(memory, redis(url).await, url, invalidation).await;
    binary(manager.expect("Redis is there"))
}

async fn redis(url: &str) -> Arc<RedisCache> {
    Arc::new(RedisCache::with_url(url).await.expect("Redis is there"))
}

/// Sets the codec to `MessagePack`; the default is JSON.
fn binary(mut manager: CacheManager) -> CacheManager {
    manager.set_serializer(CacheSerializer::MsgPack(MsgPackSerializer));
    manager
}
