//! The whole path against a real redis-server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use cached_aside::{
    Cache, CacheBuilder, CacheControl, CacheOutcome, Layer, RedisTier, Stats, TierHealth, TierState, cached,
    tag,
    testing::{ManualClock, WrongClock},
    warm,
};
use redis_harness::{Proxy, RedisServer, eventually_async};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Timeout that is so long that no result depends on how busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

fn cache_on(url: &str) -> Cache {
    builder_on(url).build().unwrap()
}

fn builder_on(url: &str) -> CacheBuilder {
    let tier = RedisTier::builder(url).operation_timeout(PATIENCE).write_timeout(PATIENCE).build().unwrap();
    Cache::builder().namespace("test").tier(tier)
}

#[cached("user:{id}", ttl = "1h", cache = cache, skip(cache, runs))]
async fn user(cache: &Cache, runs: &AtomicUsize, id: u32) -> String {
    runs.fetch_add(1, SeqCst);
    format!("user {id}")
}

#[tokio::test]
async fn shared_value_keeps_its_remaining_ttl() {
    let redis = RedisServer::start();
    let (a, b, runs) = (cache_on(&redis.url()), cache_on(&redis.url()), AtomicUsize::new(0));
    user(&a, &runs, 7).await;
    a.flush().await;
    // Redis measures the remaining time, regardless of the time in the value.
    redis.cli(&["PEXPIRE", "test:user:7", "100000"]);
    let reply = user::with(CacheControl::new(), &b, &runs, 7).await;
    assert!(matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L2, .. }), "{:?}", reply.outcome);
    assert_eq!(runs.load(SeqCst), 1);
    user::invalidate(&b, &runs, 7).await.unwrap();
    assert_eq!(redis.cli(&["EXISTS", "test:user:7"]).trim(), "0");
}

/// Loads an image in the usual representation, a vector of bytes.
#[cached("image:{id}", ttl = "1h", cache = cache, skip(cache, runs))]
async fn image(cache: &Cache, runs: &AtomicUsize, id: u32) -> Vec<u8> {
    runs.fetch_add(1, SeqCst);
    vec![id.to_le_bytes()[0]; 5 << 20]
}

#[tokio::test]
async fn byte_vector_is_stored_without_overhead() {
    let redis = RedisServer::start();
    let (a, b, runs) = (cache_on(&redis.url()), cache_on(&redis.url()), AtomicUsize::new(0));
    let first = image(&a, &runs, 200).await;
    a.flush().await;
    assert!(image(&b, &runs, 200).await == first);
    assert_eq!(runs.load(SeqCst), 1);
    let stored: usize = redis.cli(&["STRLEN", "test:image:200"]).trim().parse().unwrap();
    assert!(stored < (5 << 20) + 200, "{stored}");
}

/// Loads a value that is too large for Redis, with a tag from the argument and one from the value.
#[cached("atlas:{id}", ttl = "1h", tags = ["atlas:{id}"], tags_from = |atlas| vec![tag!("pages:{}", atlas.len())],
    cache = cache, skip(cache, runs))]
async fn atlas(cache: &Cache, runs: &AtomicUsize, id: u32) -> Vec<String> {
    let run = runs.fetch_add(1, SeqCst);
    vec![format!("{id} {run}"), "x".repeat(10_000)]
}

