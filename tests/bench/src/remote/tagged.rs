//! Ways to invalidate all entries of a group.

use std::sync::Arc;

use cached_aside::{Cache, Format, cached};
use multi_tier_cache::CacheManager;
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tokio::task::JoinSet;

use super::{cache, connect, tiers::two_tiers};
use crate::work::{TTL, load, loads};

/// Number of loads or writes in flight at the same time, which makes filling quick.
const CONCURRENCY: u32 = 200;

/// A way to invalidate groups. A group is named by the number of its entries.
pub(crate) trait Tagged: Clone + Send + Sync + 'static {
    /// Stores all entries of the group, and waits until they are stored.
    fn fill(&self, size: u32) -> impl Future<Output = ()> + Send;
    fn invalidate(&self, size: u32) -> impl Future<Output = ()> + Send;
    /// Panics if the last entry of the group still exists.
    fn check_gone(&self, size: u32) -> impl Future<Output = ()> + Send;
}

/// Tags of `cached-aside`.
#[derive(Clone)]
pub(crate) struct OurTags(Cache);

#[cached("entry:{size}:{id}", ttl = "1h", tags = ["size:{size}"], cache = cache, skip(cache))]
async fn entry(cache: &Cache, size: u32, id: u32) -> u64 {
    load(u64::from(size) + u64::from(id))
}

impl OurTags {
    pub(crate) fn new(url: &str) -> Self {
        Self(cache(url, Format::Json))
    }
}

impl Tagged for OurTags {
    async fn fill(&self, size: u32) {
        for start in (0..size).step_by(CONCURRENCY as usize) {
            let mut loads = JoinSet::new();
            for id in start..size.min(start + CONCURRENCY) {
                let cache = self.0.clone();
                loads.spawn(async move { entry(&cache, size, id).await });
            }
            loads.join_all().await;
        }
        self.0.flush().await;
    }

    async fn invalidate(&self, size: u32) {
        self.0.invalidate_tag("size:{}", &[&size]).await.expect("Redis is there");
    }

    async fn check_gone(&self, size: u32) {
        let before = loads();
        entry(&self.0, size, size - 1).await;
        assert_eq!(loads(), before + 1, "it is gone");
    }
}

/// A Redis set of the keys of each group, the common solution by hand.
#[derive(Clone)]
pub(crate) struct SetOfKeys(MultiplexedConnection);

impl SetOfKeys {
    pub(crate) async fn new(url: &str) -> Self {
        Self(connect(url).await)
    }
}

fn name(size: u32, id: u32) -> String {
    format!("entry:{size}:{id}")
}

async fn write(redis: &MultiplexedConnection, size: u32, set: Option<&str>) {
    let ids: Vec<_> = (0..size).collect();
    for ids in ids.chunks(CONCURRENCY as usize) {
        let mut pipe = redis::pipe();
        for &id in ids {
            pipe.set_ex(name(size, id), id, TTL.as_secs()).ignore();
            if let Some(set) = set {
                pipe.sadd(set, name(size, id)).ignore();
            }
        }
        pipe.exec_async(&mut redis.clone()).await.expect("Redis is there");
    }
}

async fn check_gone(redis: &MultiplexedConnection, size: u32) {
    let is_there: bool = redis.clone().exists(name(size, size - 1)).await.expect("Redis is there");
    assert!(!is_there, "it is gone");
}

impl Tagged for SetOfKeys {
    async fn fill(&self, size: u32) {
        write(&self.0, size, Some(&format!("size:{size}"))).await;
    }

    async fn invalidate(&self, size: u32) {
        let (mut redis, set) = (self.0.clone(), format!("size:{size}"));
        let keys: Vec<String> = redis.smembers(&set).await.expect("Redis is there");
        assert_eq!(keys.len(), size as usize);
        let mut pipe = redis::pipe();
        for keys in keys.chunks(1_000) {
            pipe.unlink(keys).ignore();
        }
        pipe.unlink(set).ignore();
        pipe.exec_async(&mut redis).await.expect("Redis is there");
    }

    async fn check_gone(&self, size: u32) {
        check_gone(&self.0, size).await;
    }
}

/// Groups of `multi-tier-cache`, which are patterns of keys.
#[derive(Clone)]
pub(crate) struct Patterns(Arc<CacheManager>, MultiplexedConnection);

impl Patterns {
    pub(crate) async fn new(url: &str) -> Self {
        Self(Arc::new(two_tiers(url).await), connect(url).await)
    }
}

impl Tagged for Patterns {
    async fn fill(&self, size: u32) {
        write(&self.1, size, None).await;
    }

    async fn invalidate(&self, size: u32) {
        self.0.invalidate_pattern(&format!("entry:{size}:*")).await.expect("Redis is there");
    }

    async fn check_gone(&self, size: u32) {
        check_gone(&self.1, size).await;
    }
}
