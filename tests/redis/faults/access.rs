//! Faults: Redis rejects the user, or some of its commands.

use std::time::Duration;

use cached_aside::{Cache, TierState};
use redis_harness::{RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    table::TableRow,
    world::World,
};

const USER: [&str; 7] = ["ACL", "SETUSER", "app", "on", ">first", "~*", "+@all"];

/// Starts a server with a user, and two caches that log in as that user.
async fn world() -> (RedisServer, World) {
    let redis = RedisServer::start();
    redis.cli(&[&USER[..], &["&*"]].concat());
    let url = format!("redis://app:first@127.0.0.1:{}/", redis.port());
    let world = World::new([&url, &url]).connect().await;
    (redis, world)
}

fn state(cache: &Cache) -> TierState {
    cache.health().tier.expect("there is a tier").state
}

async fn wait_for_states(world: &World, states: &[TierState]) {
    eventually_async("it was noticed", async || {
        world.processes.iter().all(|process| states.contains(&state(&process.cache)))
    })
    .await;
}

/// Rotates the password.
///
/// Open connections survive a new password, so they are cut as well.
pub(crate) async fn password_rotated() -> TableRow {
    let (redis, world) = world().await;
    let episode = Episode::outage(&world).await;
    redis.cli(&["ACL", "SETUSER", "app", "resetpass", ">second"]);
    redis.cli(&["CLIENT", "KILL", "USER", "app"]);
    wait_for_states(&world, &[TierState::Down]).await;
    episode.hold_for(Duration::from_millis(1500)).await;
    redis.cli(&["ACL", "SETUSER", "app", ">first"]);
    episode.end(Limits::default()).await
}

pub(crate) async fn user_deleted() -> TableRow {
    let (redis, world) = world().await;
    let episode = Episode::outage(&world).await;
    redis.cli(&["ACL", "DELUSER", "app"]);
    wait_for_states(&world, &[TierState::Down]).await;
    episode.hold_for(Duration::from_millis(1500)).await;
    redis.cli(&[&USER[..], &["&*"]].concat());
    episode.end(Limits::default()).await
}

/// Forbids scripts.
///
/// Without scripts, no lease is granted, nothing can be stored, and no process is registered.
pub(crate) async fn scripts_forbidden() -> TableRow {
    let (redis, world) = world().await;
    let episode = Episode::outage(&world).await;
    redis.cli(&["ACL", "SETUSER", "app", "-evalsha", "-eval"]);
    wait_for_states(&world, &[TierState::Degraded]).await;
    episode.hold_for(Duration::from_millis(1500)).await;
    redis.cli(&["ACL", "SETUSER", "app", "+evalsha", "+eval"]);
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}

/// Forbids tracking. Only new connections notice that, and the end of it.
pub(crate) async fn tracking_forbidden() -> TableRow {
    let (redis, world) = world().await;
    let episode = Episode::disturbance(&world).await;
    redis.cli(&["ACL", "SETUSER", "app", "-client|tracking"]);
    redis.cli(&["CLIENT", "KILL", "USER", "app"]);
    wait_for_states(&world, &[TierState::Degraded]).await;
    episode.hold_for(Duration::from_millis(2500)).await;
    redis.cli(&["ACL", "SETUSER", "app", "+client|tracking"]);
    redis.cli(&["CLIENT", "KILL", "USER", "app"]);
    episode.end(Limits::default()).await
}
