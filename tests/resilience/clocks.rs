//! The wall clock is wrong.

use std::time::Instant;

use cached_aside::testing::WrongClock;
use redis_harness::RedisServer;

use crate::{
    episode::{Episode, Limits},
    source::row,
    table::Row,
    world::World,
};

const HOUR: i64 = 3_600_000;

/// Two machines whose clocks differ, and step. What is cached for an hour stays cached, and nothing lives longer.
pub(crate) async fn steps() -> Row {
    let redis = RedisServer::start();
    let (url, clocks) = (redis.url(), [WrongClock::new(), WrongClock::new()]);
    let world =
        World::with([&url, &url], |number, builder| builder.clock(clocks[number].clock())).connected().await;
    let (kept, began) = (world.source.cold(), Instant::now());
    row(&world.sides[0], kept).await;
    world.sides[0].cache.flush().await;
    let episode = Episode::disturbance(&world).await;
    for step in [2 * HOUR, -5 * HOUR, 24 * 365 * HOUR, -48 * 365 * HOUR, i64::MAX / 4, 3 * HOUR] {
        clocks[0].step(step);
        episode.calls(100).await;
        clocks[1].step(-step / 2);
        episode.calls(100).await;
        for side in &world.sides {
            world.is_shared(side, kept, "what has an hour left is still there").await;
        }
    }
    // A read that is answered too late loads as well.
    assert!(world.source.runs(kept) == 1 || world.pulse.was_slow(began));
    episode.end(Limits { all_told: true, ..Limits::default() }).await
}