#[tokio::test]
async fn oversized_value_is_loaded_once_per_process_and_invalidated_in_all() {
    let redis = RedisServer::start();
    let small = || builder_on(&redis.url()).max_value_bytes(1_000).build().unwrap();
    let (a, b, runs) = (small(), small(), AtomicUsize::new(0));
    let mut expected = 0;
    for cause in ["key", "tag", "value tag", "a foreign program"] {
        expected += 2;
        for cache in [&a, &b, &a, &b] {
            atlas(cache, &runs, 7).await;
            cache.flush().await;
        }
        // All connections are cut. The entries of each process stay valid.
        let tiers = || [&a, &b].map(|cache| cache.health().tier.unwrap());
        let before = tiers().map(|tier| tier.reconnects);
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        eventually_async("both are connected again", async || {
            let is_new = |(tier, before)| matches!(tier, TierHealth { state: TierState::Up, reconnects, .. } if reconnects > before);
            tiers().into_iter().zip(before).all(is_new)
        })
        .await;
        for cache in [&a, &b, &a, &b] {
            atlas(cache, &runs, 7).await;
            cache.flush().await;
        }
        assert_eq!(runs.load(SeqCst), expected, "before {cause}");
        match cause {
            "key" => atlas::invalidate(&b, &runs, 7).confirmed().await.unwrap(),
            "tag" => a.invalidate_tag("atlas:{}", &[&7]).confirmed().await.unwrap(),
            "value tag" => b.invalidate_tag("pages:{}", &[&2]).confirmed().await.unwrap(),
            _ => {
                redis.cli(&["DEL", "test:atlas:7"]);
                // A process that acknowledges this invalidation has been notified of the other change before.
                a.invalidate_tag("nothing", &[]).confirmed().await.unwrap();
            }
        }
    }
    atlas(&a, &runs, 7).await;
    assert_eq!(runs.load(SeqCst), expected + 1);
    assert!(redis.cli(&["STRLEN", "test:atlas:7"]).trim().parse::<usize>().unwrap() < 1_000);
}

#[tokio::test]
async fn foreign_bytes_under_a_key_are_a_miss_and_are_replaced() {
    let redis = RedisServer::start();
    let (cache, runs) = (cache_on(&redis.url()), AtomicUsize::new(0));
    let name = "test:user:7";
    let foreign_values: [&[&str]; 3] =
        [&["SET", name, "foreign"], &["SET", name, ""], &["SETRANGE", name, "30", "xx"]];
    for foreign in foreign_values {
        if foreign[0] != "SETRANGE" {
            redis.cli(&["DEL", name]);
        }
        redis.cli(foreign);
        cache.clear_local();
        let before = runs.load(SeqCst);
        assert_eq!(user(&cache, &runs, 7).await, "user 7");
        cache.flush().await;
        assert_eq!(runs.load(SeqCst), before + 1, "{foreign:?}");
        cache.clear_local();
        assert_eq!(user(&cache, &runs, 7).await, "user 7");
        assert_eq!(runs.load(SeqCst), before + 1, "{foreign:?} was not replaced");
    }
    let stats = cache.stats();
    // Redis gives the same reply for an empty string and for an absent key.
    assert_eq!((stats.unreadable, stats.shared_read_errors), (2, 0));
}

#[tokio::test]
async fn key_of_another_type_is_not_replaced_until_it_is_invalidated() {
    let redis = RedisServer::start();
    let (cache, runs) = (cache_on(&redis.url()), AtomicUsize::new(0));
    redis.cli(&["RPUSH", "test:user:7", "a", "list"]);
    assert_eq!(user(&cache, &runs, 7).await, "user 7");
    cache.flush().await;
    assert_eq!(redis.cli(&["LLEN", "test:user:7"]).trim(), "2");
    user::invalidate(&cache, &runs, 7).await.unwrap();
    user(&cache, &runs, 7).await;
    cache.flush().await;
    cache.clear_local();
    assert_eq!(user(&cache, &runs, 7).await, "user 7");
    assert_eq!(runs.load(SeqCst), 2, "after an invalidation, there is room");
}

#[cached("tagged:{id}", ttl = "1h", tags = ["id:{id}", "all"], cache = cache, skip(cache, runs))]
async fn tagged(cache: &Cache, runs: &AtomicUsize, id: u32) -> String {
    runs.fetch_add(1, SeqCst);
    format!("tagged {id}")
}

