//! Faults: the connection works, but changes are not reported.

use std::time::{Duration, Instant};

use cached_aside::{Health, TierState};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    source::row,
    table::Row,
    world::World,
};

/// Drops pushes, while replies arrive.
///
/// The tier notices that, and until then the bound has to hold.
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
    // An untracked connection tries tracking again every three seconds.
    episode.end(Limits { normal: Duration::from_secs(6), ..Limits::default() }).await
}

/// Puts a server behind the same address that pushes nothing under `NOLOOP`.
///
/// It accepts `CLIENT TRACKING` with `NOLOOP` all the same. Tracking is then used without `NOLOOP`, and all
/// promises hold. Each process reconnects once.
pub(crate) async fn deaf_under_noloop() -> Row {
    deaf(Mode::DeafUnderNoLoop, TierState::Up, Limits::default().normal).await
}

/// Puts a server behind the same address that does not track the reads of scripts.
///
/// So it reports no change of a value that a process itself has stored. It counts as a server that reports
/// nothing: values are served for the bound.
pub(crate) async fn deaf_in_scripts() -> Row {
    // An untracked connection tries tracking again every three seconds.
    deaf(Mode::DeafInScripts, TierState::Degraded, Duration::from_secs(6)).await
}

/// Runs an episode with a server that answers, but does not report all changes.
///
/// The server answers every request, so only an unreported change reveals it. `state` is the expected state
/// on the connections that replace the silent ones. Since every request is answered, a call takes longer only
/// by the machine's time for the way through the proxy. So the number of paid calls is not limited, and only
/// the values count.
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

/// Checks that a confirmed invalidation holds in the other process.
///
/// It must hold even if no change is reported.
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
