//! What it costs to invalidate a tag, by the number of entries that have it. Needs `redis-server`.

use std::time::{Duration, Instant};

use cached_aside::{Cache, RedisTier, cached};
use redis_harness::RedisServer;
use tokio::task::JoinSet;

use crate::{
    options::Options,
    race::{Arm, race},
    report::{Group, Report},
    work::runtime,
};

pub const GROUP: Group = Group { name: "tags", long: false, crates: &["cached-aside", "redis"], run };

const SIZES: [u32; 3] = [10, 1_000, 100_000];

/// Loads go on at the same time, so that filling is quick.
const AT_ONCE: u32 = 200;

#[cached("entry:{size}:{id}", ttl = "1h", tags = ["size:{size}"], cache = cache, skip(cache))]
async fn entry(cache: &Cache, size: u32, id: u32) -> u64 {
    u64::from(size) + u64::from(id)
}

fn run(options: &Options) -> Report {
    let redis = RedisServer::start();
    let sizes = if options.quick { &SIZES[..2] } else { &SIZES };
    let runtime = runtime();
    let cache = runtime.block_on(async {
        let patience = Duration::from_secs(20);
        let tier =
            RedisTier::builder(redis.url()).operation_timeout(patience).write_timeout(patience).build();
        let tier = tier.expect("a valid address");
        let cache = Cache::builder().namespace("bench").l1_max_bytes(256 << 20).tier(tier).build();
        let cache = cache.expect("valid settings");
        for &size in sizes {
            fill(&cache, size).await;
        }
        cache
    });
    let arms = sizes.iter().map(|&size| {
        let (cache, mut is_first) = (&cache, true);
        Arm::new(format!("{size} entries"), move || {
            let cost = runtime.block_on(async {
                let began = Instant::now();
                cache.invalidate_tag("size:{}", &[&size]).await.expect("Redis is there");
                let cost = began.elapsed();
                // So that the tag is there the next time as well; all its entries for the first.
                if is_first {
                    fill(cache, size).await;
                } else {
                    entry(cache, size, 0).await;
                    cache.flush().await;
                }
                cost
            });
            is_first = false;
            cost.as_secs_f64() * 1e6
        })
    });
    let rounds = race(options, options.pick(10, 200), arms.collect());
    Report::default().race("Invalidate a tag, by the entries that have it", "µs", &rounds, &["10 entries"])
}

async fn fill(cache: &Cache, size: u32) {
    for start in (0..size).step_by(AT_ONCE as usize) {
        let mut loads = JoinSet::new();
        for id in start..size.min(start + AT_ONCE) {
            let cache = cache.clone();
            loads.spawn(async move { entry(&cache, size, id).await });
        }
        loads.join_all().await;
        cache.flush().await;
    }
}
