use std::sync::Arc;

use multi_tier_cache::{
    CacheManager, CacheSerializer, CacheStrategy, CacheTier, MokaCache, MokaCacheConfig,
    serialization::MsgPackSerializer,
};

use super::Peer;
use crate::work::{Key, TTL, Value, now};

/// One tier in memory. Keys are texts and values are bytes, so a hit formats its key and decodes its value.
pub struct MultiTier(pub CacheManager);

impl<K: Key, V: Value> Peer<K, V> for MultiTier {
    const NAME: &'static str = "multi-tier-cache";

    fn new(capacity: u32) -> Self {
        let config = MokaCacheConfig { max_capacity: capacity.into(), time_to_live: TTL, time_to_idle: TTL };
        let memory = Arc::new(MokaCache::new(config).expect("a valid configuration"));
        // As `TierConfig::as_l1` has it.
        let tier = CacheTier::new(memory, 1, false, 1, 1.0);
        let mut manager = CacheManager::new_with_tiers(vec![tier], None).expect("one tier is in order");
        manager.set_serializer(serializer());
        Self(manager)
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

/// A binary codec; the default is JSON.
fn serializer() -> CacheSerializer {
    CacheSerializer::MsgPack(MsgPackSerializer)
}
