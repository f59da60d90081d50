//! Faults: Redis loses its data.

use redis_harness::RedisServer;

use crate::{
    episode::{Episode, Limits},
    table::TableRow,
    world::World,
};

pub(crate) async fn flushed() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    for _ in 0..10 {
        redis.cli(&["FLUSHALL"]);
        episode.calls(100).await;
    }
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}

pub(crate) async fn restarted() -> TableRow {
    let mut redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::outage(&world).await;
    for _ in 0..3 {
        redis.restart();
        episode.calls(300).await;
    }
    episode.end(Limits::default()).await
}
