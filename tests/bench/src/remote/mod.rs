//! Caches and clients for the groups with Redis.

mod bursts;
mod crowd;
mod peers;
mod readers;
mod tagged;
mod tiers;
mod value;
mod versions;
mod worker;

use std::time::Duration;

use cached_aside::{Cache, Format, RedisTier};

pub(crate) use bursts::Bursts;
pub(crate) use crowd::{read_concurrently, runtime_for};
pub(crate) use peers::{Cached, Hitbox, MultiTier};
pub(crate) use readers::{Bare, Invalidator, Ours, OursNoStore, Plain, PlainInMoka, Reader};
pub(crate) use tagged::{OurTags, Patterns, SetOfKeys, Tagged};
pub(crate) use value::{Codec, Items, items};
pub(crate) use versions::Versions;
pub use worker::work;
pub(crate) use worker::{Worker, wall_nanos};

/// Time limit of operations and waits. It is long, because the machine is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Creates a `cached-aside` cache with Redis. Nothing is evicted.
pub(crate) fn cache(url: &str, format: Format) -> Cache {
    let tier = RedisTier::builder(url).operation_timeout(PATIENCE).write_timeout(PATIENCE).build();
    let tier = tier.expect("a valid address");
    let cache = Cache::builder().namespace("bench").codec(format).l1_max_bytes(4 << 30).tier(tier).build();
    cache.expect("valid settings")
}

/// Opens a connection of redis-rs with default settings. Many requests are in flight on it at once.
pub(crate) async fn connect(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("a valid address");
    client.get_multiplexed_async_connection().await.expect("Redis is there")
}