#[tokio::test]
async fn operations_take_the_expected_number_of_redis_round_trips() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port());
    let (a, b, runs) = (cache_on(&proxy.url()), cache_on(&proxy.url()), AtomicUsize::new(0));
    // Heartbeats are left out. Their keys begin with `test:%`, but not with `test:%tag`.
    let trips = || {
        let is_ours = |bytes: &Vec<u8>| {
            let text = String::from_utf8_lossy(bytes);
            ["test:user", "test:tagged", "test:n:", "test:%tag"].iter().any(|name| text.contains(name))
        };
        proxy.take_round_trips().iter().filter(|bytes| is_ours(bytes)).count()
    };
    // The first use of a script on a server uploads it.
    for cache in [&a, &b] {
        tagged(cache, &runs, 0).await;
        cache.flush().await;
        cache.clear_local();
    }
    a.invalidate_tag("all", &[]).await.unwrap();
    trips();

    user(&a, &runs, 7).await;
    a.flush().await;
    assert_eq!(trips(), 3, "a miss: two before the load, one after the caller was answered");
    user(&a, &runs, 7).await;
    assert_eq!(trips(), 0, "a hit in memory");
    user(&b, &runs, 7).await;
    assert_eq!(trips(), 1, "a hit in Redis");
    user::invalidate(&b, &runs, 7).await.unwrap();
    assert_eq!(trips(), 1, "an invalidation");

    for id in 1..100 {
        tagged(&a, &runs, id).await;
        a.flush().await;
    }
    assert_eq!(trips(), 3 * 99, "misses with tags");
    tagged(&b, &runs, 1).await;
    assert_eq!(trips(), 1, "a hit in Redis with tags");
    a.invalidate_tag("all", &[]).await.unwrap();
    assert_eq!(trips(), 1, "an invalidation of 100 entries");

    let keyspace = a.keyspace::<u32, u32>("n", Duration::from_secs(60)).unwrap();
    keyspace.set_many([(&1, 1), (&2, 2), (&3, 3)]).await.unwrap();
    assert_eq!(trips(), 2, "values that are set");
    assert_eq!(redis.cli(&["EXISTS", &keyspace.key(&1).unwrap()]), "1", "it is stored under this name");
    let keyspace = b.keyspace::<u32, u32>("n", Duration::from_secs(60)).unwrap();
    assert_eq!(keyspace.get_many(&[3, 2, 1, 0]).await, [Some(3), Some(2), Some(1), None]);
    assert_eq!(trips(), 1, "values that are looked up together");
}

#[tokio::test]
async fn calls_succeed_and_invalidation_is_not_propagated_when_redis_freezes() {
    let redis = RedisServer::start();
    let tier = RedisTier::builder(redis.url())
        .operation_timeout(Duration::from_millis(20))
        .write_timeout(Duration::from_millis(20));
    let cache = Cache::builder().namespace("test").tier(tier.build().unwrap()).build().unwrap();
    let runs = AtomicUsize::new(0);
    user(&cache, &runs, 1).await;
    redis.freeze();
    assert_eq!(user(&cache, &runs, 2).await, "user 2");
    assert!(user::with(CacheControl::new(), &cache, &runs, 1).await.outcome.is_hit());
    assert!(user::invalidate(&cache, &runs, 1).await.unwrap_err().is_not_propagated());
    redis.thaw();
    eventually_async("invalidations are resent", async || user::invalidate(&cache, &runs, 1).await.is_ok())
        .await;
}

#[tokio::test]
async fn ten_thousand_callers_of_a_key_that_redis_has_are_one_round_trip() {
    let redis = RedisServer::start();
    let (a, b, runs) = (cache_on(&redis.url()), cache_on(&redis.url()), AtomicUsize::new(0));
    user(&a, &runs, 7).await;
    a.flush().await;
    let calls = (0..10_000).map(|_| user(&b, &runs, 7));
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        calls.retain_mut(|call| call.as_mut().poll(cx).is_pending());
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    let stats = b.stats();
    assert_eq!((runs.load(SeqCst), stats.hits_l2, stats.loads), (1, 1, 0));
}

#[tokio::test]
async fn counters_are_atomic_over_processes_and_expire() {
    let redis = RedisServer::start();
    let (a, b) = (cache_on(&redis.url()), cache_on(&redis.url()));
    for expected in [1, 3, 5] {
        let cache = if expected == 3 { &b } else { &a };
        let by = if expected == 1 { 1 } else { 2 };
        assert_eq!(cache.incr("logins", "ada", by, Some(Duration::from_secs(100))).await.unwrap(), expected);
    }
    let name = redis.cli(&["KEYS", "test:logins:*"]);
    let left: i64 = redis.cli(&["PTTL", name.trim()]).trim().parse().unwrap();
    assert!((1..=100_000).contains(&left), "{left}");
}

