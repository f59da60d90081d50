//! Faults: the wall clock is wrong.

use std::time::{Duration, Instant};

use cached_aside::testing::WrongClock;
use redis_harness::{PATIENCE, RedisServer};
use tokio::time::timeout;

use crate::{
    episode::{Episode, Limits},
    source::row,
    table::TableRow,
    world::{NAMESPACE, World},
};

const HOUR: i64 = 3_600_000;

/// Steps the clocks of two machines, so that they differ.
///
/// A value that is cached for an hour stays cached, and no value lives longer.
pub(crate) async fn wall_clock_steps() -> TableRow {
    let redis = RedisServer::start();
    let (url, clocks) = (redis.url(), [WrongClock::new(), WrongClock::new()]);
    let world = World::with_settings([&url, &url], |number, builder| builder.clock(clocks[number].clock()))
        .connect()
        .await;
    let (long_lived, began) = (world.source.unused_key(), Instant::now());
    row(&world.processes[0], long_lived).await;
    world.processes[0].cache.flush().await;
    let episode = Episode::disturbance(&world).await;
    for step in [2 * HOUR, -5 * HOUR, 24 * 365 * HOUR, -48 * 365 * HOUR, i64::MAX / 4, 3 * HOUR] {
        clocks[0].step(step);
        episode.calls(100).await;
        clocks[1].step(-step / 2);
        episode.calls(100).await;
        for process in &world.processes {
            world.wait_until_shared(process, long_lived, "what has an hour left is still there").await;
        }
    }
    // A read that is answered too late causes a load as well.
    assert!(world.source.runs(long_lived) == 1 || world.pulse.was_slow(began));
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}

/// Script that shifts the end times in records, like a step of the server's clock.
///
/// It adds `ARGV[1]` milliseconds to each end time under the pattern `ARGV[2]`, as if the clock had been set
/// back by them.
const SHIFT_END_TIMES: &str = r"
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

/// Steps the server's clock.
///
/// Values expire too early and are loaded again, or live on until Redis itself removes them. Leases are
/// released by their holders.
pub(crate) async fn server_clock_steps() -> TableRow {
    let redis = RedisServer::start();
    let world = World::direct(&redis).await;
    let episode = Episode::disturbance(&world).await;
    for step in [HOUR, -3 * HOUR, 24 * HOUR, -24 * HOUR, HOUR] {
        let pattern = format!("{NAMESPACE}:row:*");
        let keys: u64 =
            redis.cli(&["EVAL", SHIFT_END_TIMES, "0", &(-step).to_string(), &pattern]).parse().unwrap();
        assert!(keys > 0);
        episode.calls(150).await;
    }
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}

/// Script that writes a lease as its holder would.
///
/// The lease has the token `ARGV[1]`, and ends when `ARGV[2]` milliseconds have passed.
const WRITE_LEASE: &str = r"
    local time = redis.call('TIME')
    local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
    local none = string.rep('\0', 8)
    local record = ARGV[1] .. struct.pack('>I8', ends) .. none .. none .. '\1' .. '\255aside\2'
    return redis.call('SET', KEYS[1], record, 'PX', ARGV[2])";

/// Leaves a lease without a holder, and with an end far ahead.
///
/// The holder is gone, and the clock was set back since. A waiting call reads the key once per lease length,
/// and gives the holder up after three lengths without a renewal.
pub(crate) async fn lease_without_end() -> TableRow {
    let redis = RedisServer::start();
    let url = redis.url();
    let lease = Duration::from_secs(1);
    let world = World::with_settings([&url, &url], |_, builder| builder.lease(lease)).connect().await;
    let episode = Episode::disturbance(&world).await;
    for process in &world.processes {
        let id = world.source.unused_key();
        let key = World::key_name(id);
        let left = HOUR.to_string();
        assert_eq!(redis.cli(&["EVAL", WRITE_LEASE, "1", &key, "0123456789abcdef", &left]), "OK");
        let began = Instant::now();
        let value = timeout(PATIENCE, row(process, id)).await.expect("it waits for a holder that is gone");
        assert_eq!(value.id, id);
        let took = world.pulse.elapsed_since(began);
        assert!(took < 4 * lease, "{took:?}");
    }
    episode.end(Limits { all_delivered: true, ..Limits::default() }).await
}
