//! Many processes on one Redis.

use std::time::{Duration, Instant};

use cached_aside::{Cache, RedisTier};
use redis_harness::{PATIENCE, RedisServer, eventually_async};
use tokio::task::JoinSet;

use crate::{
    episode::{Episode, Limits},
    source::{Process, row},
    table::TableRow,
    world::{BOUND, GRACE, NAMESPACE, World},
};

const PROCESSES: usize = 50;

/// Adds a fleet of 50 processes.
///
/// Each key is loaded once for all of them, and no process serves a value after its invalidation was
/// confirmed. So many callers in one process may use up the budget of a read by themselves. Their budget is
/// therefore ample, and loads are counted here.
pub(crate) async fn fifty_processes() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let build = |number| {
        let tier = RedisTier::builder(redis.url()).operation_timeout(PATIENCE).write_timeout(PATIENCE);
        let builder = Cache::builder().namespace(NAMESPACE).outage_grace(GRACE).tier(tier.build().unwrap());
        Process { number, cache: builder.build().unwrap(), source: world.source.clone() }
    };
    let fleet: Vec<_> = (2..2 + PROCESSES).map(build).collect();
    // The fleet keeps the runtime busy, and replies wait in it.
    world.pulse.watch_runtime();
    let episode = Episode::disturbance(&world).await;
    for round in 0..10 {
        let id = world.source.unused_key();
        let calls = fleet.iter().cloned().map(|process| async move { row(&process, id).await.version });
        let mut calls: JoinSet<_> = calls.collect();
        while let Some(version) = calls.join_next().await {
            assert_eq!(version.unwrap(), 0);
        }
        assert_eq!(world.source.runs(id), 1, "one load for all");
        let version = world.source.write(id);
        row::invalidate(&fleet[round], id).confirmed().await.unwrap();
        for process in &fleet {
            assert_eq!(row(process, id).await.version, version);
        }
        assert_eq!(world.source.runs(id), 2);
    }
    episode.end(Limits { delayed: usize::MAX, all_delivered: true, ..Limits::default() }).await
}

/// Ends processes, one after the other, while others ask for confirmations.
///
/// No confirmation waits for a process that has ended in order.
pub(crate) async fn orderly_exits() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    for number in 2..7 {
        // This process may serve for 30 s without Redis.
        let tier = RedisTier::builder(redis.url()).build().unwrap();
        let leaving = Cache::builder().namespace(NAMESPACE).outage_grace(Duration::from_secs(30)).tier(tier);
        let leaving = Process { number, cache: leaving.build().unwrap(), source: world.source.clone() };
        let id = world.source.unused_key();
        row(&leaving, id).await;
        eventually_async("it is registered", async || leaving.cache.health().is_healthy()).await;
        leaving.cache.flush().await;
        drop(leaving);
        world.source.write(id);
        let began = Instant::now();
        row::invalidate(&world.processes[0], id).confirmed().await.unwrap();
        let took = world.pulse.elapsed_since(began);
        assert!(took < BOUND, "it waits for a process that has ended: {took:?}");
    }
    episode.calls(200).await;
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}
