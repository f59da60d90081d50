use std::{marker::PhantomData, sync::Arc};

use multi_tier_cache::{
    CacheManager, CacheSerializer, CacheStrategy, CacheTier, L2CacheBackend, MokaCache, MokaCacheConfig,
    QuickCacheBackend, serialization::MsgPackSerializer,
};

use super::Peer;
use crate::work::{Key, TTL, Value, now};

/// Store of the encoded values.
pub trait Backend: Send + Sync + 'static {
    /// Name of the whole arm.
    const NAME: &'static str;

    /// Creates a store for `capacity` entries.
    fn memory(capacity: u32) -> Arc<dyn L2CacheBackend>;
}

/// Default store of `multi-tier-cache`.
pub struct ByMoka;

impl Backend for ByMoka {
    const NAME: &'static str = "multi-tier-cache";

    fn memory(capacity: u32) -> Arc<dyn L2CacheBackend> {
        let config = MokaCacheConfig { max_capacity: capacity.into(), time_to_live: TTL, time_to_idle: TTL };
        Arc::new(MokaCache::new(config).expect("a valid configuration"))
    }
}

/// Store that the documentation of `multi-tier-cache` recommends if only speed matters.
pub struct ByQuick;

impl Backend for ByQuick {
    const NAME: &'static str = "multi-tier-cache, quick";

    fn memory(capacity: u32) -> Arc<dyn L2CacheBackend> {
        Arc::new(QuickCacheBackend::new(capacity.into()).expect("a valid capacity"))
    }
}

/// Cache of `multi-tier-cache` with one tier in memory.
///
/// Keys are texts and values are bytes, so a hit formats its key and decodes its value.
pub struct MultiTier<B = ByMoka>(pub CacheManager, PhantomData<B>);

impl<K: Key, V: Value, B: Backend> Peer<K, V> for MultiTier<B> {
    const NAME: &'static str = B::NAME;

    fn new(capacity: u32) -> Self {
        // These arguments are those of `TierConfig::as_l1`.
        let tier = CacheTier::new(B::memory(capacity), 1, false, 1, 1.0);
        let mut manager = CacheManager::new_with_tiers(vec![tier], None).expect("one tier is in order");
        manager.set_serializer(serializer());
        Self(manager, PhantomData)
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        now(self.0.get_typed(&key.formatted())).expect("memory does not fail")
    }

    fn insert(&self, key: &K, value: V) {
        let bytes = serializer().serialize(&value).expect("it can be encoded");
        let strategy = CacheStrategy::Custom(TTL);
        now(self.0.set_with_strategy(&key.formatted(), bytes, strategy)).expect("memory does not fail");
    }

    fn remove(&self, key: &K) {
        now(self.0.invalidate(&key.formatted())).expect("memory does not fail");
    }
}

/// Returns a binary codec; the default is JSON.
fn serializer() -> CacheSerializer {
    CacheSerializer::MsgPack(MsgPackSerializer)
}
