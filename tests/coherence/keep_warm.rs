//! Keep-warm: the most used keys are loaded again before they expire.

use cached_aside::{
    Cache, CacheControl, CacheOutcome, Layer, Mode, cached,
    testing::{FakeTier, ManualClock},
};
use tokio::runtime;

use crate::support::{Pair, SECOND, Source, settle, wait_until};

#[cached("hot:{id}", ttl = "100s", keep_warm = 3, cache = cache, skip(cache, source))]
async fn hot(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    source.try_load().await
}

#[cached("hot-stale:{id}", ttl = "100s", stale = "100s", keep_warm = 3, cache = cache, skip(cache, source))]
async fn stale(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    source.try_load().await
}

#[cached("hot-ahead:{id}", ttl = "100s", refresh_ahead = 0.6, keep_warm = 3, cache = cache, skip(cache, source))]
async fn ahead(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("hot-few:{id}", ttl = "100s", max_loads = 1, keep_warm = 3, cache = cache, skip(cache, source))]
async fn few(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("hot-many:{id}", ttl = "100s", keep_warm = 100, cache = cache, skip(cache, source))]
async fn many(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("hot-local:{id}", ttl = "100s", local, keep_warm = 3, cache = cache, skip(cache, source))]
async fn local(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("hot-error:{id}", ttl = "100s", cache_err = "100s", keep_warm = 3, cache = cache, skip(cache, source))]
async fn error(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    source.try_load().await
}

#[cached("hot-tagged:{id}", ttl = "100s", tags = ["hot-tag:{id}"], keep_warm = 3, cache = cache, skip(cache, source))]
async fn tagged(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

/// Loads the key, and then hits it `hits` times.
async fn load_and_hit(cache: &Cache, source: &Source, id: u32, hits: usize) {
    hot(cache, source, id).await.unwrap();
    cache.flush().await;
    for _ in 0..hits {
        hot(cache, source, id).await.unwrap();
    }
}

/// Returns the value of an L1 hit. The call must not load.
async fn hit(cache: &Cache, source: &Source, id: u32) -> usize {
    let runs = source.runs();
    let reply = hot::with(CacheControl::new(), cache, source, id).await;
    assert!(matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L1, .. }), "{:?}", reply.outcome);
    assert_eq!(source.runs(), runs);
    reply.value.unwrap()
}

/// Waits until everything that has begun is over.
async fn wait_until_idle(pair: &Pair) {
    settle().await;
    wait_until(|| pair.a.stats().in_flight + pair.b.stats().in_flight == 0).await;
    pair.flush().await;
    settle().await;
}

/// Moves the clock forward, and waits until the renewals that are due are over.
async fn advance(pair: &Pair, seconds: u32) {
    pair.clock.advance(seconds * SECOND);
    wait_until_idle(pair).await;
}

#[tokio::test]
async fn hot_key_is_renewed_before_it_expires_without_a_call() {
    let (pair, source) = (Pair::new(), Source::open());
    load_and_hit(&pair.a, &source, 7, 1).await;
    source.write();
    advance(&pair, 74).await;
    assert_eq!(source.runs(), 1);
    advance(&pair, 16).await;
    assert_eq!((source.runs(), pair.a.stats().kept_warm), (2, 1));
    assert_eq!(hit(&pair.a, &source, 7).await, 2);
    // The new value is like any other: shared with all processes, and with a ttl of its own.
    advance(&pair, 50).await;
    assert_eq!((hit(&pair.a, &source, 7).await, hot(&pair.b, &source, 7).await), (2, Ok(2)));
    assert_eq!(source.runs(), 2);
    let stats = pair.a.stats_by_function().into_iter().find(|one| one.function == "hot:{}").unwrap();
    assert_eq!((stats.kept_warm, stats.loads, stats.misses), (1, 2, 1));
}

#[tokio::test]
async fn key_without_a_hit_is_not_renewed() {
    let (pair, source) = (Pair::new(), Source::open());
    load_and_hit(&pair.a, &source, 7, 0).await;
    advance(&pair, 99).await;
    assert_eq!((source.runs(), pair.a.stats().kept_warm, source.handles()), (1, 0, 1));
}

