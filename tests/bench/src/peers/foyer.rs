use std::marker::PhantomData;

use foyer::{Cache, CacheBuilder, EvictionConfig, LfuConfig, S3FifoConfig, SieveConfig};

use super::Peer;
use crate::work::{Key, Value};

/// Eviction policy.
pub trait Policy: Send + Sync + 'static {
    /// Name of the whole arm.
    const NAME: &'static str;

    /// Returns the policy with the crate's own settings.
    fn config() -> EvictionConfig;
}

macro_rules! policies {
    ($($(#[$doc:meta])+ $policy:ident, $config:ident, $name:literal;)+) => {
        $(
            $(#[$doc])+
            pub struct $policy;

            impl Policy for $policy {
                const NAME: &'static str = $name;

                fn config() -> EvictionConfig {
                    $config::default().into()
                }
            }
        )+
    };
}

policies! {
    /// Policy W-TinyLFU.
    Lfu, LfuConfig, "foyer lfu";
    /// Policy S3-FIFO: three queues.
    S3Fifo, S3FifoConfig, "foyer s3fifo";
    /// Policy SIEVE: one queue and a hand that moves over it.
    Sieve, SieveConfig, "foyer sieve";
}

/// In-memory cache of `foyer`, with a bound and without a ttl.
pub struct Foyer<K: Key, V: Value, P>(pub Cache<K::Owned, V>, PhantomData<P>);

impl<K: Key, V: Value, P: Policy> Peer<K, V> for Foyer<K, V, P> {
    const NAME: &'static str = P::NAME;

    fn new(capacity: u32) -> Self {
        let builder = CacheBuilder::new(capacity as usize).with_eviction_config(P::config());
        Self(builder.build(), PhantomData)
    }

    fn single_shard(capacity: u32) -> Self {
        let builder = CacheBuilder::new(capacity as usize).with_shards(1).with_eviction_config(P::config());
        Self(builder.build(), PhantomData)
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(&key.borrowed()).map(|entry| entry.value().clone())
    }

    fn insert(&self, key: &K, value: V) {
        self.0.insert(key.owned(), value);
    }

    fn remove(&self, key: &K) {
        self.0.remove(&key.borrowed());
    }
}

/// In-memory cache of `foyer` with its fastest policy and a faster hasher.
pub struct FoyerTuned<K: Key, V: Value>(Cache<K::Owned, V, foldhash::quality::RandomState>);

impl<K: Key, V: Value> Peer<K, V> for FoyerTuned<K, V> {
    const NAME: &'static str = "foyer s3fifo, foldhash";

    fn new(capacity: u32) -> Self {
        let builder = CacheBuilder::new(capacity as usize).with_eviction_config(S3Fifo::config());
        Self(builder.with_hash_builder(foldhash::quality::RandomState::default()).build())
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(&key.borrowed()).map(|entry| entry.value().clone())
    }

    fn insert(&self, key: &K, value: V) {
        self.0.insert(key.owned(), value);
    }

    fn remove(&self, key: &K) {
        self.0.remove(&key.borrowed());
    }
}
