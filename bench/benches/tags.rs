//! How long the invalidation of a tag takes, by the number of entries that have it. Needs `redis-server`.

use std::time::{Duration, Instant};

use cached_aside::{Cache, RedisTier, cached};
use cached_aside_bench::{aligned, quartiles};
use redis_harness::RedisServer;
use tokio::task::JoinSet;

const SIZES: [u32; 3] = [10, 1_000, 100_000];
const ROUNDS: usize = 200;

/// Loads go on at the same time, so that filling is quick.
const AT_ONCE: u32 = 200;

#[cached("entry:{size}:{id}", ttl = "1h", tags = ["size:{size}"], cache = cache, skip(cache))]
async fn entry(cache: &Cache, size: u32, id: u32) -> u64 {
    u64::from(size) + u64::from(id)
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

#[tokio::main]
async fn main() -> Result<(), cached_aside::Error> {
    let redis = RedisServer::start();
    let patience = Duration::from_secs(20);
    let tier = RedisTier::builder(redis.url()).operation_timeout(patience).write_timeout(patience).build()?;
    let cache = Cache::builder().namespace("bench").l1_max_bytes(256 << 20).tier(tier).build()?;
    for size in SIZES {
        fill(&cache, size).await;
        cache.invalidate_tag("size:{}", &[&size]).await?;
        fill(&cache, size).await;
    }
    println!("{} entries in memory, {} in Redis\n", cache.stats().l1_entries, redis.cli(&["DBSIZE"]).trim());

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut round = Vec::new();
        for size in SIZES {
            let began = Instant::now();
            cache.invalidate_tag("size:{}", &[&size]).await?;
            round.push(began.elapsed().as_secs_f64() * 1e6);
            // So that the tag is there the next time as well.
            entry(&cache, size, 0).await;
            cache.flush().await;
        }
        rounds.push(round);
    }
    let mut rows = vec![["entries with the tag", "µs, median", "÷ that of 10"].map(str::to_owned).to_vec()];
    for (index, size) in SIZES.iter().enumerate() {
        let [_, median, _] = quartiles(rounds.iter().map(|round| round[index]));
        let [_, ratio, _] = quartiles(rounds.iter().map(|round| round[index] / round[0]));
        rows.push(vec![size.to_string(), format!("{median:.0}"), format!("{ratio:.2}")]);
    }
    println!("{}", aligned(&rows));
    Ok(())
}
