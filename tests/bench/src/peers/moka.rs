use moka::{future, policy::EvictionPolicy, sync};

use super::Peer;
use crate::work::{Key, TTL, Value, now};

/// Synchronous cache of Moka with a bound and a ttl.
pub struct MokaSync<K: Key, V>(sync::Cache<K::Owned, V>);

impl<K: Key, V: Value> Peer<K, V> for MokaSync<K, V> {
    const NAME: &'static str = "moka sync";

    fn new(capacity: u32) -> Self {
        Self(sync::Cache::builder().max_capacity(capacity.into()).time_to_live(TTL).build())
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(&key.borrowed())
    }

    fn insert(&self, key: &K, value: V) {
        self.0.insert(key.owned(), value);
    }

    fn remove(&self, key: &K) {
        self.0.invalidate(&key.borrowed());
    }
}

/// Synchronous cache of Moka in its fastest form.
///
/// It has no ttl, the simpler policy and a faster hasher.
pub struct MokaTuned<K: Key, V>(sync::Cache<K::Owned, V, foldhash::quality::RandomState>);

impl<K: Key, V: Value> Peer<K, V> for MokaTuned<K, V> {
    const NAME: &'static str = "moka sync, lru, foldhash";

    fn new(capacity: u32) -> Self {
        let builder =
            sync::Cache::builder().max_capacity(capacity.into()).eviction_policy(EvictionPolicy::lru());
        Self(builder.build_with_hasher(foldhash::quality::RandomState::default()))
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(&key.borrowed())
    }

    fn insert(&self, key: &K, value: V) {
        self.0.insert(key.owned(), value);
    }

    fn remove(&self, key: &K) {
        self.0.invalidate(&key.borrowed());
    }
}

/// Asynchronous cache of Moka with a bound and a ttl.
pub struct MokaFuture<K: Key, V>(pub future::Cache<K::Owned, V>);

impl<K: Key, V: Value> Peer<K, V> for MokaFuture<K, V> {
    const NAME: &'static str = "moka future";

    fn new(capacity: u32) -> Self {
        Self(future::Cache::builder().max_capacity(capacity.into()).time_to_live(TTL).build())
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        now(self.0.get(&key.borrowed()))
    }

    fn insert(&self, key: &K, value: V) {
        now(self.0.insert(key.owned(), value));
    }

    fn remove(&self, key: &K) {
        now(self.0.invalidate(&key.borrowed()));
    }
}

/// Defines a cache of Moka with a bound and without a ttl.
///
/// It runs its pending tasks after each insertion, which corresponds to a realistic pace of requests.
macro_rules! with_pending_tasks_run {
    ($($(#[$doc:meta])+ $peer:ident, $name:literal, $policy:ident;)+) => {
        $(
            $(#[$doc])+
            pub struct $peer<K: Key, V>(sync::Cache<K::Owned, V>);

            impl<K: Key, V: Value> Peer<K, V> for $peer<K, V> {
                const NAME: &'static str = $name;

                fn new(capacity: u32) -> Self {
                    let policy = EvictionPolicy::$policy();
                    Self(sync::Cache::builder().max_capacity(capacity.into()).eviction_policy(policy).build())
                }

                #[inline]
                fn get(&self, key: &K) -> Option<V> {
                    self.0.get(&key.borrowed())
                }

                fn insert(&self, key: &K, value: V) {
                    self.0.insert(key.owned(), value);
                    self.0.run_pending_tasks();
                }

                fn remove(&self, key: &K) {
                    self.0.invalidate(&key.borrowed());
                }
            }
        )+
    };
}

with_pending_tasks_run! {
    /// Moka with its default policy.
    MokaTinyLfu, "moka tiny_lfu", tiny_lfu;
    /// Moka with its other policy.
    MokaLru, "moka lru", lru;
}
