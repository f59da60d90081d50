//! The connection is there, but does not tell what changes.

use std::time::{Duration, Instant};

use cached_aside::{Health, TierState};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    source::row,
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
    come_to(&world, TierState::Degraded).await;
    episode.lasts(Duration::from_millis(2500)).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::Pass);
    }
    // It is tried again every three seconds whether messages arrive.
    episode.end(Limits { normal: Duration::from_secs(6), ..Limits::default() }).await
}

/// Another server is behind the same address: it takes `CLIENT TRACKING` and tells nothing under `NOLOOP`. It is used without, and all
/// that is promised holds; each process is connected anew once.
pub(crate) async fn deaf_under_noloop() -> Row {
    deaf(Mode::DeafUnderNoLoop, TierState::Up, Limits::default().normal).await
}

/// It tells nothing of what scripts read, so nothing of what a process itself has stored. That is a server which tells nothing: what
/// was read holds for the bound.
pub(crate) async fn deaf_in_scripts() -> Row {
    // It is tried again every three seconds.
    deaf(Mode::DeafInScripts, TierState::Degraded, Duration::from_secs(6)).await
}

/// Such a server answers all that it is asked, so only a change that it should have told of shows what it is. `state` is the one of the
/// connections that take the place of those which it does not tell. All is answered all the time, so a caller pays nothing but what the
/// machine takes for the way through a proxy, and what counts is which values there are.
async fn deaf(mode: Mode, state: TierState, normal: Duration) -> Row {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let (before, began) = (proxies.each_ref().map(Proxy::connections), Instant::now());
    let episode = Episode::disturbance(&world).await;
    for proxy in &proxies {
        proxy.set_mode(mode);
    }
    let replaced = || proxies.iter().zip(before).all(|(proxy, before)| proxy.connections() > before);
    eventually_async("the silent connections were replaced", async || replaced()).await;
    come_to(&world, state).await;
    confirms(&world).await;
    episode.lasts(Duration::from_millis(2500)).await;
    let after = proxies.each_ref().map(Proxy::connections);
    let is_steady = after == before.map(|connections| connections + 1);
    assert!(
        is_steady || world.pulse.was_slow(began),
        "what replaced them was replaced: {before:?}, {after:?}"
    );
    for proxy in &proxies {
        proxy.set_mode(Mode::Pass);
    }
    episode.end(Limits { paid: usize::MAX, normal, ..Limits::default() }).await
}

async fn come_to(world: &World, state: TierState) {
    eventually_async("it was noticed what the server tells", async || {
        let is_there = |health: Health| health.tier.unwrap().state == state;
        world.sides.iter().all(|side| is_there(side.cache.health()))
    })
    .await;
}

/// What was confirmed is served by nobody, also where nobody is told of it.
async fn confirms(world: &World) {
    let [one, other] = &world.sides;
    for (writer, reader) in [(one, other), (other, one)] {
        let id = world.source.cold();
        assert_eq!(row(reader, id).await.version, 0);
        let version = world.source.write(id);
        row::invalidate(writer, id).confirmed().await.unwrap();
        assert_eq!(row(reader, id).await.version, version, "it was confirmed, and is served");
    }
}
