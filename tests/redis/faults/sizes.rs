//! Values of different sizes.

use cached_aside::cached;
use redis_harness::RedisServer;

use crate::{
    episode::{Episode, Limits},
    source::Process,
    table::TableRow,
    world::World,
};

const LARGE: usize = 1024 * 1024;

#[cached("large:{id}", ttl = "1h", cache = process.cache, skip(process))]
async fn large(process: &Process, id: u64) -> String {
    let _ = (process, id);
    "x".repeat(LARGE)
}

/// Reads large values from Redis all the time in one process, beside small ones.
pub(crate) async fn large_beside_small() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let [writer, reader] = &world.processes;
    for id in 0..4 {
        large(writer, id).await;
    }
    writer.cache.flush().await;
    let episode = Episode::disturbance(&world).await;
    for id in (0..4).cycle().take(60) {
        reader.cache.clear_local();
        assert_eq!(large(reader, id).await.len(), LARGE);
        episode.calls(10).await;
    }
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}
