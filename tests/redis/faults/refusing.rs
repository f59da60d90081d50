//! Faults: Redis answers, but does not do everything.

use std::time::Duration;

use redis_harness::{RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    source::row,
    table::TableRow,
    world::World,
};

/// Fills Redis.
///
/// Invalidations go on, are acknowledged, and hold in the other process.
pub(crate) async fn full() -> TableRow {
    let redis = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    // Heartbeats cannot register any more.
    eventually_async("it was noticed", async || {
        world.processes.iter().all(|process| !process.cache.health().is_healthy())
    })
    .await;
    let before = world.processes[0].cache.stats();
    episode.hold_for(Duration::from_millis(1500)).await;
    let after = world.processes[0].cache.stats();
    assert!(after.loads > before.loads && after.hits_l1 > before.hits_l1, "{after:?}");
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}

pub(crate) async fn read_only() -> TableRow {
    let redis = RedisServer::start();
    let world = World::with_short_lease(&redis).await;
    let id = world.source.unused_key();
    row(&world.processes[0], id).await;
    world.processes[0].cache.flush().await;
    let episode = Episode::outage(&world).await;
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    episode.hold_for(Duration::from_millis(1500)).await;
    world.wait_until_shared(&world.processes[1], id, "stored values are still served").await;
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    episode.end(Limits::default()).await
}
