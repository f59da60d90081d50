//! Faults: Redis is not there.

use std::time::Duration;

use cached_aside::TierState;
use redis_harness::{RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    source::Side,
    table::Row,
    world::World,
};

/// Limits for a server that refuses connections, for which no call waits.
const NOBODY_PAYS: Limits = Limits {
    // Calls that were answered late because the machine is busy.
    paid: 8,
    longest: Duration::from_secs(1),
    normal: Duration::from_secs(3),
    all_told: false,
};

pub(crate) async fn refused_at_start() -> Row {
    let mut redis = RedisServer::start();
    redis.stop();
    let url = redis.url();
    let world = World::on([&url, &url]);
    let episode = Episode::from_the_start(&world);
    episode.lasts(Duration::from_millis(1500)).await;
    world.notices_that_it_is_gone().await;
    redis.restart();
    episode.end(NOBODY_PAYS).await
}

fn is_loading(redis: &RedisServer) -> bool {
    redis.cli(&["INFO", "persistence"]).contains("\nloading:1")
}

pub(crate) async fn killed() -> Row {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let world = World::leasing_briefly(&redis).await;
    let episode = Episode::outage(&world).await;
    redis.kill();
    episode.lasts(Duration::from_millis(1500)).await;
    world.notices_that_it_is_gone().await;
    redis.restart();
    eventually_async("it has loaded", async || !is_loading(&redis)).await;
    let before: u64 = redis.cli(&["DBSIZE"]).parse().unwrap();
    assert!(before > 20, "the data is there again: {before}");
    // The data contains leases of loads that could not store. A few callers wait until they end, or for a
    // write.
    episode.end(Limits { longest: Limits::default().longest, ..NOBODY_PAYS }).await
}

pub(crate) async fn loading() -> Row {
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
    let degraded = |side: &Side| side.cache.health().tier.is_some_and(|tier| tier.state != TierState::Up);
    episode.calls(500).await;
    eventually_async("it is noticed", async || world.sides.iter().all(degraded)).await;
    assert!(is_loading(&redis));
    redis.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
    eventually_async("it has loaded", async || !is_loading(&redis)).await;
    episode.end(NOBODY_PAYS).await
}
