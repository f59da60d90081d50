//! Values that are served although they are not fresh, and loads that take too long.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use std::time::Duration;

use cached_aside::{
    Cache, CacheControl, CacheOutcome, Layer, Reply, cached,
    testing::{FakeTier, ManualClock},
    tier::Budget,
};
use redis_harness::PATIENCE;
use tokio::{spawn, task::JoinHandle, time::timeout};

use crate::{
    faulty_tier::{Faults, FaultyTier},
    support::{Pair, SECOND, Source, settle, wait_until},
};

#[cached("stale:{id}", ttl = "10s", stale = "100s", cache = cache, skip(cache, source))]
async fn stale(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    source.try_load().await
}

#[cached("patient:{id}", ttl = "10s", stale = "100s", soft_timeout = "20ms", cache = cache, skip(cache, source))]
async fn patient(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    source.try_load().await
}

#[cached("inline:{id}", ttl = "10s", stale = "100s", detach = false, cache = cache, skip(cache, source))]
async fn inline(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    source.try_load().await
}

#[cached("ahead:{id}", ttl = "10s", refresh_ahead = 0.8, cache = cache, skip(cache, source))]
async fn ahead(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("slow:{id}", ttl = "10s", schema = "slow", load_timeout = "30ms", max_loads = 1, cache = cache, skip(cache, source))]
async fn slow(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    Ok(source.load().await)
}

/// Error that callers of `slow` get when its load takes too long.
const TOO_LATE: &str = "the load took longer than 30ms";

fn start_slow(cache: &Cache, source: &Source, id: u32) -> JoinHandle<Result<usize, String>> {
    let (cache, source) = (cache.clone(), source.clone());
    spawn(async move { slow(&cache, &source, id).await })
}

#[cached("slow:{id}", ttl = "10s", schema = "slow", cache = cache, skip(cache, source))]
async fn unlimited(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    Ok(source.load().await)
}

#[cached("few:{id}", ttl = "10s", max_loads = 2, cache = cache, skip(cache, source))]
async fn few(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("none:{id}", ttl = "100s", cache_none = "5s", cache = cache, skip(cache, runs))]
async fn none(cache: &Cache, runs: &Arc<AtomicUsize>, id: u32) -> Option<u32> {
    runs.fetch_add(1, SeqCst);
    (id > 0).then_some(id)
}

async fn call_stale(cache: &Cache, source: &Source) -> Reply<Result<usize, String>> {
    stale::with(CacheControl::new(), cache, source, 7).await
}

fn is_stale<R>(reply: &Reply<R>, of: Layer) -> bool {
    matches!(reply.outcome, CacheOutcome::Stale { tier, .. } if tier == of)
}

#[tokio::test]
async fn a_stale_value_is_served_at_once_and_loaded_again_once() {
    let (pair, source) = (Pair::new(), Source::gated());
    source.release(1);
    assert_eq!(stale(&pair.a, &source, 7).await, Ok(1));
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    source.write();
    for _ in 0..20 {
        let reply = call_stale(&pair.a, &source).await;
        assert!(is_stale(&reply, Layer::L1), "{:?}", reply.outcome);
        assert_eq!(reply.value, Ok(1));
    }
    wait_until(|| source.runs() == 2).await;
    source.release(9);
    wait_until(|| pair.a.stats().in_flight == 0).await;
    pair.flush().await;
    assert_eq!(stale(&pair.a, &source, 7).await, Ok(2));
    assert_eq!((source.runs(), pair.a.stats().stale_served), (2, 20));
}