/// Renewals end: a key that was not used since its last two renewals is dropped.
#[tokio::test]
async fn unused_key_is_dropped_after_two_renewals() {
    let (pair, source) = (Pair::new(), Source::open());
    load_and_hit(&pair.a, &source, 7, 100).await;
    for runs in [2, 3, 3, 3] {
        advance(&pair, 90).await;
        assert_eq!(source.runs(), runs);
    }
    assert_eq!(source.handles(), 1, "no copies of its arguments are left");
    // One use in two lifetimes is enough.
    load_and_hit(&pair.a, &source, 8, 1).await;
    for _ in 0..6 {
        advance(&pair, 90).await;
        advance(&pair, 90).await;
        hit(&pair.a, &source, 8).await;
    }
    assert_eq!(source.runs(), 3 + 1 + 12);
}

#[tokio::test]
async fn pool_keeps_only_the_most_used_keys() {
    let (pair, source) = (Pair::new(), Source::open());
    for (id, hits) in [(1, 1), (2, 40), (3, 2), (4, 20), (5, 3), (6, 9)] {
        load_and_hit(&pair.a, &source, id, hits).await;
        assert!(source.handles() <= 4, "{}", source.handles());
    }
    assert_eq!(source.runs(), 6);
    source.write();
    advance(&pair, 90).await;
    assert_eq!((source.runs(), pair.a.stats().kept_warm), (9, 3));
    for (id, version) in [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1), (6, 2)] {
        assert_eq!(hit(&pair.a, &source, id).await, version, "{id}");
    }
}

#[tokio::test]
async fn formerly_hot_key_makes_room_for_a_hot_one() {
    let (pair, source) = (Pair::new(), Source::open());
    for id in 1..=3 {
        load_and_hit(&pair.a, &source, id, 40).await;
    }
    // The keys stay in use, but with a single hit each time.
    for _ in 0..5 {
        advance(&pair, 90).await;
        for id in 1..=3 {
            hit(&pair.a, &source, id).await;
        }
    }
    let before = source.runs();
    load_and_hit(&pair.a, &source, 4, 8).await;
    source.write();
    advance(&pair, 90).await;
    assert_eq!(source.runs(), before + 1 + 3);
    assert_eq!(hit(&pair.a, &source, 4).await, 2);
}

#[tokio::test]
async fn failed_renewal_leaves_the_old_value_and_is_retried() {
    let (pair, source) = (Pair::new(), Source::open());
    load_and_hit(&pair.a, &source, 7, 1).await;
    source.fail(true);
    advance(&pair, 90).await;
    assert_eq!((source.runs(), pair.a.stats().load_errors), (2, 1));
    assert_eq!((hot(&pair.a, &source, 7).await, source.runs()), (Ok(1), 2));
    source.fail(false);
    source.write();
    advance(&pair, 2).await;
    assert_eq!((hit(&pair.a, &source, 7).await, source.runs()), (2, 3));
}

/// An invalidation marks the value as wrong, and more invalidations often follow. So the value is loaded by
/// the next call, and not by a renewal.
#[tokio::test]
async fn invalidated_key_is_loaded_by_the_next_call() {
    for is_elsewhere in [false, true] {
        let (pair, source) = (Pair::new(), Source::open());
        let there = if is_elsewhere { &pair.b } else { &pair.a };
        load_and_hit(&pair.a, &source, 7, 1).await;
        hot::invalidate(there, &source, 7).await.unwrap();
        advance(&pair, 95).await;
        assert_eq!(source.runs(), 1);
        source.write();
        load_and_hit(&pair.a, &source, 7, 1).await;
        advance(&pair, 90).await;
        assert_eq!((source.runs(), hit(&pair.a, &source, 7).await), (3, 2));
    }
    // The key keeps its place while no value is cached.
    let (pair, source) = (Pair::new(), Source::open());
    load_and_hit(&pair.a, &source, 7, 1).await;
    hot::invalidate(&pair.b, &source, 7).await.unwrap();
    hot(&pair.a, &source, 7).await.unwrap();
    advance(&pair, 90).await;
    assert_eq!(source.runs(), 3);
    // Tags and `clear` have the same effect.
    let source = Source::open();
    for id in 0..2 {
        tagged(&pair.a, &source, 7 + id).await;
        pair.flush().await;
        tagged(&pair.a, &source, 7 + id).await;
    }
    pair.b.invalidate_tag("hot-tag:{}", &[&7]).await.unwrap();
    advance(&pair, 90).await;
    assert_eq!(source.runs(), 3, "the other one");
    pair.b.clear().await.unwrap();
    advance(&pair, 95).await;
    assert_eq!(source.runs(), 3);
}

