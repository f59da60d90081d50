use tinyufo::TinyUfo;

use super::Peer;
use crate::work::{Key, Value};

/// `TinyUFO` of Pingora, with a bound and without a ttl.
///
/// A lookup needs an owned key. The cache keeps only the hash of it, which stands for the key.
pub struct Ufo<K: Key, V: Value>(TinyUfo<K::Owned, V>);

impl<K: Key, V: Value> Peer<K, V> for Ufo<K, V> {
    const NAME: &'static str = "tinyufo";

    fn new(capacity: u32) -> Self {
        Self(TinyUfo::new(capacity as usize, capacity as usize))
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(&key.owned())
    }

    fn insert(&self, key: &K, value: V) {
        self.0.put(key.owned(), value, 1);
    }

    fn remove(&self, key: &K) {
        self.0.remove(&key.owned());
    }
}