#[tokio::test]
async fn stale_value_is_reloaded_once_over_all_processes() {
    let (pair, source) = (Pair::new(), Source::gated());
    source.release(1);
    assert_eq!(stale(&pair.a, &source, 7).await, Ok(1));
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    source.write();
    // A process that has never requested the value finds it in the shared tier.
    let reply = call_stale(&pair.b, &source).await;
    assert!(is_stale(&reply, Layer::L2), "{:?}", reply.outcome);
    wait_until(|| source.runs() == 2).await;
    // The lease changed the key, which ended its epoch here, so this process asks the tier.
    assert!(is_stale(&call_stale(&pair.a, &source).await, Layer::L2));
    for cache in [&pair.a, &pair.b] {
        assert!(is_stale(&call_stale(cache, &source).await, Layer::L1));
    }
    source.release(9);
    wait_until(|| pair.a.stats().in_flight + pair.b.stats().in_flight == 0).await;
    pair.flush().await;
    for cache in [&pair.a, &pair.b] {
        assert_eq!(stale(cache, &source, 7).await, Ok(2));
    }
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn an_invalidated_value_is_not_served_stale_either() {
    let (pair, source) = (Pair::new(), Source::open());
    for (here, there) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        stale(here, &source, 7).await.unwrap();
        pair.flush().await;
        pair.clock.advance(11 * SECOND);
        source.write();
        stale::invalidate(there, &source, 7).await.unwrap();
        let reply = call_stale(here, &source).await;
        assert!(!is_stale(&reply, Layer::L1) && !is_stale(&reply, Layer::L2), "{:?}", reply.outcome);
        assert_eq!(reply.value, Ok(source.version()));
    }
}

/// A renewal is a load like any other: if an invalidation overtakes it, its value is not stored.
#[tokio::test]
async fn overtaken_reload_of_a_stale_value_is_not_stored() {
    let (pair, source) = (Pair::new(), Source::gated());
    source.release(1);
    stale(&pair.a, &source, 7).await.unwrap();
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    call_stale(&pair.a, &source).await.value.unwrap();
    wait_until(|| source.runs() == 2).await;
    source.write();
    stale::invalidate(&pair.b, &source, 7).await.unwrap();
    source.release(9);
    assert_eq!(stale(&pair.a, &source, 7).await, Ok(2));
    pair.flush().await;
    assert_eq!(stale(&pair.b, &source, 7).await, Ok(2));
}

#[tokio::test]
async fn stale_value_is_served_after_a_failed_load_and_the_next_attempt_waits() {
    let (pair, source) = (Pair::new(), Source::open());
    stale(&pair.a, &source, 7).await.unwrap();
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    source.fail(true);
    for _ in 0..5 {
        assert_eq!(call_stale(&pair.a, &source).await.value, Ok(1));
        wait_until(|| pair.a.stats().in_flight == 0).await;
    }
    assert_eq!((source.runs(), pair.a.stats().load_errors), (2, 1), "a tenth of the stale time is 10 s");
    pair.clock.advance(11 * SECOND);
    assert_eq!(call_stale(&pair.a, &source).await.value, Ok(1));
    wait_until(|| source.runs() == 3).await;
    // When the stale time is over, the caller gets the error.
    pair.clock.advance(100 * SECOND);
    assert_eq!(stale(&pair.a, &source, 7).await, Err("as planned".to_owned()));
}

#[tokio::test]
async fn stale_value_is_served_and_reloaded_in_an_outage() {
    let (pair, source) = (Pair::new(), Source::open());
    stale(&pair.a, &source, 7).await.unwrap();
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    pair.tier_a.set_down(true);
    source.write();
    assert!(is_stale(&call_stale(&pair.a, &source).await, Layer::L1));
    wait_until(|| pair.a.stats().in_flight == 0).await;
    assert_eq!(stale(&pair.a, &source, 7).await, Ok(2));
}

#[tokio::test]
async fn caller_waits_soft_timeout_for_a_fresh_value() {
    let (pair, source) = (Pair::new(), Source::open());
    let call = |source: &Source| {
        let (cache, source) = (pair.a.clone(), source.clone());
        spawn(async move { patient::with(CacheControl::new(), &cache, &source, 7).await })
    };
    call(&source).await.unwrap().value.unwrap();
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    source.write();
    let reply = call(&source).await.unwrap();
    assert_eq!((reply.value, reply.outcome), (Ok(2), CacheOutcome::Miss));
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    let held = Source::gated();
    let callers: Vec<JoinHandle<_>> = (0..3).map(|_| call(&held)).collect();
    // One call leads, and two follow it.
    wait_until(|| held.runs() == 1 && pair.a.stats().waiting == 2).await;
    pair.clock.advance(Duration::from_millis(20));
    for caller in callers {
        let reply = caller.await.unwrap();
        assert!(is_stale(&reply, Layer::L1), "{:?}", reply.outcome);
        assert_eq!(reply.value, Ok(2));
    }
    assert_eq!(held.runs(), 1);
}

