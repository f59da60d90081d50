//! Cost of a hit in memory while Redis is down, compared with a cache without Redis.
//!
//! ```sh
//! cargo run --release --manifest-path tests/bench/Cargo.toml --bin hits_in_an_outage
//! ```
//!
//! The two caches take turns in one run: a round of hits for one, a round for the other, many times. The
//! program starts its own `redis-server` and kills it.

use std::time::{Duration, Instant};

use cached_aside::{Cache, RedisTier, cached};
use redis_harness::{RedisServer, eventually_async};

const ROUNDS: usize = 400;
const HITS: usize = 5_000;
const KEYS: u64 = 64;

#[cached("price:{id}", ttl = "1h", cache = cache, skip(cache))]
async fn price(cache: &Cache, id: u64) -> u64 {
    let _ = cache;
    id * 150
}

/// Measures one round of hits. Returns its p50 and p99, in nanoseconds.
async fn round(cache: &Cache, took: &mut Vec<u64>) -> [u64; 2] {
    took.clear();
    for hit in 0..HITS {
        let began = Instant::now();
        let value = price(cache, hit as u64 % KEYS).await;
        took.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        assert_eq!(value, hit as u64 % KEYS * 150);
    }
    took.sort_unstable();
    [took[HITS / 2], took[HITS * 99 / 100]]
}

/// Prints the medians of both caches over all rounds, and the counters of `other`.
///
/// The caches take turns. The counters are hits, hits without a current proof of validity, and loads.
#[allow(clippy::cast_precision_loss)] // Nanoseconds per hit, far below 2^52.
async fn compare(what: &str, alone: &Cache, other: &Cache) {
    let mut took = Vec::with_capacity(HITS);
    let (mut of_alone, mut of_other) = (Vec::new(), Vec::new());
    let before = other.stats();
    for _ in 0..ROUNDS {
        of_alone.push(round(alone, &mut took).await);
        of_other.push(round(other, &mut took).await);
    }
    let after = other.stats();
    let median = |rounds: &[[u64; 2]], which: usize| {
        let mut all: Vec<_> = rounds.iter().map(|round| round[which]).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    for (which, name) in ["p50", "p99"].into_iter().enumerate() {
        let (one, two) = (median(&of_alone, which), median(&of_other, which));
        let more = (two as f64 / one as f64 - 1.0) * 100.0;
        println!("{what}: {name} {two} ns, {one} ns in a cache without Redis ({more:+.1} %)");
    }
    let [hits, alone, loads] = [
        after.hits_l1 - before.hits_l1,
        after.served_in_outage - before.served_in_outage,
        after.loads - before.loads,
    ];
    println!("{what}: {hits} hits, of which {alone} without a proof; {loads} loads");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), cached_aside::Error> {
    let mut redis = RedisServer::start();
    let alone = Cache::builder().build()?;
    // The grace is so long that no entry has to be loaded again during the measurement.
    let cache = Cache::builder()
        .namespace("outage")
        .outage_grace(Duration::from_secs(3600))
        .tier(RedisTier::builder(redis.url()).build()?)
        .build()?;
    for cache in [&alone, &cache] {
        for id in 0..KEYS {
            price(cache, id).await;
        }
        cache.flush().await;
    }
    eventually_async("it is connected", async || cache.health().is_healthy()).await;
    compare("Redis up", &alone, &cache).await;

    redis.kill();
    eventually_async("it is noticed", async || !cache.health().is_tier_ready).await;
    // Entries stay valid for the staleness bound of one second, and after that for the outage grace.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    compare("Redis down", &alone, &cache).await;
    Ok(())
}
