//! Caches of `cached-aside` for many entries: with a shared tier, and with a bound.

use std::ops::Range;

use cached_aside::{Cache, Format, cached};
use tokio::runtime::{Builder, Runtime};

use crate::{
    remote,
    work::{load, now},
};

#[cached("number:{id}", ttl = "1h", cache = cache, skip(cache))]
async fn number(cache: &Cache, id: u64) -> u64 {
    load(id)
}

#[cached("local:{id}", ttl = "1h", local, cache = cache, skip(cache))]
fn local_number(cache: &Cache, id: u64) -> u64 {
    load(id)
}

/// Number of calls at once. One after the other would take minutes for a million round trips.
const AT_ONCE: u64 = 256;

/// Cache in front of Redis.
pub struct SharedTier {
    // The cache is dropped first, so that it does not lose its connection.
    cache: Cache,
    runtime: Runtime,
}

impl SharedTier {
    /// Connects to a server.
    pub fn new(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be started");
        let cache = runtime.block_on(async {
            let cache = remote::cache(url, Format::Json);
            cache.connected().await.expect("Redis is there");
            cache
        });
        Self { cache, runtime }
    }

    /// Calls the function with each key, and waits until Redis has the values.
    pub fn call(&self, keys: Range<u64>) {
        self.runtime.block_on(async {
            for first in keys.clone().step_by(AT_ONCE as usize) {
                let calls = (first..keys.end.min(first + AT_ONCE)).map(|key| {
                    let cache = self.cache.clone();
                    tokio::spawn(
                        async move { assert_eq!(number(&cache, key).await, key, "the value of its key") },
                    )
                });
                for call in calls.collect::<Vec<_>>() {
                    call.await.expect("no call panics");
                }
            }
            self.cache.flush().await;
        });
    }
}

/// The functions whose entries are measured in a full cache, by the names of the arms.
pub static BOUNDED: [(&str, fn(&Cache, u64) -> u64); 2] = [
    ("ours, async", |cache, key| now(number(cache, key))),
    ("ours, sync local", |cache, key| local_number(cache, key)),
];

/// Creates a cache that is full with `entries` entries of a function of [`BOUNDED`].
pub fn bounded(call: fn(&Cache, u64) -> u64, entries: u64) -> Cache {
    let cache = |bytes| Cache::builder().l1_max_bytes(bytes).build().expect("valid settings");
    let unbounded = cache(1 << 40);
    (0..entries).for_each(|key| _ = call(&unbounded, key));
    let stats = unbounded.stats();
    assert_eq!(stats.l1_entries, entries, "all are kept");
    cache(stats.l1_bytes)
}