#[cached("brief:{id}", ttl = "50ms", stale = "8s", cache = cache, skip(cache, runs))]
async fn brief(cache: &Cache, runs: &Arc<AtomicUsize>, id: u32) -> Result<u32, String> {
    // Only the first load succeeds.
    if runs.fetch_add(1, SeqCst) == 0 { Ok(id) } else { Err("down".to_owned()) }
}

/// The life of the stale value is shorter than the lease of the load that is to replace it.
#[tokio::test]
async fn a_load_that_fails_does_not_take_away_the_stale_value_that_it_was_to_replace() {
    let redis = RedisServer::start();
    let (a, b) = (cache_on(&redis.url()), cache_on(&redis.url()));
    let runs = &Arc::new(AtomicUsize::new(0));
    assert_eq!(brief(&a, runs, 7).await, Ok(7));
    a.flush().await;
    // The ttl is over in each process. The other one counts from the time at which the server received the
    // value.
    for cache in [&a, &b] {
        eventually_async("it is stale", async || {
            let reply = brief::with(CacheControl::new(), cache, runs, 7).await;
            reply.value == Ok(7) && matches!(reply.outcome, CacheOutcome::Stale { .. })
        })
        .await;
        eventually_async("its load has ended", async || cache.stats().in_flight == 0).await;
        cache.flush().await;
    }
    assert!(a.stats().load_errors >= 1);
    for cache in [&a, &b, &a, &b] {
        let reply = brief::with(CacheControl::new(), cache, runs, 7).await;
        assert_eq!(reply.value, Ok(7));
        assert!(matches!(reply.outcome, CacheOutcome::Stale { .. }), "{:?}", reply.outcome);
        cache.flush().await;
    }
}

/// Two processes warm the same keys at the same time.
#[tokio::test]
async fn each_key_is_warmed_once_over_all_processes() {
    let redis = RedisServer::start();
    let runs = Arc::new(AtomicUsize::new(0));
    let of = |cache: Cache| {
        let runs = runs.clone();
        tokio::spawn(async move {
            let report = warm(0..200, |id| user::warm(&cache, &runs, id)).concurrency(20).await;
            cache.flush().await;
            (report, cache)
        })
    };
    let (a, b) = (of(cache_on(&redis.url())), of(cache_on(&redis.url())));
    let ((a, _), (b, cache)) = (a.await.unwrap(), b.await.unwrap());
    assert_eq!((a.done(), b.done(), a.loaded + b.loaded), (200, 200, 200), "{a}; {b}");
    assert_eq!(runs.load(SeqCst), 200);
    // A process that starts later has nothing to load, and has all values in memory afterwards.
    let third = cache_on(&redis.url());
    let report = warm(0..200, |id| user::warm(&third, &runs, id)).await;
    assert_eq!((report.present, third.stats().hits_l2), (200, 200), "{report}");
    // Where both processes asked for a key at the same time, the push of a change may overtake the reply with the
    // value. That value is not kept in memory, but the next one is.
    let outcome = user::with(CacheControl::new(), &cache, &runs, 77).await.outcome;
    assert!(matches!(outcome, CacheOutcome::Hit { .. }), "{outcome:?}");
    for cache in [&cache, &third] {
        let outcome = user::with(CacheControl::new(), cache, &runs, 77).await.outcome;
        assert!(matches!(outcome, CacheOutcome::Hit { tier: Layer::L1, .. }), "{outcome:?}");
    }
    assert_eq!(runs.load(SeqCst), 200);
}

#[cached("hot:{id}", ttl = "1h", keep_warm = 10, cache = cache, skip(cache, runs))]
async fn hot(cache: &Cache, runs: &Arc<AtomicUsize>, id: u32) -> usize {
    let _ = id;
    runs.fetch_add(1, SeqCst) + 1
}

