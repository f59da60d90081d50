use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

use super::Peer;
use crate::work::{Key, Value};

/// Cache of `quick_cache`, with a bound and without a ttl.
pub struct Quick<K: Key, V>(pub Cache<K::Owned, V>);

impl<K: Key, V: Value> Peer<K, V> for Quick<K, V> {
    const NAME: &'static str = "quick_cache";

    fn new(capacity: u32) -> Self {
        Self(Cache::new(capacity as usize))
    }

    fn single_shard(capacity: u32) -> Self {
        let mut options = OptionsBuilder::new();
        options.shards(1).estimated_items_capacity(capacity as usize).weight_capacity(capacity.into());
        let options = options.build().expect("all that is needed is set");
        let (weighter, hasher, lifecycle) =
            (UnitWeighter, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self(Cache::with_options(options, weighter, hasher, lifecycle))
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(&key.borrowed())
    }

    fn insert(&self, key: &K, value: V) {
        self.0.insert(key.owned(), value);
    }

    fn remove(&self, key: &K) {
        self.0.remove(&key.borrowed());
    }
}
