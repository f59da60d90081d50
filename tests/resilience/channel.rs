//! The connection is there, but does not tell what changes.

use std::time::Duration;

use cached_aside::{Health, TierState};
use redis_harness::{Mode, RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    table::Row,
    world::World,
};

/// Answers come, and messages do not. That is noticed, and until then the bound has to hold.
pub(crate) async fn pushes_dropped() -> Row {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let episode = Episode::disturbance(&world).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::DropPushes);
    }
    eventually_async("it was noticed", async || {
        let is_degraded = |health: Health| health.tier.unwrap().state == TierState::Degraded;
        world.sides.iter().all(|side| is_degraded(side.cache.health()))
    })
    .await;
    episode.lasts(Duration::from_millis(2500)).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::Pass);
    }
    // It is tried again every three seconds whether messages arrive.
    episode.end(Limits { normal: Duration::from_secs(6), ..Limits::default() }).await
}