/// The invalidation happens while the caller waits for a fresh value, or while the load fails.
#[tokio::test]
async fn waiting_caller_gets_no_value_invalidated_meanwhile() {
    for fails in [false, true] {
        let (pair, source) = (Pair::new(), Source::open());
        patient(&pair.a, &source, 7).await.unwrap();
        pair.flush().await;
        pair.clock.advance(11 * SECOND);
        let held = Source::gated();
        held.write();
        held.fail(fails);
        let waiting = spawn({
            let (cache, held) = (pair.a.clone(), held.clone());
            async move { patient::with(CacheControl::new(), &cache, &held, 7).await }
        });
        wait_until(|| held.runs() == 1).await;
        patient::invalidate(&pair.b, &source, 7).await.unwrap();
        // Longer than the caller waits for a fresh value.
        pair.clock.advance(Duration::from_millis(30));
        settle().await;
        held.release(1);
        let reply = waiting.await.unwrap();
        assert_eq!(reply.outcome, CacheOutcome::Miss);
        assert_eq!(reply.value.is_err(), fails);
    }
}

#[tokio::test]
async fn stale_value_is_served_while_another_caller_loads_inline() {
    let (pair, source) = (Pair::new(), Source::open());
    inline(&pair.a, &source, 7).await.unwrap();
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    let held = Source::gated();
    held.write();
    let loading = spawn({
        let (cache, held) = (pair.a.clone(), held.clone());
        async move { inline(&cache, &held, 7).await }
    });
    wait_until(|| held.runs() == 1).await;
    assert_eq!(inline(&pair.a, &held, 7).await, Ok(1));
    held.release(1);
    assert_eq!(loading.await.unwrap(), Ok(2));
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    held.release(1);
    held.fail(true);
    assert_eq!(inline(&pair.a, &held, 7).await, Ok(2), "the load failed");
}

#[tokio::test]
async fn hit_near_the_end_of_the_ttl_refreshes_in_the_background() {
    let (pair, source) = (Pair::new(), Source::open());
    assert_eq!(ahead(&pair.a, &source, 7).await, 1);
    pair.flush().await;
    pair.clock.advance(7 * SECOND);
    assert_eq!((ahead(&pair.a, &source, 7).await, source.runs()), (1, 1));
    pair.clock.advance(2 * SECOND);
    source.write();
    let reply = ahead::with(CacheControl::new(), &pair.a, &source, 7).await;
    assert!(matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L1, .. }), "{:?}", reply.outcome);
    assert_eq!(reply.value, 1);
    wait_until(|| source.runs() == 2 && pair.a.stats().in_flight == 0).await;
    pair.flush().await;
    // The ttl of the first value is over.
    pair.clock.advance(2 * SECOND);
    for cache in [&pair.a, &pair.b] {
        assert_eq!(ahead(cache, &source, 7).await, 2);
    }
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn a_load_that_takes_too_long_is_dropped() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = start_slow(&pair.a, &source, 7);
    wait_until(|| source.runs() == 1).await;
    pair.clock.advance(Duration::from_millis(29));
    settle().await;
    assert!(!call.is_finished(), "its time is that of the cache's clock");
    pair.clock.advance(Duration::from_millis(1));
    assert_eq!(call.await.unwrap(), Err(TOO_LATE.to_owned()));
    assert_eq!((pair.a.stats().load_timeouts, pair.a.stats().in_flight), (1, 0));
    source.release(9);
    assert_eq!(slow(&pair.a, &source, 7).await, Ok(1));
}

