//! Faults: the process has more than one runtime, and one of them ends.

use std::time::Instant;

use redis_harness::RedisServer;
use tokio::{runtime::Runtime, task::spawn_blocking};

use crate::{
    episode::{Episode, Limits},
    source::row,
    table::TableRow,
    world::World,
};

/// Ends the runtime of the connections.
///
/// These live on the runtime of the first call. The later calls come from another runtime.
pub(crate) async fn connection_runtime_ends() -> TableRow {
    let redis = RedisServer::start();
    let url = redis.url();
    let world = World::new([&url, &url]);
    let (first, processes) = (Runtime::new().unwrap(), world.processes.clone());
    let connect = async move {
        for process in &processes {
            row(process, process.source.unused_key()).await;
        }
    };
    first.spawn(connect).await.unwrap();
    let world = world.connect().await;
    let episode = Episode::outage(&world).await;
    assert!(first.metrics().num_alive_tasks() > 0, "the connections live there");
    // A load that is under way on this runtime ends with it.
    let process = world.processes[0].clone();
    let _lost = first.spawn(async move { row(&process, process.source.unused_key()).await });
    spawn_blocking(move || drop(first)).await.unwrap();
    let ended = Instant::now();
    world.wait_until_healthy().await;
    let recovery = world.pulse.elapsed_since(ended);
    episode.calls(500).await;
    episode.finish(recovery, Limits::default()).await
}
