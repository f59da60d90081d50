//! Tags, patterns and `clear` against a real redis-server: their cost, and the lifetime of the keys that they
//! need.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use cached_aside::{Cache, CacheControl, Invalidation, RedisTier, cached, tag};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};
use tokio::sync::Semaphore;

/// Timeout that is so long that no result depends on how busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const WEEK: i64 = 7 * 24 * HOUR;

fn cache_on(url: &str) -> Cache {
    let tier = RedisTier::builder(url).operation_timeout(PATIENCE).write_timeout(PATIENCE).build().unwrap();
    Cache::builder().namespace("test").tier(tier).build().unwrap()
}

/// Returns the remaining lifetime of this key in Redis, in milliseconds.
fn remaining_ttl(redis: &RedisServer, key: &str) -> i64 {
    redis.cli(&["PTTL", key]).trim().parse().unwrap()
}

#[cached("minute:{id}", ttl = "1m", tags = ["of:{id}"], cache = cache, skip(cache))]
async fn minute(cache: &Cache, id: u32) -> u32 {
    id
}

#[cached("seconds:{id}", ttl = "10s", tags = ["of:{id}"], cache = cache, skip(cache))]
async fn seconds(cache: &Cache, id: u32) -> u32 {
    id
}

#[cached("week:{id}", ttl_from = |_| Duration::from_secs(7 * 24 * 60 * 60), tags = ["of:{id}"], cache = cache, skip(cache))]
async fn week(cache: &Cache, id: u32) -> u32 {
    id
}

#[cached("told:{id}", ttl_from = |_| Duration::from_secs(7 * 24 * 60 * 60), tags_from = |id| vec![tag!("of:{}", id)],
    cache = cache, skip(cache))]
async fn value_tagged(cache: &Cache, id: u32) -> u32 {
    id
}

#[tokio::test]
async fn tag_generation_outlives_every_value_with_the_tag() {
    let redis = RedisServer::start();
    let cache = cache_on(&redis.url());
    let check = |value: &str, least: i64| {
        let (value, tag) = (remaining_ttl(&redis, value), remaining_ttl(&redis, "test:%tag:of:7"));
        assert!(value >= least && tag >= value, "the value has {value} ms, its tag {tag}");
        redis.cli(&["FLUSHALL"]);
    };
    minute::with(CacheControl::ttl(Duration::from_secs(24 * 60 * 60)), &cache, 7).await;
    cache.flush().await;
    check("test:minute:7", 24 * HOUR - MINUTE);
    week(&cache, 7).await;
    cache.flush().await;
    check("test:week:7", WEEK - MINUTE);
    value_tagged(&cache, 7).await;
    cache.flush().await;
    check("test:told:7", WEEK - MINUTE);
    // The tag is created for a value that lives a minute, and then has one that lives a day.
    minute(&cache, 7).await;
    cache.flush().await;
    minute::with(
        CacheControl::no_cache().and(CacheControl::ttl(Duration::from_secs(24 * 60 * 60))),
        &cache,
        7,
    )
    .await;
    cache.flush().await;
    check("test:minute:7", 24 * HOUR - MINUTE);
}

#[tokio::test]
async fn tag_generation_expires_soon_after_its_values() {
    let redis = RedisServer::start();
    let cache = cache_on(&redis.url());
    seconds(&cache, 7).await;
    cache.flush().await;
    let left = remaining_ttl(&redis, "test:%tag:of:7");
    assert!((10_000..=4 * MINUTE).contains(&left), "{left}");
}

/// Counter of loads, and the gate at which they wait.
struct Gate(AtomicUsize, Semaphore);

#[cached("slow:{id}", ttl = "1h", tags_from = |id| vec![tag!("of:{}", id)], cache = cache, skip(cache, gate))]
async fn slow(cache: &Cache, gate: &Arc<Gate>, id: u32) -> u32 {
    gate.0.fetch_add(1, SeqCst);
    gate.1.acquire().await.unwrap().forget();
    id
}

/// The number of invalidations is that of a load of a minute, while 200 tags a second are invalidated
/// elsewhere.
#[tokio::test]
async fn load_is_stored_when_many_other_tags_are_invalidated_meanwhile() {
    let redis = RedisServer::start();
    let (here, there) = (cache_on(&redis.url()), cache_on(&redis.url()));
    let gate = Arc::new(Gate(AtomicUsize::new(0), Semaphore::new(0)));
    let loading = tokio::spawn({
        let (here, gate) = (here.clone(), gate.clone());
        async move { slow(&here, &gate, 7).await }
    });
    eventually_async("the load has begun", async || gate.0.load(SeqCst) == 1).await;
    for batch in 0..60_u32 {
        let one = |number: u32| there.invalidate_tag("other:{}", &[&number]);
        let all = (200 * batch..200 * (batch + 1)).map(one).reduce(Invalidation::and).unwrap();
        all.await.unwrap();
    }
    gate.1.add_permits(2);
    assert_eq!(loading.await.unwrap(), 7);
    here.flush().await;
    for cache in [&here, &there] {
        assert_eq!(slow(cache, &gate, 7).await, 7);
    }
    assert_eq!(gate.0.load(SeqCst), 1, "it was loaded again");
}

#[cached("alone:{id}", ttl = "1h", local, cache = cache, skip(cache))]
fn alone(cache: &Cache, id: usize) -> usize {
    id
}

/// Returns the number of sweeps that have begun. Each of them begins with the cursor 0.
fn sweeps(proxy: &Proxy) -> usize {
    let begins = b"SCAN\r\n$1\r\n0\r\n";
    let trips = proxy.take_round_trips();
    trips.iter().map(|sent| sent.windows(begins.len()).filter(|part| part == begins).count()).sum()
}

/// The sweep takes longer than a sender may go without a check-in before another one takes over.
#[tokio::test]
async fn undelivered_pattern_is_swept_once_however_long_it_takes() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port());
    let cache = cache_on(&proxy.url());
    eventually_async("Redis is there", async || cache.invalidate_tag("any", &[]).await.is_ok()).await;
    redis.cli(&["EVAL", "for i = 1, 100000 do redis.call('SET', 'other:' .. i, i) end", "0"]);
    redis.cli(&["ACL", "SETUSER", "default", "-scan"]);
    assert!(cache.invalidate_pattern("user:*", &[]).await.unwrap_err().is_not_propagated());
    proxy.set_mode(Mode::Delay(Duration::from_millis(100)));
    redis.cli(&["ACL", "SETUSER", "default", "+scan"]);
    let mut calls = 0;
    eventually_async("the pattern invalidation is delivered", async || {
        // A miss that does not ask Redis, but would start a sender.
        alone(&cache, calls);
        calls += 1;
        cache.stats().pending_invalidations == 0
    })
    .await;
    let stats = redis.cli(&["INFO", "commandstats"]);
    let steps = stats.split("cmdstat_scan:calls=").nth(1).and_then(|rest| rest.split(',').next());
    let steps: usize = steps.unwrap().parse().unwrap();
    assert!((90..130).contains(&steps), "one sweep has about 100 steps, and there were {steps}");
}

#[tokio::test]
async fn concurrent_equal_patterns_share_the_next_sweep() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port());
    let cache = cache_on(&proxy.url());
    cache.invalidate_pattern("user:*", &[]).await.unwrap();
    proxy.set_mode(Mode::Delay(Duration::from_millis(100)));
    sweeps(&proxy);
    let calls: Vec<_> = (0..20).map(|_| tokio::spawn(cache.invalidate_pattern("user:*", &[]))).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(sweeps(&proxy), 2, "the first one's, and one for all that came meanwhile");
}