/// The wait for a permit is not part of the load's time, and has a limit of its own.
#[tokio::test]
async fn call_times_out_while_it_waits_for_a_permit() {
    let (pair, source) = (Pair::new(), Source::gated());
    let first = start_slow(&pair.a, &source, 1);
    wait_until(|| source.runs() == 1).await;
    pair.clock.advance(Duration::from_millis(20));
    let (second, third) = (start_slow(&pair.a, &source, 2), start_slow(&pair.a, &source, 3));
    wait_until(|| pair.a.stats().in_flight == 3).await;
    // The first load is dropped. The second one gets its permit and the whole load timeout.
    pair.clock.advance(Duration::from_millis(10));
    assert_eq!(first.await.unwrap(), Err(TOO_LATE.to_owned()));
    wait_until(|| source.runs() == 2).await;
    pair.clock.advance(Duration::from_millis(20));
    assert_eq!(third.await.unwrap(), Err(TOO_LATE.to_owned()));
    assert!(!second.is_finished(), "a load has its time from when it begins");
    source.release(9);
    assert_eq!(second.await.unwrap(), Ok(1));
    let stats = pair.a.stats();
    assert_eq!((source.runs(), stats.load_timeouts, stats.load_errors, stats.in_flight), (2, 2, 1, 0));
    assert_eq!(slow(&pair.a, &source, 3).await, Ok(1), "the permit is free");
}

/// A follower waits twice the load timeout, because its leader may wait for a permit before it loads.
#[tokio::test]
async fn follower_waits_at_most_twice_the_load_timeout() {
    let (pair, source) = (Pair::new(), Source::gated());
    // The same key in another function. Its load has no limit.
    let leader = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { unlimited(&cache, &source, 7).await }
    });
    wait_until(|| source.runs() == 1).await;
    let follower = start_slow(&pair.a, &source, 7);
    wait_until(|| pair.a.stats().waiting == 1).await;
    pair.clock.advance(Duration::from_millis(59));
    settle().await;
    assert!(!follower.is_finished());
    pair.clock.advance(Duration::from_millis(1));
    assert_eq!(follower.await.unwrap(), Err(TOO_LATE.to_owned()));
    source.release(1);
    assert_eq!((leader.await.unwrap(), source.runs()), (Ok(1), 1));
}

/// The other process holds its lease for longer than a load of this one may take.
#[tokio::test]
async fn call_waits_at_most_the_load_timeout_for_another_process() {
    let (pair, source, other) = (Pair::new(), Source::open(), Source::gated());
    let holder = spawn({
        let (cache, other) = (pair.b.clone(), other.clone());
        async move { unlimited(&cache, &other, 7).await }
    });
    wait_until(|| other.runs() == 1).await;
    let call = start_slow(&pair.a, &source, 7);
    wait_until(|| pair.a.stats().in_flight == 1).await;
    settle().await;
    assert_eq!(source.runs(), 0);
    pair.clock.advance(Duration::from_millis(30));
    assert_eq!(call.await.unwrap(), Ok(1));
    other.release(1);
    assert_eq!(holder.await.unwrap(), Ok(1));
}

/// A lease that waits in the queue of one process would keep the other one from loading.
#[tokio::test]
async fn queued_call_takes_value_loaded_by_another_process() {
    let (pair, busy, idle) = (Pair::new(), Source::gated(), Source::open());
    let first = start_slow(&pair.a, &busy, 1);
    wait_until(|| busy.runs() == 1).await;
    let queued = start_slow(&pair.a, &busy, 2);
    wait_until(|| pair.a.stats().in_flight == 2).await;
    assert_eq!(timeout(10 * SECOND, slow(&pair.b, &idle, 2)).await, Ok(Ok(1)));
    assert_eq!(timeout(10 * SECOND, queued).await.unwrap().unwrap(), Ok(1));
    assert_eq!((busy.runs(), idle.runs()), (1, 1));
    busy.release(1);
    assert_eq!(first.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn max_loads_limits_concurrent_loads() {
    let (pair, source) = (Pair::new(), Source::gated());
    let calls: Vec<_> = (0..6)
        .map(|id| {
            let (cache, source) = (pair.a.clone(), source.clone());
            spawn(async move { few(&cache, &source, id).await })
        })
        .collect();
    wait_until(|| source.runs() == 2 && pair.a.stats().in_flight == 6).await;
    for done in 1..=6 {
        source.release(1);
        wait_until(|| source.runs() == (done + 2).min(6)).await;
    }
    for call in calls {
        assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap(), 1);
    }
}

/// Each caller runs a load of its own if nothing is stored, and `max_loads` limits these loads as well.
#[tokio::test]
async fn max_loads_limits_unstored_loads() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = |id| {
        let (cache, source) = (pair.a.clone(), source.clone());
        spawn(async move { few::with(CacheControl::no_store(), &cache, &source, id).await.value })
    };
    let calls: Vec<_> = (0..4).map(call).collect();
    wait_until(|| source.runs() == 2 && pair.a.stats().misses == 4).await;
    source.release(1);
    wait_until(|| source.runs() == 3).await;
    source.release(9);
    for call in calls {
        assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap(), 1);
    }
}

