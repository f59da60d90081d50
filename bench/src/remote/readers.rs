//! Ways to read a value that lies in Redis.

use std::{hint::black_box, sync::Arc};

use ::cached::{AsyncRedisCache, ConcurrentCachedAsync};
use cached_aside::{Cache, CacheControl, cached};
use hitbox::{DisabledOffload, concurrency::NoopConcurrencyManager, policy::PolicyConfig};
use hitbox_fn::cached as hitbox_cached;
use hitbox_redis::{ConnectionMode, RedisBackend};
use multi_tier_cache::{CacheManager, CacheStrategy};
use redis::{AsyncCommands, aio::MultiplexedConnection};

use super::{Codec, Items, items, tiers::redis_only, tiers::two_tiers};
use crate::work::{TTL, load};

/// One way. Each key is read once in a turn.
pub(crate) trait Reader: Clone + Send + 'static {
    fn read(&mut self, id: u32) -> impl Future<Output = ()> + Send;
}

/// One that can drop a key.
pub(crate) trait Invalidator: Reader {
    fn invalidate(&self, id: u32) -> impl Future<Output = ()> + Send;

    /// Until nothing is under way.
    fn settle(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What the function behind each cache does; it is counted.
fn loaded(id: u32, rows: u32) -> Items {
    let _: u64 = load(id.into());
    items(id, rows)
}

/// The attribute with both tiers.
#[derive(Clone)]
pub(crate) struct Ours {
    pub(crate) cache: Cache,
    pub(crate) rows: u32,
}

#[cached("items:{rows}:{id}", ttl = "1h", cache = cache, skip(cache))]
async fn ours(cache: &Cache, rows: u32, id: u32) -> Items {
    loaded(id, rows)
}

impl Invalidator for Ours {
    async fn invalidate(&self, id: u32) {
        ours::invalidate(&self.cache, self.rows, id).await.expect("Redis is there");
    }

    async fn settle(&self) {
        self.cache.flush().await;
    }
}

impl Reader for Ours {
    async fn read(&mut self, id: u32) {
        assert_eq!(black_box(ours(&self.cache, self.rows, id).await).id, id);
    }
}

/// The same without a tier in the process: it keeps nothing there, and joins nobody.
#[derive(Clone)]
pub(crate) struct OursUnkept(pub(crate) Ours);

impl Reader for OursUnkept {
    async fn read(&mut self, id: u32) {
        let reply = ours::with(CacheControl::no_store(), &self.0.cache, self.0.rows, id).await;
        assert_eq!(black_box(reply.value).id, id);
    }
}

/// A `GET` of redis-rs. The bytes are as long as those of the value.
#[derive(Clone)]
pub(crate) struct Bare(pub(crate) MultiplexedConnection, pub(crate) Codec, pub(crate) u32);

fn name(codec: Codec, rows: u32, id: u32) -> String {
    format!("bare:{codec:?}:{rows}:{id}")
}

impl Bare {
    pub(crate) async fn fill(&mut self, keys: std::ops::Range<u32>) {
        let mut pipe = redis::pipe();
        for id in keys {
            let (key, value) = (name(self.1, self.2, id), self.1.encode(&items(id, self.2)));
            pipe.set_ex(key, value, TTL.as_secs()).ignore();
        }
        pipe.exec_async(&mut self.0).await.expect("Redis is there");
    }

    pub(crate) async fn get(&mut self, id: u32) -> Option<Vec<u8>> {
        self.0.get(name(self.1, self.2, id)).await.expect("Redis is there")
    }
}

impl Reader for Bare {
    async fn read(&mut self, id: u32) {
        assert!(black_box(self.get(id).await).is_some());
    }
}

/// The least that a cache can do by hand: a `GET` and a decoder; and on a miss the function, an encoder and a `SET`.
#[derive(Clone)]
pub(crate) struct Plain(pub(crate) Bare);

impl Reader for Plain {
    async fn read(&mut self, id: u32) {
        let Bare(_, codec, rows) = self.0;
        let value = if let Some(bytes) = self.0.get(id).await {
            codec.decode(&bytes)
        } else {
            let value = loaded(id, rows);
            let (key, bytes) = (name(codec, rows, id), codec.encode(&value));
            let _: () = self.0.0.set_ex(key, bytes, TTL.as_secs()).await.expect("Redis is there");
            value
        };
        assert_eq!(black_box(value).id, id);
    }
}

impl Invalidator for Plain {
    async fn invalidate(&self, id: u32) {
        let Bare(redis, codec, rows) = &self.0;
        let count: u32 = redis.clone().del(name(*codec, *rows, id)).await.expect("Redis is there");
        assert_eq!(count, 1, "it was there");
    }
}

/// `cached` with its store in Redis, asked as its attribute would: no tier in the process, `MessagePack`.
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
            let value = loaded(id, self.1);
            self.0.async_cache_set(id.into(), value.clone()).await.expect("Redis is there");
            value
        };
        assert_eq!(black_box(value).id, id);
    }
}

/// `hitbox` with its backend in Redis alone: no tier in the process, bincode, without protection against stampedes.
#[derive(Clone)]
pub(crate) struct Hitbox(Arc<HitboxCache>, u32);

type HitboxCache = hitbox_fn::Cache<RedisBackend, NoopConcurrencyManager, DisabledOffload>;

#[hitbox_cached(prefix = "items")]
async fn with_hitbox(rows: u32, id: u32) -> Items {
    loaded(id, rows)
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

/// `multi-tier-cache` with Redis as its only tier, and `MessagePack`.
#[derive(Clone)]
pub(crate) struct MultiTier(Arc<CacheManager>, u32);

impl MultiTier {
    pub(crate) async fn new(url: &str, rows: u32) -> Self {
        Self(Arc::new(redis_only(url).await), rows)
    }

    /// With Moka in front of it, and word to other processes.
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
            self.0.get_or_compute_typed(&key, CacheStrategy::Custom(TTL), async || Ok(loaded(id, rows)));
        assert_eq!(black_box(value.await.expect("Redis is there")).id, id);
    }
}

impl Invalidator for MultiTier {
    async fn invalidate(&self, id: u32) {
        self.0.invalidate(&self.key(id)).await.expect("Redis is there");
    }
}
