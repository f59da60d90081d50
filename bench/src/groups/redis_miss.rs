//! A miss with Redis behind it and a load of no time: what a cache adds to a load.

use redis_harness::RedisServer;

use crate::{
    options::Options,
    race::{Arm, race},
    remote::{Bare, Cached, Codec, Hitbox, MultiTier, Ours, Plain, Reader, cache, connect, crowd},
    report::{Group, Report},
    work::{loads, runtime},
};

pub const GROUP: Group = Group {
    name: "redis_miss",
    long: false,
    crates: &["cached-aside", "redis", "cached", "hitbox-redis", "multi-tier-cache"],
    run,
};

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let (url, runtime) = (redis.url(), runtime());
    let mut report = Report::default();
    for (tasks, keys) in [(1, options.pick(100, 1_000)), (256, options.pick(512, 5_000))] {
        let ours = Ours { cache: cache(&url, Codec::Json.format()), rows: 1 };
        let plain = Plain(Bare(runtime.block_on(connect(&url)), Codec::Json, 1));
        let (flushed, first) = (ours.clone(), tasks << 20);
        let arms = vec![
            arm("GET, JSON and SET by hand", plain, tasks, keys, first),
            arm("ours", ours, tasks, keys, first),
            Arm::new("ours, and all of it is in Redis", {
                let mut next = first + (1 << 19);
                move || {
                    let began = std::time::Instant::now();
                    crowd(&flushed, tasks, next..next + keys);
                    runtime.block_on(flushed.cache.flush());
                    next += keys;
                    began.elapsed().as_secs_f64() * 1e6 / f64::from(keys)
                }
            }),
            arm("cached", runtime.block_on(Cached::new(&url, 1)), tasks, keys, first),
            arm("hitbox", Hitbox::new(&url, 1), tasks, keys, first),
            arm("multi-tier-cache", runtime.block_on(MultiTier::new(&url, 1)), tasks, keys, first),
        ];
        let rounds = race(options, options.pick(2, 11), arms);
        let what =
            if tasks == 1 { "one caller after the other".to_owned() } else { format!("{tasks} at once") };
        let title = format!("A miss, {what}: µs until the caller has its value");
        report = report.race(&title, "µs", &rounds, &["GET, JSON and SET by hand"]);
    }
    report
}

fn arm<R: Reader>(name: &str, reader: R, tasks: u32, keys: u32, first: u32) -> Arm<'static> {
    let mut next = first;
    Arm::new(name, move || {
        let before = loads();
        let took = crowd(&reader, tasks, next..next + keys);
        assert_eq!(loads() - before, keys as usize, "every call loads");
        next += keys;
        took.as_secs_f64() * 1e6 / f64::from(keys)
    })
}
