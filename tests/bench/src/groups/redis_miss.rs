//! Cost that a cache with Redis adds to a load. Every call is a miss, and the load takes no time.

use std::time::Instant;

use redis_harness::RedisServer;

use crate::{
    options::Options,
    plot::{Bars, Plot},
    race::{Arm, Rounds, race},
    remote::{
        Bare, Cached, Codec, Hitbox, MultiTier, Ours, Plain, Reader, cache, connect, read_concurrently,
        runtime_for,
    },
    report::{Group, Report},
    work::loads,
};

pub const GROUP: Group = Group {
    name: "redis_miss",
    long: false,
    crates: &["cached-aside", "redis", "cached", "hitbox-redis", "multi-tier-cache"],
    run,
};

/// Reference arm: the least work that a cache can do.
const BY_HAND: &str = "GET, JSON and SET by hand";

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let races = [(1, options.pick(100, 250)), (256, options.pick(512, 5_000))].map(|(tasks, keys)| {
        let what =
            if tasks == 1 { "one caller after the other".to_owned() } else { format!("{tasks} at once") };
        (format!("A miss, {what}"), measure(options, &redis.url(), tasks, keys))
    });
    let panels = races.iter().map(|(title, rounds)| Bars::ratios(title, rounds, BY_HAND, "µs"));
    let title = "Time of a miss, relative to the least that a cache can do by hand";
    let report = Report::default().plot(Plot::bars("redis_miss", title, panels.collect()));
    races.iter().fold(report, |report, (title, rounds)| {
        report.race(&format!("{title}: µs until the caller has its value"), "µs", rounds, &[BY_HAND])
    })
}

fn measure(options: &Options, url: &str, tasks: u32, keys: u32) -> Rounds {
    let (runtime, first) = (runtime_for(tasks), tasks << 20);
    let ours = Ours { cache: cache(url, Codec::Json.format()), rows: 1 };
    let (waits, flushes) = (ours.clone(), ours.clone());
    let arms = vec![
        arm(BY_HAND, Plain(Bare(runtime.block_on(connect(url)), Codec::Json, 1)), tasks, keys, first),
        // The flush completes outstanding writes after the turn, so that they do not delay the next arm.
        arm("ours", ours, tasks, keys, first).and_then(move || runtime.block_on(flushes.cache.flush())),
        Arm::new("ours, and all of it is in Redis", {
            let mut next = first + (1 << 19);
            move || {
                let (before, began) = (loads(), Instant::now());
                read_concurrently(&waits, tasks, next..next + keys);
                runtime.block_on(waits.cache.flush());
                let took = began.elapsed();
                assert_eq!(loads() - before, keys as usize, "every call loads");
                next += keys;
                took.as_secs_f64() * 1e6 / f64::from(keys)
            }
        }),
        arm("cached", runtime.block_on(Cached::new(url, 1)), tasks, keys, first),
        arm("hitbox", Hitbox::new(url, 1), tasks, keys, first),
        arm("multi-tier-cache", runtime.block_on(MultiTier::new(url, 1)), tasks, keys, first),
    ];
    race(options, super::redis_hits::rounds(options, tasks), arms)
}

fn arm<R: Reader>(name: &str, reader: R, tasks: u32, keys: u32, first: u32) -> Arm<'static> {
    let mut next = first;
    Arm::new(name, move || {
        let before = loads();
        let took = read_concurrently(&reader, tasks, next..next + keys);
        assert_eq!(loads() - before, keys as usize, "every call loads");
        next += keys;
        took.as_secs_f64() * 1e6 / f64::from(keys)
    })
}
