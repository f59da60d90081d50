//! Faults: Redis answers, but does not do everything.

use std::time::Duration;

use redis_harness::{RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    source::row,
    table::Row,
    world::World,
};

/// Fills Redis.
///
/// Invalidations go on, are acknowledged, and hold in the other process.
pub(crate) async fn full() -> Row {
    let redis = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    // Heartbeats cannot register any more.
    eventually_async("it was noticed", async || {
        world.sides.iter().all(|side| !side.cache.health().is_well())
    })
    .await;
    let before = world.sides[0].cache.stats();
    episode.lasts(Duration::from_millis(1500)).await;
    let after = world.sides[0].cache.stats();
    assert!(after.loads > before.loads && after.hits_l1 > before.hits_l1, "{after:?}");
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    episode.end(Limits { all_told: true, ..Limits::default() }).await
}

pub(crate) async fn read_only() -> Row {
    let redis = RedisServer::start();
    let world = World::leasing_briefly(&redis).await;
    let kept = world.source.cold();
    row(&world.sides[0], kept).await;
    world.sides[0].cache.flush().await;
    let episode = Episode::outage(&world).await;
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    episode.lasts(Duration::from_millis(1500)).await;
    world.is_shared(&world.sides[1], kept, "what it has it still gives").await;
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    episode.end(Limits::default()).await
}