#[tokio::test]
async fn overtaken_renewal_is_not_stored() {
    for is_elsewhere in [false, true] {
        let (pair, source) = (Pair::new(), Source::gated());
        let there = if is_elsewhere { &pair.b } else { &pair.a };
        source.release(1);
        load_and_hit(&pair.a, &source, 7, 1).await;
        pair.clock.advance(90 * SECOND);
        wait_until(|| source.runs() == 2).await;
        source.write();
        hot::invalidate(there, &source, 7).await.unwrap();
        source.release(9);
        settle().await;
        pair.flush().await;
        assert_eq!(hot::peek(&pair.a, &source, 7).await, None);
        assert_eq!((hot(&pair.a, &source, 7).await, source.runs()), (Ok(2), 3));
    }
}

#[tokio::test]
async fn key_is_renewed_by_one_load_over_all_processes() {
    let (pair, source) = (Pair::new(), Source::open());
    for cache in [&pair.a, &pair.b] {
        load_and_hit(cache, &source, 7, 1).await;
    }
    assert_eq!(source.runs(), 1);
    for version in 2..6 {
        source.write();
        advance(&pair, 90).await;
        assert_eq!(source.runs(), version);
        for cache in [&pair.a, &pair.b] {
            assert_eq!(hit(cache, &source, 7).await, version);
        }
    }
    // One load is also enough if the renewals of the two processes are due at different times.
    for _ in 0..40 {
        for cache in [&pair.a, &pair.b] {
            hot(cache, &source, 7).await.unwrap();
        }
        advance(&pair, 9).await;
    }
    let runs = source.runs() - 5;
    assert!((4..=5).contains(&runs), "{runs} loads in 360 s");
    assert!(pair.a.stats().misses + pair.b.stats().misses == 1);
}

#[tokio::test]
async fn renewal_counts_toward_max_loads() {
    let (pair, source) = (Pair::new(), Source::gated());
    source.release(3);
    for id in 0..3 {
        few(&pair.a, &source, id).await;
        pair.flush().await;
        few(&pair.a, &source, id).await;
    }
    pair.clock.advance(90 * SECOND);
    wait_until(|| source.runs() == 4).await;
    settle().await;
    assert_eq!((source.runs(), pair.a.stats().kept_warm), (4, 3));
    source.release(9);
    wait_until(|| source.runs() == 6).await;
    wait_until_idle(&pair).await;
}

#[tokio::test]
async fn renewals_are_spread_over_time() {
    let (pair, source) = (Pair::new(), Source::open());
    for id in 0..50 {
        many(&pair.a, &source, id).await;
        pair.flush().await;
        many(&pair.a, &source, id).await;
    }
    advance(&pair, 82).await;
    let first = source.runs() - 50;
    assert!((5..45).contains(&first), "{first} of 50");
    advance(&pair, 8).await;
    assert_eq!(source.runs(), 100);
}

#[tokio::test]
async fn renewal_precedes_refresh_ahead() {
    let (pair, source) = (Pair::new(), Source::open());
    ahead(&pair.a, &source, 7).await;
    pair.flush().await;
    ahead(&pair.a, &source, 7).await;
    advance(&pair, 49).await;
    assert_eq!(source.runs(), 1);
    advance(&pair, 11).await;
    assert_eq!((source.runs(), pair.a.stats().kept_warm), (2, 1));
}

#[tokio::test]
async fn stale_value_is_renewed_after_a_failed_renewal() {
    let (pair, source) = (Pair::new(), Source::open());
    stale(&pair.a, &source, 7).await.unwrap();
    pair.flush().await;
    stale(&pair.a, &source, 7).await.unwrap();
    source.fail(true);
    advance(&pair, 90).await;
    assert_eq!(source.runs(), 2);
    source.fail(false);
    source.write();
    // The next attempt follows after a tenth of the time for which the value may be served stale.
    advance(&pair, 9).await;
    assert_eq!(source.runs(), 2);
    advance(&pair, 2).await;
    assert_eq!((source.runs(), stale(&pair.a, &source, 7).await), (3, Ok(2)));
}

