//! Faults: the connection works, but changes are not reported.

use std::time::{Duration, Instant};

use cached_aside::{Health, TierState};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    source::row,
    table::TableRow,
    world::World,
};

/// Drops pushes, while replies arrive.
///
/// The tier notices that, and until then the bound has to hold.
pub(crate) async fn pushes_dropped() -> TableRow {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let episode = Episode::disturbance(&world).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::DropPushes);
    }
    wait_for_state(&world, TierState::Degraded).await;
    episode.hold_for(Duration::from_millis(2500)).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::Pass);
    }
    // An untracked connection tries tracking again every three seconds.
    episode.end(Limits { recovery: Duration::from_secs(6), ..Limits::default() }).await
}

/// Puts a server behind the same address that pushes nothing under `NOLOOP`.
///
/// It accepts `CLIENT TRACKING` with `NOLOOP` all the same. Tracking is then used without `NOLOOP`, and all
/// promises hold. Each process reconnects once.
pub(crate) async fn untracked_under_noloop() -> TableRow {
    partly_untracked(Mode::UntrackedUnderNoLoop, TierState::Up, Limits::default().recovery).await
}

/// Puts a server behind the same address that does not track the reads of scripts.
///
/// So it reports no change of a value that a process itself has stored. It counts as a server that reports
/// nothing: values are served for the bound.
pub(crate) async fn untracked_in_scripts() -> TableRow {
    // An untracked connection tries tracking again every three seconds.
    partly_untracked(Mode::UntrackedInScripts, TierState::Degraded, Duration::from_secs(6)).await
}

/// Runs an episode with a server that answers, but does not report all changes.
///
/// The server answers every request, so only an unreported change reveals it. `state` is the expected state
/// on the connections that replace the silent ones. Since every request is answered, a call takes longer only
/// by the machine's time for the way through the proxy. So the number of paid calls is not limited, and only
/// the values count.
async fn partly_untracked(mode: Mode, state: TierState, recovery: Duration) -> TableRow {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let (before, began) = (proxies.each_ref().map(Proxy::connections), Instant::now());
    let episode = Episode::disturbance(&world).await;
    for proxy in &proxies {
        proxy.set_mode(mode);
    }
    let replaced = || proxies.iter().zip(before).all(|(proxy, before)| proxy.connections() > before);
    eventually_async("the silent connections were replaced", async || replaced()).await;
    wait_for_state(&world, state).await;
    check_confirmations(&world).await;
    episode.hold_for(Duration::from_millis(2500)).await;
    let after = proxies.each_ref().map(Proxy::connections);
    let is_steady = after == before.map(|connections| connections + 1);
    assert!(
        is_steady || world.pulse.was_slow(began),
        "their replacements were replaced: {before:?}, {after:?}"
    );
    for proxy in &proxies {
        proxy.set_mode(Mode::Pass);
    }
    episode.end(Limits { delayed: usize::MAX, recovery, ..Limits::default() }).await
}

async fn wait_for_state(world: &World, state: TierState) {
    eventually_async("the state of the tier follows the server", async || {
        let is_there = |health: Health| health.tier.unwrap().state == state;
        world.processes.iter().all(|process| is_there(process.cache.health()))
    })
    .await;
}

/// Checks that a confirmed invalidation holds in the other process.
///
/// It must hold even if no change is reported.
async fn check_confirmations(world: &World) {
    let [one, other] = &world.processes;
    for (writer, reader) in [(one, other), (other, one)] {
        let id = world.source.unused_key();
        assert_eq!(row(reader, id).await.version, 0);
        let version = world.source.write(id);
        row::invalidate(writer, id).confirmed().await.unwrap();
        assert_eq!(row(reader, id).await.version, version, "it was confirmed, and is served");
    }
}
