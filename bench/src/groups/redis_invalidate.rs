//! Invalidating one key that is in both tiers.

use std::time::Instant;

use redis::AsyncCommands;
use redis_harness::RedisServer;

use crate::{
    options::Options,
    race::{Arm, race},
    remote::{Codec, Ours, cache, connect, crowd},
    report::{Group, Report},
    work::runtime,
};

pub const GROUP: Group =
    Group { name: "redis_invalidate", long: false, crates: &["cached-aside", "redis"], run };

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let (url, runtime, keys) = (redis.url(), runtime(), options.pick(50, 1_000));
    let bare = runtime.block_on(connect(&url));
    let ours = Ours { cache: cache(&url, Codec::Json.format()), rows: 1 };
    let arms = vec![
        Arm::new("redis, DEL", move || {
            let mut bare = bare.clone();
            runtime.block_on(async move {
                let mut pipe = redis::pipe();
                for id in 0..keys {
                    pipe.set(format!("gone:{id}"), "x".repeat(200)).ignore();
                }
                pipe.exec_async(&mut bare).await.expect("Redis is there");
                let deletions = tokio::spawn(async move {
                    let began = Instant::now();
                    for id in 0..keys {
                        let count: u32 = bare.del(format!("gone:{id}")).await.expect("Redis is there");
                        assert_eq!(count, 1);
                    }
                    began.elapsed().as_secs_f64() * 1e6 / f64::from(keys)
                });
                deletions.await.expect("it does not panic")
            })
        }),
        Arm::new("ours", move || {
            crowd(&ours, 64, 0..keys);
            let ours = ours.clone();
            runtime.block_on(async move {
                ours.cache.flush().await;
                let invalidations = tokio::spawn(async move {
                    let began = Instant::now();
                    for id in 0..keys {
                        ours.invalidate(id).await;
                    }
                    began.elapsed().as_secs_f64() * 1e6 / f64::from(keys)
                });
                invalidations.await.expect("it does not panic")
            })
        }),
    ];
    let rounds = race(options, options.pick(2, 15), arms);
    Report::default().race("Invalidate one key, until that is acknowledged", "µs", &rounds, &["redis, DEL"])
}
