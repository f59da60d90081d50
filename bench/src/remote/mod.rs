//! What the arms with Redis work on.

mod crowd;
mod readers;
mod value;
mod worker;

use std::time::Duration;

use cached_aside::{Cache, Format, RedisTier};

pub(crate) use crowd::crowd;
pub(crate) use readers::{Bare, Cached, Hitbox, MultiTier, Ours, Plain, Reader};
pub(crate) use value::{Codec, Items, items};
pub use worker::work;
pub(crate) use worker::{Source, Worker, version, wall};

/// A cache of ours with Redis behind it. Nothing is given up because the machine is busy, and nothing is evicted.
pub(crate) fn cache(url: &str, format: Format) -> Cache {
    let patience = Duration::from_secs(20);
    let tier = RedisTier::builder(url).operation_timeout(patience).write_timeout(patience).build();
    let tier = tier.expect("a valid address");
    let cache = Cache::builder().namespace("bench").codec(format).l1_max_bytes(4 << 30).tier(tier).build();
    cache.expect("valid settings")
}

/// A connection of redis-rs as it comes, over which many requests are under way at once.
pub(crate) async fn connect(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("a valid address");
    client.get_multiplexed_async_connection().await.expect("Redis is there")
}