/// Two processes use a key. One of them loads it again, and both get the new value.
#[tokio::test]
async fn hot_key_is_renewed_by_one_load_over_all_processes() {
    let redis = RedisServer::start();
    let (clock, runs) = (ManualClock::new(), Arc::new(AtomicUsize::new(0)));
    let cache = || {
        let tier = RedisTier::builder(redis.url()).operation_timeout(PATIENCE).write_timeout(PATIENCE);
        Cache::builder().namespace("test").tier(tier.build().unwrap()).clock(clock.clock()).build().unwrap()
    };
    let (a, b) = (cache(), cache());
    for cache in [&a, &b, &a, &b] {
        assert_eq!(hot(cache, &runs, 7).await, 1);
        cache.flush().await;
    }
    clock.advance(Duration::from_secs(54 * 60));
    // `peek` does not load.
    eventually_async("both have the new value", async || {
        hot::peek(&a, &runs, 7).await == Some(2) && hot::peek(&b, &runs, 7).await == Some(2)
    })
    .await;
    a.flush().await;
    b.flush().await;
    let sum = |count: fn(&Stats) -> u64| count(&a.stats()) + count(&b.stats());
    assert_eq!((sum(|stats| stats.loads), sum(|stats| stats.misses)), (2, 1));
    assert!(sum(|stats| stats.kept_warm) >= 1);
    assert_eq!(runs.load(SeqCst), 2);
}

#[test]
fn use_redis_returns_the_same_cache_for_equal_settings() {
    // Nothing is requested from these addresses.
    let use_redis =
        |port: u16, namespace| cached_aside::use_redis(&format!("redis://127.0.0.1:{port}"), namespace);
    let one = use_redis(1, "again").unwrap();
    assert!(std::ptr::eq(one, use_redis(1, "again").unwrap()));
    for (port, namespace) in [(2, "again"), (1, "another")] {
        assert!(use_redis(port, namespace).unwrap_err().is_installed());
    }
    assert!(std::ptr::eq(one, use_redis(1, "again").unwrap()));
}

#[test]
fn default_namespace_of_a_shared_cache_is_the_program_name() {
    let name = |cache: Cache| cache.keyspace::<u32, u32>("n", PATIENCE).unwrap().key(&1).unwrap();
    let tier = RedisTier::builder("redis://127.0.0.1:1").build().unwrap();
    let shared = name(Cache::builder().tier(tier).build().unwrap());
    // The name of this test program, with the suffix that cargo adds.
    assert!(shared.starts_with("end_to_end-") && shared.contains(":n:"), "{shared}");
    let alone = name(Cache::builder().build().unwrap());
    assert!(alone.starts_with("cached-aside:n:"), "{alone}");
}

#[cached("scarce:{id}", ttl = "1h", max_loads = 1, cache = cache, skip(cache, source))]
async fn scarce(cache: &Cache, source: &GatedSource, id: u32) -> u32 {
    source.runs.fetch_add(1, SeqCst);
    source.gate.acquire().await.unwrap().forget();
    id
}