#[cached("chain:{id}", ttl = "10s", max_loads = 1, cache = cache, skip(cache, source))]
async fn chain(cache: &Cache, source: &Source, id: u32) -> usize {
    let first = source.load().await;
    if id == 0 { first } else { first + Box::pin(chain(cache, source, id - 1)).await }
}

/// The outer load holds the only permit, and waits for the inner load of another caller. If the inner load
/// waited for the permit, neither would end.
#[tokio::test]
async fn load_that_another_load_awaits_needs_no_permit() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = |id| {
        let (cache, source) = (pair.a.clone(), source.clone());
        spawn(async move { chain(&cache, &source, id).await })
    };
    let outer = call(1);
    wait_until(|| source.runs() == 1).await;
    let inner = call(0);
    wait_until(|| pair.a.stats().in_flight == 2).await;
    source.release(9);
    assert_eq!(timeout(PATIENCE, outer).await.unwrap().unwrap(), 2);
    assert_eq!(timeout(PATIENCE, inner).await.unwrap().unwrap(), 1);
    assert_eq!(source.runs(), 2);
}

#[cached("gone:{id}", ttl = "10s", stale = "100s", cache = cache, skip(cache, source))]
async fn gone(cache: &Cache, source: &Source, id: u32) -> Option<usize> {
    let _ = id;
    let version = source.load().await;
    (version == 1).then_some(version)
}

/// A newer result replaces a stale value even if it is not stored itself.
#[tokio::test]
async fn unstored_newer_result_replaces_the_stale_value() {
    let (pair, source) = (Pair::new(), Source::open());
    assert_eq!(gone(&pair.a, &source, 7).await, Some(1));
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    source.write();
    gone(&pair.a, &source, 7).await;
    wait_until(|| source.runs() == 2 && pair.a.stats().in_flight == 0).await;
    pair.flush().await;
    assert_eq!((gone(&pair.a, &source, 7).await, gone(&pair.b, &source, 7).await), (None, None));
}

#[tokio::test]
async fn none_is_cached_for_its_own_ttl() {
    let (pair, runs) = (Pair::new(), Arc::new(AtomicUsize::new(0)));
    for id in [0, 1] {
        none(&pair.a, &runs, id).await;
    }
    pair.flush().await;
    assert_eq!((none(&pair.b, &runs, 0).await, none(&pair.b, &runs, 1).await), (None, Some(1)));
    assert_eq!(runs.load(SeqCst), 2);
    pair.clock.advance(6 * SECOND);
    for cache in [&pair.a, &pair.b] {
        assert_eq!((none(cache, &runs, 0).await, none(cache, &runs, 1).await), (None, Some(1)));
        pair.flush().await;
    }
    assert_eq!(runs.load(SeqCst), 3);
}

#[cached("mixed", ttl = "10s", stale = "100s", schema = "mixed", cache = cache, skip(cache))]
async fn mixed(cache: &Cache, id: u32) -> u32 {
    id
}

#[tokio::test]
async fn keyspace_returns_no_stale_value_of_a_function() {
    let pair = Pair::new();
    mixed(&pair.a, 7).await;
    pair.flush().await;
    let numbers = pair.b.keyspace::<u32, u32>("mixed", 10 * SECOND).unwrap().schema("mixed");
    assert_eq!(numbers.get_many(&[7]).await, [Some(7)]);
    pair.b.clear_local();
    pair.clock.advance(11 * SECOND);
    assert_eq!((numbers.get_many(&[7]).await, numbers.get(&7).await), (vec![None], None));
}

