//! Faults: Redis answers slowly.

use std::time::Duration;

use redis_harness::{Mode, RedisServer};

use crate::{
    episode::{Episode, Limits},
    table::TableRow,
    world::World,
};

/// Injects no fault: the cost of calls on this machine.
pub(crate) async fn no_fault() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    episode.calls(1000).await;
    episode.end(Limits { delayed: 8, all_delivered: true, ..Limits::default() }).await
}

pub(crate) async fn jittery() -> TableRow {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let episode = Episode::outage(&world).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::Jitter(Duration::from_millis(20), Duration::from_millis(120)));
    }
    episode.hold_for(Duration::from_secs(2)).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::Pass);
    }
    // A probe that happens to be quick closes the breaker, and four calls have to pay to open it again.
    episode.end(Limits { delayed: 80, ..Limits::default() }).await
}