/// Loads that end as a test lets them through.
#[derive(Clone)]
struct GatedSource {
    runs: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl GatedSource {
    fn with(permits: usize) -> Self {
        Self { runs: Arc::default(), gate: Arc::new(Semaphore::new(permits)) }
    }
}

/// A lease in the queue of one process would keep every other one from loading.
#[tokio::test]
async fn process_without_free_permits_takes_no_lease() {
    let redis = RedisServer::start();
    let (a, b) = (cache_on(&redis.url()), cache_on(&redis.url()));
    let (busy, idle) = (GatedSource::with(0), GatedSource::with(Semaphore::MAX_PERMITS));
    let spawn_call = |id| {
        let (cache, busy) = (a.clone(), busy.clone());
        tokio::spawn(async move { scarce(&cache, &busy, id).await })
    };
    let first = spawn_call(1);
    eventually_async("the only permit is taken", async || busy.runs.load(SeqCst) == 1).await;
    let queued = spawn_call(2);
    let lookups = || a.stats_by_function().iter().map(|function| function.lookup.count).sum::<u64>();
    eventually_async("the next one has asked Redis", async || lookups() == 2).await;
    let elsewhere = timeout(PATIENCE, scarce(&b, &idle, 2));
    assert_eq!(elsewhere.await, Ok(2));
    b.flush().await;
    // The queued caller gets that value, although no permit is free.
    assert_eq!(timeout(PATIENCE, queued).await.unwrap().unwrap(), 2);
    assert_eq!((busy.runs.load(SeqCst), idle.runs.load(SeqCst)), (1, 1));
    busy.gate.add_permits(1);
    assert_eq!(first.await.unwrap(), 1);
}

/// Writes a lease under a key, like a process that has died since.
///
/// The lease ends `ahead_ms` milliseconds after the server's time.
fn write_orphaned_lease(redis: &RedisServer, key: &str, value: &str, ahead_ms: u64) {
    let script = "local time = redis.call('TIME') \
        local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2] \
        local lease = string.rep('x', 16) .. struct.pack('>I8', ends) \
        local rest = string.rep('\\0', 16) .. '\\1' .. '\\255aside\\2' \
        redis.call('SET', KEYS[1], ARGV[1] .. lease .. rest, 'PX', 86400000) return 1";
    let done = redis.cli(&["EVAL", script, "1", key, value, &ahead_ms.to_string()]);
    assert_eq!(done.trim(), "1");
}

/// The server's clock was set back after the lease was taken, or a replica with another clock took over.
#[tokio::test]
async fn lease_with_absurd_end_delays_a_load_only_briefly() {
    const HOUR_MS: u64 = 60 * 60 * 1000;

    let redis = RedisServer::start();
    let tier = RedisTier::builder(redis.url()).operation_timeout(PATIENCE).write_timeout(PATIENCE).build();
    let cache = Cache::builder().namespace("test").lease(Duration::from_millis(100)).tier(tier.unwrap());
    let (cache, runs) = (cache.build().unwrap(), AtomicUsize::new(0));
    for (id, value) in [(7, ""), (8, "a value that cannot be read")] {
        let key = format!("test:user:{id}");
        write_orphaned_lease(&redis, &key, value, HOUR_MS);
        let call = timeout(PATIENCE, user(&cache, &runs, id));
        assert_eq!(call.await, Ok(format!("user {id}")), "{value:?}");
        cache.flush().await;
        cache.clear_local();
        // The value is shared.
        assert_eq!(user(&cache, &runs, id).await, format!("user {id}"));
    }
    assert_eq!(runs.load(SeqCst), 2);
}

#[cached("ahead:{id}", ttl = "1h", refresh_ahead = 0.8, cache = cache, skip(cache, source))]
async fn ahead(cache: &Cache, source: &GatedSource, id: u32) -> u32 {
    source.runs.fetch_add(1, SeqCst);
    source.gate.acquire().await.unwrap().forget();
    id
}

/// A wall clock that is 50 minutes ahead must not cause a fresh value to be loaded again.
#[tokio::test]
async fn the_age_of_a_value_does_not_depend_on_wall_clocks() {
    let redis = RedisServer::start();
    let (clock, source) = (WrongClock::new(), GatedSource::with(Semaphore::MAX_PERMITS));
    clock.step(50 * 60 * 1000);
    let tier = RedisTier::builder(redis.url()).operation_timeout(PATIENCE).write_timeout(PATIENCE).build();
    let b = Cache::builder().namespace("test").clock(clock.clock()).tier(tier.unwrap()).build().unwrap();
    let a = cache_on(&redis.url());
    ahead(&a, &source, 7).await;
    a.flush().await;
    for tier in [Layer::L2, Layer::L1] {
        let reply = ahead::with(CacheControl::new(), &b, &source, 7).await;
        let CacheOutcome::Hit { tier: from, age } = reply.outcome else { panic!("{:?}", reply.outcome) };
        assert_eq!(from, tier);
        assert!(age < Duration::from_secs(10 * 60), "{age:?}");
    }
    // A renewal would be in progress, or over.
    assert_eq!((b.stats().in_flight, source.runs.load(SeqCst)), (0, 1));
}

/// The bound is half a second. Without new proofs, the last one would soon be too old, and an entry would be
/// checked again.
#[tokio::test]
async fn hits_in_memory_keep_the_feed_live_and_a_pause_costs_one_revalidation() {
    let redis = RedisServer::start();
    let tier =
        RedisTier::builder(redis.url()).operation_timeout(PATIENCE).write_timeout(PATIENCE).build().unwrap();
    let bound = Duration::from_millis(500);
    let cache = Cache::builder().namespace("test").staleness_bound(bound).tier(tier).build().unwrap();
    let runs = AtomicUsize::new(0);
    user(&cache, &runs, 7).await;
    cache.flush().await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(8) {
        user(&cache, &runs, 7).await;
        sleep(Duration::from_millis(5)).await;
    }
    let busy = cache.stats();
    // A pause of the machine that is longer than the bound is tolerated.
    assert!(busy.revalidated <= 2, "{busy:?}");

    eventually_async("no more requests are sent", async || {
        let calls = redis.cli(&["INFO", "commandstats"]);
        sleep(Duration::from_millis(1500)).await;
        let later = redis.cli(&["INFO", "commandstats"]);
        let of_tier = |stats: &str| {
            let is_own = |line: &&str| {
                !["info", "client", "hello"]
                    .iter()
                    .any(|command| line.starts_with(&format!("cmdstat_{command}")))
            };
            stats
                .lines()
                .filter(is_own)
                .map(|line| line.split(',').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        of_tier(&calls) == of_tier(&later)
    })
    .await;
    for _ in 0..10 {
        user(&cache, &runs, 7).await;
    }
    let stats = cache.stats();
    assert_eq!(stats.revalidated, busy.revalidated + 1, "{stats:?}");
    assert_eq!(runs.load(SeqCst), 1);
}

#[tokio::test]
async fn get_many_splits_keys_into_batches() {
    const MANY: u64 = 20_000;
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port());
    let cache = cache_on(&proxy.url());
    let prices = cache.keyspace::<u64, u64>("price", PATIENCE * 100).unwrap();
    prices.set(&MANY, 0).await.unwrap();
    let keys: Vec<_> = (0..MANY).collect();
    prices.set_many(keys.iter().map(|key| (key, key + 1))).await.unwrap();
    cache.clear_local();
    proxy.take_round_trips();
    let found = prices.get_many(&keys).await;
    assert!(found.iter().zip(0..).all(|(value, key)| *value == Some(key + 1)));
    let round_trips = proxy.take_round_trips().len();
    assert!(round_trips as u64 >= MANY / 256, "{round_trips} round trips");
}

/// A refresh replaces a value with little time left, while other callers still get that value.
#[tokio::test]
async fn nearly_expired_value_is_served_while_it_is_refreshed() {
    let redis = RedisServer::start();
    let (a, b) = (cache_on(&redis.url()), cache_on(&redis.url()));
    let load = async |cache: &Cache, terms: CacheControl, held: &Semaphore, runs: &AtomicUsize| {
        nearly_over::with(terms, cache, held, runs).await.outcome
    };
    let (open, held, runs) = (Semaphore::new(9), Semaphore::new(0), AtomicUsize::new(0));
    load(&a, CacheControl::new(), &open, &runs).await;
    a.flush().await;
    load(&b, CacheControl::new(), &open, &runs).await;
    let refreshed = load(&a, CacheControl::no_cache(), &held, &runs);
    let other_call = async {
        eventually_async("the refresh has begun", async || runs.load(SeqCst) == 2).await;
        let outcome = timeout(PATIENCE, load(&b, CacheControl::new(), &open, &runs)).await;
        held.add_permits(1);
        outcome.expect("it does not wait")
    };
    let (_, outcome) = tokio::join!(refreshed, other_call);
    assert!(matches!(outcome, CacheOutcome::Hit { .. }), "{outcome:?}");
    assert_eq!(runs.load(SeqCst), 2);
}

/// The ttl is shorter than a lease.
#[cached("nearly-over", ttl = "9s", detach = false, cache = cache, skip(cache, held, runs))]
async fn nearly_over(cache: &Cache, held: &Semaphore, runs: &AtomicUsize) -> u8 {
    runs.fetch_add(1, SeqCst);
    held.acquire().await.unwrap().forget();
    1
}