/// The entry of the function is in this process, and the function would serve it as well.
#[tokio::test]
async fn all_reads_of_a_keyspace_find_a_due_entry_of_a_function() {
    let clock = ManualClock::new();
    let cache = Cache::builder().clock(clock.clock()).build().unwrap();
    mixed(&cache, 7).await;
    clock.advance(11 * SECOND);
    let numbers = cache.keyspace::<u32, u32>("mixed", 10 * SECOND).unwrap().schema("mixed");
    assert_eq!((numbers.get(&7).await, numbers.get_many(&[7]).await), (Some(7), vec![Some(7)]));
    assert!(numbers.exists(&7).await);
    clock.advance(100 * SECOND);
    assert_eq!((numbers.get(&7).await, numbers.get_many(&[7]).await), (None, vec![None]));
    assert!(!numbers.exists(&7).await);
}

#[cached("lax:{id}", ttl = "10s", stale = "100s", bound = "20s", detach = false, cache = cache, skip(cache, source))]
async fn with_long_bound(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    source.try_load().await
}

/// A function's bound that is longer than the cache's counts only while the change feed is live. The feed
/// ends here, so the cache's bound decides.
#[tokio::test]
async fn stale_value_is_not_served_after_feed_loss_when_load_fails() {
    let (pair, source) = (Pair::new(), Source::open());
    with_long_bound(&pair.a, &source, 7).await.unwrap();
    pair.flush().await;
    pair.clock.advance(11 * SECOND);
    let held = Source::gated();
    held.fail(true);
    let loading = spawn({
        let (cache, held) = (pair.a.clone(), held.clone());
        async move { with_long_bound(&cache, &held, 7).await }
    });
    wait_until(|| held.runs() == 1).await;
    pair.tier_a.set_silent(true);
    with_long_bound::invalidate(&pair.b, &source, 7).await.unwrap();
    pair.tier_a.set_silent(false);
    pair.clock.advance(5 * SECOND);
    held.release(1);
    assert_eq!(loading.await.unwrap(), Err("as planned".to_owned()));
}

#[cached("dear:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn expensive(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    source.try_load().await
}

#[cached("said:{id}", ttl = "1h", tier_timeout = "20ms", cache = cache, skip(cache, source))]
async fn with_tier_timeout(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

/// The wait for the tier follows the cost of a load. Two seconds are little beside a minute, and much beside
/// a millisecond.
#[tokio::test]
async fn tier_budget_follows_the_cost_of_a_load() {
    let (clock, faults, source) = (ManualClock::new(), Arc::new(Faults::default()), Source::gated());
    let tier = FaultyTier(FakeTier::new(&clock), faults.clone());
    let cache = Cache::builder().namespace("test").tier(tier).clock(clock.clock()).build().unwrap();
    let take = || std::mem::take(&mut *faults.budgets.lock().unwrap());
    let load = async |id: u32, took: Duration| {
        let runs = source.runs();
        let call = spawn({
            let (cache, source) = (cache.clone(), source.clone());
            async move { expensive(&cache, &source, id).await }
        });
        wait_until(|| source.runs() > runs).await;
        clock.advance(took);
        source.release(1);
        let _ = call.await.unwrap();
        cache.flush().await;
    };
    let ms = Duration::from_millis;
    load(1, ms(700)).await;
    let grown = Budget::AtLeast(ms(512));
    assert_eq!(take(), [("lookup", Budget::Own), ("lease", Budget::Own), ("fill", grown)]);
    // A load that fails does not change the measured cost.
    source.fail(true);
    load(2, 100 * SECOND).await;
    assert_eq!(take(), [("lookup", grown), ("lease", grown)]);
    source.fail(false);
    load(3, 100 * SECOND).await;
    let most = Budget::AtLeast(2 * SECOND);
    assert_eq!(take(), [("lookup", grown), ("lease", grown), ("fill", most)]);

    source.release(1);
    with_tier_timeout(&cache, &source, 1).await;
    cache.flush().await;
    let own = Budget::Exactly(ms(20));
    assert_eq!(take(), [("lookup", own), ("lease", own), ("fill", own)]);
}
