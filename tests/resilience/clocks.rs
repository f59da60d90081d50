//! The wall clock is wrong.

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
    let kept = world.source.cold();
    row(&world.sides[0], kept).await;
    world.sides[0].cache.flush().await;
    let episode = Episode::disturbance(&world).await;
    for step in [2 * HOUR, -5 * HOUR, 24 * 365 * HOUR, -48 * 365 * HOUR, i64::MAX / 4, 3 * HOUR] {
        clocks[0].step(step);
        episode.calls(100).await;
        clocks[1].step(-step / 2);
        episode.calls(100).await;
        for side in &world.sides {
            side.cache.clear_local();
        }
        let loads = world.sides.each_ref().map(|side| side.cache.stats().hits_l2);
        for side in &world.sides {
            assert_eq!(row(side, kept).await.id, kept);
        }
        let hits = world.sides.each_ref().map(|side| side.cache.stats().hits_l2);
        assert!(hits[0] > loads[0] && hits[1] > loads[1], "what has an hour left is still there");
    }
    assert_eq!(world.source.runs(kept), 1);
    episode.end(Limits { all_told: true, ..Limits::default() }).await
}
