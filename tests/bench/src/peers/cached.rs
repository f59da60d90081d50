use cached::{ConcurrentCached, ShardedLruCache, ShardedLruTtlCache};

use super::Peer;
use crate::work::TTL;

/// Store behind `#[concurrent_cached]` of `cached` with a bound, in one shard.
pub struct CachedLru(ShardedLruCache<u64, u64>);

impl Peer<u64, u64> for CachedLru {
    const NAME: &'static str = "cached lru";

    fn new(capacity: u32) -> Self {
        let store = ShardedLruCache::builder().max_size(capacity as usize).shards(1).build();
        Self(store.expect("a bound is set"))
    }

    #[inline]
    fn get(&self, key: &u64) -> Option<u64> {
        self.0.cache_get(key).expect("memory does not fail")
    }

    fn insert(&self, key: &u64, value: u64) {
        self.0.cache_set(*key, value).expect("memory does not fail");
    }

    fn remove(&self, key: &u64) {
        self.0.cache_remove(key).expect("memory does not fail");
    }
}

/// Store behind `#[concurrent_cached]` of `cached` with a bound and a ttl.
///
/// It serves for bounds that are not literals.
pub struct CachedLruTtl(ShardedLruTtlCache<u64, u64>);

impl Peer<u64, u64> for CachedLruTtl {
    const NAME: &'static str = "cached, concurrent, bounded, ttl";

    fn new(capacity: u32) -> Self {
        let store = ShardedLruTtlCache::builder().max_size(capacity as usize).ttl(TTL).build();
        Self(store.expect("a bound and a ttl are set"))
    }

    #[inline]
    fn get(&self, key: &u64) -> Option<u64> {
        self.0.cache_get(key).expect("memory does not fail")
    }

    fn insert(&self, key: &u64, value: u64) {
        self.0.cache_set(*key, value).expect("memory does not fail");
    }

    fn remove(&self, key: &u64) {
        self.0.cache_remove(key).expect("memory does not fail");
    }
}
