//! Readers of a value in Redis: `cached-aside`, and code by hand.

use std::{hint::black_box, sync::Arc};

use cached_aside::{Cache, CacheControl, cached};
use moka::sync;
use redis::{AsyncCommands, aio::MultiplexedConnection};

use super::{Codec, Items, items};
use crate::work::{TTL, load};

/// A way to read a value. Each key is read once in a turn.
pub(crate) trait Reader: Clone + Send + 'static {
    fn read(&mut self, id: u32) -> impl Future<Output = ()> + Send;
}

/// A reader that can invalidate a key.
pub(crate) trait Invalidator: Reader {
    fn invalidate(&self, id: u32) -> impl Future<Output = ()> + Send;

    /// Waits until no background work is left.
    fn settle(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Body of the function behind each cache: counts a load and returns the value.
pub(super) fn load_items(id: u32, rows: u32) -> Items {
    let _: u64 = load(id.into());
    items(id, rows)
}

/// `cached-aside` with both tiers.
#[derive(Clone)]
pub(crate) struct Ours {
    pub(crate) cache: Cache,
    pub(crate) rows: u32,
}

#[cached("items:{rows}:{id}", ttl = "1h", cache = cache, skip(cache))]
async fn ours(cache: &Cache, rows: u32, id: u32) -> Items {
    load_items(id, rows)
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

/// `cached-aside` without L1: a call stores nothing in the process, and joins no other call.
#[derive(Clone)]
pub(crate) struct OursNoStore(pub(crate) Ours);

impl Reader for OursNoStore {
    async fn read(&mut self, id: u32) {
        let reply = ours::with(CacheControl::no_store(), &self.0.cache, self.0.rows, id).await;
        assert_eq!(black_box(reply.value).id, id);
    }
}

/// A `GET` of redis-rs. The stored bytes are an encoded value, which is not decoded.
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

/// The least work of a cache by hand: a `GET` and a decoder.
///
/// A miss adds the function, an encoder and a `SET`.
#[derive(Clone)]
pub(crate) struct Plain(pub(crate) Bare);

impl Reader for Plain {
    async fn read(&mut self, id: u32) {
        let Bare(_, codec, rows) = self.0;
        let value = if let Some(bytes) = self.0.get(id).await {
            codec.decode(&bytes)
        } else {
            let value = load_items(id, rows);
            let (key, bytes) = (name(codec, rows, id), codec.encode(&value));
            let _: () = self.0.0.set_ex(key, bytes, TTL.as_secs()).await.expect("Redis is there");
            value
        };
        assert_eq!(black_box(value).id, id);
    }
}

/// Two tiers by hand: Moka, with the decoded values, in front of Redis.
#[derive(Clone)]
pub(crate) struct PlainInMoka {
    bare: Bare,
    memory: sync::Cache<String, Arc<Items>>,
}

impl PlainInMoka {
    /// Creates a reader with an empty Moka cache.
    pub(crate) fn new(bare: Bare, capacity: u32) -> Self {
        let memory = sync::Cache::builder().max_capacity(capacity.into()).time_to_live(TTL).build();
        Self { bare, memory }
    }
}

impl Reader for PlainInMoka {
    async fn read(&mut self, id: u32) {
        let Bare(redis, codec, rows) = &mut self.bare;
        let key = name(*codec, *rows, id);
        let value = if let Some(value) = self.memory.get(&key) {
            value
        } else {
            let bytes: Option<Vec<u8>> = redis.get(&key).await.expect("Redis is there");
            let value = Arc::new(codec.decode(&bytes.expect("it was filled in")));
            self.memory.insert(key, Arc::clone(&value));
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