#[tokio::test]
async fn keys_are_renewed_in_an_outage() {
    let (pair, source) = (Pair::new(), Source::open());
    load_and_hit(&pair.a, &source, 7, 1).await;
    pair.tier_a.set_down(true);
    source.write();
    advance(&pair, 90).await;
    assert_eq!((source.runs(), hot(&pair.a, &source, 7).await), (2, Ok(2)));
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn uses_with_cache_control_and_of_local_functions_count() {
    let (pair, source) = (Pair::new(), Source::open());
    let call = |id| hot::with(CacheControl::new(), &pair.a, &source, id);
    for id in [7, 7] {
        call(id).await.value.unwrap();
        pair.flush().await;
    }
    // A call that only looks does not count as a use.
    call(8).await.value.unwrap();
    pair.flush().await;
    assert!(hot::peek(&pair.a, &source, 8).await.is_some() && hot::key(&pair.a, &source, 8).is_ok());
    advance(&pair, 90).await;
    assert_eq!(source.runs(), 3);

    let source = Source::open();
    let cache = Cache::builder().clock(pair.clock.clock()).build().unwrap();
    for _ in 0..2 {
        local(&cache, &source, 7).await;
    }
    pair.clock.advance(90 * SECOND);
    wait_until(|| source.runs() == 2).await;
}

#[tokio::test]
async fn errors_are_not_renewed_and_a_cache_that_is_off_renews_nothing() {
    let (pair, source) = (Pair::new(), Source::open());
    source.fail(true);
    for _ in 0..2 {
        error(&pair.a, &source, 7).await.unwrap_err();
        pair.flush().await;
    }
    advance(&pair, 95).await;
    assert_eq!(source.runs(), 1);
    // Errors are not renewed either if there was a value before.
    source.fail(false);
    error::invalidate(&pair.a, &source, 8).await.unwrap();
    for _ in 0..2 {
        error(&pair.a, &source, 8).await.unwrap();
        pair.flush().await;
    }
    error::invalidate(&pair.a, &source, 8).await.unwrap();
    source.fail(true);
    error(&pair.a, &source, 8).await.unwrap_err();
    advance(&pair, 95).await;
    assert_eq!(source.runs(), 3);

    let source = Source::open();
    load_and_hit(&pair.a, &source, 7, 1).await;
    pair.a.set_mode(Mode::Off);
    advance(&pair, 90).await;
    assert_eq!(source.runs(), 1);
}

/// A cache is not kept alive by the keys that it keeps warm, although the functions take the cache as an
/// argument.
#[tokio::test]
async fn renewals_end_when_the_cache_is_dropped() {
    let (pair, source) = (Pair::new(), Source::open());
    for cache in [&pair.a, &pair.b] {
        load_and_hit(cache, &source, 7, 1).await;
    }
    // The tasks wait for the first time at which a key is due.
    settle().await;
    let Pair { a, b, clock, .. } = pair;
    assert!(source.handles() > 2);
    drop((a, b));
    wait_until(|| source.handles() == 1).await;
    clock.advance(90 * SECOND);
    settle().await;
    assert_eq!(source.runs(), 1);
}

#[test]
fn renewals_end_with_their_runtime_and_restart_on_another() {
    let (clock, source) = (ManualClock::new(), Source::open());
    let cache = Cache::builder().tier(FakeTier::new(&clock)).clock(clock.clock()).build().unwrap();
    for runs in [1, 2] {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            hot(&cache, &source, 7).await.unwrap();
            cache.flush().await;
            hot(&cache, &source, 7).await.unwrap();
            clock.advance(90 * SECOND);
            wait_until(|| source.runs() == 1 + runs).await;
            cache.flush().await;
        });
        assert!(source.handles() > 1);
        drop(runtime);
        assert_eq!(source.handles(), 1);
    }
    // A hit outside of a runtime is still a hit.
    assert_eq!(poll_ready(hot(&cache, &source, 7)), Ok(1));
}

/// Polls a hit, which is ready at once.
fn poll_ready<T>(call: impl Future<Output = T>) -> T {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a hit does not wait"),
    }
}
