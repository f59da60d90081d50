//! Faults: the process has more than one runtime, and one of them ends.

use std::time::Instant;

use redis_harness::RedisServer;
use tokio::{runtime::Runtime, task::spawn_blocking};

use crate::{
    episode::{Episode, Limits},
    source::row,
    table::Row,
    world::World,
};

/// Ends the runtime of the connections.
///
/// These live on the runtime of the first call. The later calls come from another runtime.
pub(crate) async fn first_one_ends() -> Row {
    let redis = RedisServer::start();
    let url = redis.url();
    let world = World::on([&url, &url]);
    let (first, sides) = (Runtime::new().unwrap(), world.sides.clone());
    let connect = async move {
        for side in &sides {
            row(side, side.source.cold()).await;
        }
    };
    first.spawn(connect).await.unwrap();
    let world = world.connected().await;
    let episode = Episode::outage(&world).await;
    assert!(first.metrics().num_alive_tasks() > 0, "the connections live there");
    // A load that is under way on this runtime ends with it.
    let side = world.sides[0].clone();
    let _lost = first.spawn(async move { row(&side, side.source.cold()).await });
    spawn_blocking(move || drop(first)).await.unwrap();
    let normal = Instant::now();
    world.normal().await;
    let normal = world.pulse.took_since(normal);
    episode.calls(500).await;
    episode.finish(normal, Limits::default()).await
}
