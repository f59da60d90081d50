//! Faults: Redis is not there.

use std::time::Duration;

use cached_aside::TierState;
use redis_harness::{RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    source::Process,
    table::TableRow,
    world::World,
};

/// Limits for a server that refuses connections, for which no call waits.
const NO_DELAY: Limits = Limits {
    // Calls that were answered late because the machine is busy.
    delayed: 8,
    longest: Duration::from_secs(1),
    recovery: Duration::from_secs(3),
    all_delivered: false,
};

pub(crate) async fn refused_at_start() -> TableRow {
    let mut redis = RedisServer::start();
    redis.stop();
    let url = redis.url();
    let world = World::new([&url, &url]);
    let episode = Episode::outage_from_start(&world);
    episode.hold_for(Duration::from_millis(1500)).await;
    world.wait_until_unreachable().await;
    redis.restart();
    episode.end(NO_DELAY).await
}

fn is_loading(redis: &RedisServer) -> bool {
    redis.cli(&["INFO", "persistence"]).contains("\nloading:1")
}

pub(crate) async fn killed() -> TableRow {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let world = World::with_short_lease(&redis).await;
    let episode = Episode::outage(&world).await;
    redis.kill();
    episode.hold_for(Duration::from_millis(1500)).await;
    world.wait_until_unreachable().await;
    redis.restart();
    eventually_async("it has loaded", async || !is_loading(&redis)).await;
    let before: u64 = redis.cli(&["DBSIZE"]).parse().unwrap();
    assert!(before > 20, "the data is there again: {before}");
    // The data contains leases of loads that could not store. A few callers wait until they end, or for a
    // write.
    episode.end(Limits { longest: Limits::default().longest, ..NO_DELAY }).await
}

pub(crate) async fn loading() -> TableRow {
    // Each key takes 5 ms to load, until the delay is set to 0. The server answers clients after each
    // kilobyte, which is one key.
    let slow = [
        ["--key-load-delay", "5000"],
        ["--loading-process-events-interval-bytes", "1024"],
        ["--rdbcompression", "no"],
    ];
    let mut redis = RedisServer::start_with(slow.as_flattened());
    let fill = "for i = 1, 8000 do redis.call('SET', 'other:' .. i, string.rep('x', 1024)) end";
    redis.cli(&["EVAL", fill, "0"]);
    let world = World::direct(&redis).await;
    redis.cli(&["SAVE"]);
    let episode = Episode::outage(&world).await;
    redis.restart();
    assert!(is_loading(&redis));
    let degraded =
        |process: &Process| process.cache.health().tier.is_some_and(|tier| tier.state != TierState::Up);
    episode.calls(500).await;
    eventually_async("it is noticed", async || world.processes.iter().all(degraded)).await;
    assert!(is_loading(&redis));
    redis.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
    eventually_async("it has loaded", async || !is_loading(&redis)).await;
    episode.end(NO_DELAY).await
}
