//! Invalidation of one key that is in Redis and, in caches with an in-process tier, in this process.

use std::time::Instant;

use redis_harness::RedisServer;

use crate::{
    options::Options,
    race::{Arm, race},
    remote::{
        Bare, Cached, Codec, Invalidator, MultiTier, Ours, Plain, cache, connect, read_concurrently,
        runtime_for,
    },
    report::{Group, Report},
    work::loads,
};

pub const GROUP: Group = Group {
    name: "redis_invalidate",
    long: false,
    crates: &["cached-aside", "redis", "cached", "multi-tier-cache"],
    run,
};

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let (url, runtime, keys) = (redis.url(), runtime_for(1), options.pick(50, 250));
    let bare = Bare(runtime.block_on(connect(&url)), Codec::Json, 1);
    let arms = vec![
        arm("redis, DEL", Plain(bare), keys),
        arm("ours", Ours { cache: cache(&url, Codec::Json.format()), rows: 1 }, keys),
        arm("cached", runtime.block_on(Cached::new(&url, 1)), keys),
        arm("multi-tier-cache", runtime.block_on(MultiTier::in_both(&url, 1)), keys),
    ];
    let rounds = race(options, super::redis_hits::rounds(options, 1), arms);
    Report::default().race("Invalidate one key, until that is acknowledged", "µs", &rounds, &["redis, DEL"])
}

fn arm<I: Invalidator>(name: &str, cache: I, keys: u32) -> Arm<'static> {
    Arm::new(name, move || {
        let before = loads();
        read_concurrently(&cache, 1, 0..keys);
        assert_eq!(loads() - before, keys as usize, "all had gone");
        let cache = cache.clone();
        let invalidations = runtime_for(1).spawn(async move {
            cache.settle().await;
            let began = Instant::now();
            for id in 0..keys {
                cache.invalidate(id).await;
            }
            began.elapsed().as_secs_f64() * 1e6 / f64::from(keys)
        });
        runtime_for(1).block_on(invalidations).expect("it does not panic")
    })
}
