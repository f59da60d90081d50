//! Failing loads over several processes: caches with one redis-server.

use std::{io, time::Duration};

use cached_aside::{Cache, RedisTier, SharedLoadError, cached};
use redis_harness::{RedisServer, eventually_async};
use tokio::task::{JoinHandle, yield_now};

use crate::support::{Closed, Source};

/// Timeout that is so long that no result depends on how busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

const CACHES: usize = 4;

async fn fleet(redis: &RedisServer) -> Vec<Cache> {
    let mut caches = Vec::new();
    for _ in 0..CACHES {
        let tier =
            RedisTier::builder(redis.url()).operation_timeout(PATIENCE).write_timeout(PATIENCE).build();
        let cache =
            Cache::builder().namespace("test").tier(tier.unwrap()).lease(3 * PATIENCE).build().unwrap();
        let counters = cache.clone();
        eventually_async("Redis is reached", async || counters.incr("up", "", 1, None).await.is_ok()).await;
        caches.push(cache);
    }
    caches
}

/// Starts this number of calls of one key in each process.
///
/// Returns their handles when all of them wait, and the first load has begun.
async fn start_calls<T: Send + 'static, F>(
    redis: &RedisServer,
    source: &Source,
    callers: usize,
    call: impl Fn(Cache) -> F,
) -> Vec<JoinHandle<T>>
where
    F: Future<Output = T> + Send + 'static,
{
    let mut calls = Vec::new();
    for cache in fleet(redis).await {
        calls.extend((0..callers).map(|_| tokio::spawn(call(cache.clone()))));
        // The first process holds the lease by then, and the leaders of the others know that it is taken.
        let has_looked_up = || cache.stats_by_function().iter().any(|function| function.lookup.count > 0);
        while cache.stats().waiting < callers as u64 - 1 || !has_looked_up() || source.runs() == 0 {
            yield_now().await;
        }
    }
    assert_eq!(source.runs(), 1);
    calls
}

async fn join_all<T>(calls: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    results
}

/// Returns the results of all callers, if the first load ends while all of them wait.
async fn call_concurrently<T: Send + 'static, F>(
    source: &Source,
    callers: usize,
    call: impl Fn(Cache) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let redis = RedisServer::start();
    let calls = start_calls(&redis, source, callers, call).await;
    source.release_all();
    join_all(calls).await
}

#[cached("anyhow", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_anyhow(cache: Cache, source: Source) -> anyhow::Result<u32> {
    source.run().await;
    Err(anyhow::Error::new(Closed).context("no rate"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn displayable_error_is_loaded_once_over_all_processes() {
    let source = Source::gated();
    let results = call_concurrently(&source, 1_000, |cache| fails_with_anyhow(cache, source.clone())).await;
    assert_eq!((results.len(), source.runs()), (4_000, 1));
    for error in results.into_iter().map(Result::unwrap_err) {
        assert_eq!(format!("{error:#}"), "no rate: the bank is closed");
    }
}

/// Error that cannot be made from text.
#[derive(Debug, PartialEq)]
struct Stubborn;

impl std::fmt::Display for Stubborn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("out of order")
    }
}

impl std::error::Error for Stubborn {}

impl From<SharedLoadError> for Stubborn {
    fn from(_: SharedLoadError) -> Self {
        panic!("it has no text")
    }
}

#[cached("stubborn", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_stubborn(cache: Cache, source: Source) -> Result<u32, Stubborn> {
    source.run().await;
    Err(Stubborn)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_conversion_of_another_process_error_reaches_no_caller() {
    let source = Source::gated();
    let results = call_concurrently(&source, 3, |cache| fails_with_stubborn(cache, source.clone())).await;
    assert!(results.into_iter().all(|result| result == Err(Stubborn)));
}

#[cached("io", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_io(cache: Cache, source: Source) -> io::Result<u32> {
    source.run().await;
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "x".repeat(10_000)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_io_error_keeps_kind_and_truncates_text() {
    let source = Source::gated();
    let results = call_concurrently(&source, 10, |cache| fails_with_io(cache, source.clone())).await;
    assert_eq!(source.runs(), 1);
    let mut whole = 0;
    for error in results.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let message = error.to_string();
        whole += usize::from(message.len() == 10_000);
        assert!(message.len() == 10_000 || message.len() <= 4_096 && message.ends_with("xx…"));
    }
    assert_eq!(whole, 10, "in its own process it is whole");
}

#[derive(Clone, Debug, PartialEq)]
struct Busy(usize);

/// Fails until the load with the number `heal`.
#[cached("clone:{heal}", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_busy(cache: Cache, source: Source, heal: usize) -> Result<usize, Busy> {
    let run = source.run().await;
    if run >= heal { Ok(run) } else { Err(Busy(run)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clone_only_error_is_loaded_once_per_process() {
    let source = Source::gated();
    let results =
        call_concurrently(&source, 1_000, |cache| fails_with_busy(cache, source.clone(), usize::MAX)).await;
    assert_eq!((results.len(), source.max_running()), (4_000, 1));
    assert_eq!(source.runs(), CACHES, "each process has an error of its own");
    let is_of_a_load =
        |result: &Result<usize, Busy>| matches!(result, Err(Busy(run)) if *run <= source.runs());
    assert!(results.iter().all(is_of_a_load));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_the_first_successful_load() {
    let source = Source::gated();
    let results = call_concurrently(&source, 1_000, |cache| fails_with_busy(cache, source.clone(), 2)).await;
    assert_eq!((source.runs(), source.max_running()), (2, 1));
    assert_eq!(results.iter().filter(|result| **result == Ok(2)).count(), 3_000);
}

#[derive(Debug)]
struct OpaqueError;

#[cached("own", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails_with_opaque_error(cache: Cache, source: Source) -> Result<u32, OpaqueError> {
    source.run().await;
    Err(OpaqueError)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unshareable_error_is_loaded_one_at_a_time_over_all_processes() {
    let source = Source::gated();
    let results = call_concurrently(&source, 2, |cache| fails_with_opaque_error(cache, source.clone())).await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!((source.runs(), source.max_running()), (2 * CACHES, 1));
}

/// Looks up a row that does not exist.
#[cached("none", ttl = "1h", cache = cache, skip(cache, source))]
async fn returns_none(cache: Cache, source: Source) -> Option<u32> {
    source.run().await;
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_load_concurrently_after_a_load_stores_nothing() {
    let source = Source::gated();
    let redis = RedisServer::start();
    let calls = start_calls(&redis, &source, 10, |cache| returns_none(cache, source.clone())).await;
    source.release(1);
    // No process waits for the load of another one a second time.
    eventually_async("all others load", async || source.running() == CACHES - 1).await;
    source.release_all();
    assert_eq!(join_all(calls).await, vec![None; 10 * CACHES]);
}
