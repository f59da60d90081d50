//! The wall clock is wrong.

use std::time::Instant;

use cached_aside::testing::WrongClock;
use redis_harness::RedisServer;

use crate::{
    episode::{Episode, Limits},
    source::row,
    table::Row,
    world::{NAMESPACE, World},
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

/// Adds so many milliseconds to all ends that Redis has under a pattern, as if its clock had been put back by them.
const SHIFT: &str = r"
    for _, key in ipairs(redis.call('KEYS', ARGV[2])) do
        local size, tail = redis.call('STRLEN', key), redis.call('GETRANGE', key, -48, -1)
        if #tail == 48 and string.sub(tail, 42) == '\255aside\2' then
            for _, at in ipairs({17, 33}) do
                local ends = struct.unpack('>I8', string.sub(tail, at, at + 7))
                if ends > 0 then
                    redis.call('SETRANGE', key, size - 49 + at, struct.pack('>I8', ends + tonumber(ARGV[1])))
                end
            end
        end
    end
    return redis.call('DBSIZE')";

/// Values end too early, and are loaded again, or live on until Redis itself removes them. Leases are given back by
/// their holders.
pub(crate) async fn of_the_server() -> Row {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    for step in [HOUR, -3 * HOUR, 24 * HOUR, -24 * HOUR, HOUR] {
        let pattern = format!("{NAMESPACE}:row:*");
        let keys: u64 = redis.cli(&["EVAL", SHIFT, "0", &(-step).to_string(), &pattern]).parse().unwrap();
        assert!(keys > 0);
        episode.calls(150).await;
    }
    episode.end(Limits { all_told: true, ..Limits::default() }).await
}
