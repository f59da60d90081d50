//! Faults: Redis stands still. Its connections are open, but it answers nothing.

use std::time::Duration;

use redis_harness::RedisServer;

use crate::{
    episode::{Episode, Limits},
    table::TableRow,
    tally::BUDGET,
    world::World,
};

pub(crate) async fn before_connecting() -> TableRow {
    let redis = RedisServer::start();
    redis.freeze();
    let url = redis.url();
    let world = World::new([&url, &url]);
    let episode = Episode::outage_from_start(&world);
    episode.hold_for(Duration::from_millis(1500)).await;
    redis.thaw();
    episode.end(Limits::default()).await
}

/// Freezes Redis after the caches have connected.
///
/// This lasts long enough for the connection to be given up, and for attempts at another one.
pub(crate) async fn after_connecting() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::outage(&world).await;
    redis.freeze();
    episode.hold_for(Duration::from_secs(3)).await;
    world.wait_until_unreachable().await;
    redis.thaw();
    let row = episode.end(Limits::default()).await;
    let one_percent = row.tally.calls / 100;
    assert!(row.tally.delayed <= one_percent, "{:#?}", row.tally);
    assert!(row.tally.p99 < BUDGET, "{:#?}", row.tally);
    row
}

/// Freezes Redis while no call waits for another's load.
///
/// A single read then waits for its budget, and not until the process notices that Redis hangs.
pub(crate) async fn no_call_waits_for_another() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::without_writes(&world).await;
    redis.freeze();
    episode.hold_for(Duration::from_secs(1)).await;
    redis.thaw();
    // The budget, and room for a busy machine.
    episode.end(Limits { longest: 5 * BUDGET, ..Limits::default() }).await
}
