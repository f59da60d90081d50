//! Faults of a cluster.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cached_aside::TierState;
use redis_harness::{RedisCluster, eventually_async};
use tokio::task::spawn_blocking;

use crate::{
    episode::{Episode, Limits},
    source::HOT_KEYS,
    table::TableRow,
    world::World,
};

async fn world(cluster: &RedisCluster) -> World {
    let url = cluster.url();
    World::new([&url, &url]).connect().await
}

pub(crate) async fn server_lost() -> TableRow {
    let mut cluster = RedisCluster::start_with(&["--cluster-require-full-coverage", "no"]);
    let world = world(&cluster).await;
    let episode = Episode::outage(&world).await;
    let lost = cluster.owner_of(cluster.slot(&World::key_name(0)));
    cluster.servers[lost].kill();
    let degraded = |world: &World| {
        let tiers = world.processes.iter().filter_map(|process| process.cache.health().tier);
        tiers.filter(|tier| tier.state == TierState::Degraded).count() == 2
    };
    eventually_async("it is noticed that one is lost", async || degraded(&world)).await;
    episode.hold_for(Duration::from_millis(1500)).await;
    // The keys of the other servers are shared as before.
    assert!(world.processes.iter().all(|process| process.cache.health().is_tier_ready));
    let count = cluster.servers.len();
    cluster.servers[lost].restart();
    // A server of a cluster answers no client for two seconds after its start.
    cluster.settle(count);
    episode.end(Limits { recovery: Duration::from_secs(4), ..Limits::default() }).await
}

pub(crate) async fn slots_moved() -> TableRow {
    let cluster = Arc::new(RedisCluster::start());
    let world = world(&cluster).await;
    let episode = Episode::disturbance(&world).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let moving = {
        let (cluster, is_over) = (cluster.clone(), is_over.clone());
        spawn_blocking(move || {
            for id in (0..HOT_KEYS).cycle().take_while(|_| !is_over.load(Ordering::SeqCst)) {
                let slot = cluster.slot(&World::key_name(id));
                cluster.move_slot(slot, (cluster.owner_of(slot) + 1) % 3);
            }
        })
    };
    eventually_async("slots have moved", async || cluster.moves() > 20).await;
    episode.calls(500).await;
    is_over.store(true, Ordering::SeqCst);
    moving.await.unwrap();
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}
