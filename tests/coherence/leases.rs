//! Promises P1 and P3: one load over all processes, and an overtaken load is not stored.

use std::{future::poll_fn, task::Poll};

use cached_aside::{Cache, CacheControl, CacheOutcome, Reply, cached};
use tokio::{join, runtime::Builder, spawn, task::JoinHandle, task::yield_now};

use crate::support::{Pair, SECOND, Source, wait_until};

#[cached("row:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn row(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("fails:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn fails(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    Err(format!("{id}: {}", source.load().await))
}

/// Loads in its caller: when the call returns, no other task has run.
#[cached("fails_here:{id}", ttl = "1h", detach = false, cache = cache, skip(cache, source))]
async fn fails_here(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    Err(format!("{id}: {}", source.load().await))
}

#[cached("own:{id}", ttl = "1h", coalesce = local, cache = cache, skip(cache, source))]
async fn uncoalesced(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

/// Loads in its caller with borrowed arguments, so the load is dropped with the caller.
#[cached("borrowed:{id}", ttl = "1h", detach = false, cache = cache, skip(cache, source))]
async fn borrowed(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("tagged:{id}", ttl = "1h", tags = ["all"], cache = cache, skip(cache, source))]
async fn tagged(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

fn spawn_call(cache: &Cache, source: &Source) -> JoinHandle<Reply<usize>> {
    let (cache, source) = (cache.clone(), source.clone());
    spawn(async move { row::with(CacheControl::new(), &cache, &source, 7).await })
}

/// Lets all tasks run as far as they can.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

#[tokio::test]
async fn concurrent_calls_are_one_load_over_all_processes() {
    let (pair, source) = (Pair::new(), Source::gated());
    let callers: Vec<_> =
        (0..100).flat_map(|_| [spawn_call(&pair.a, &source), spawn_call(&pair.b, &source)]).collect();
    wait_until(|| source.runs() == 1).await;
    settle().await;
    source.release(1);
    for caller in callers {
        assert_eq!(caller.await.unwrap().value, 1);
    }
    assert_eq!(source.runs(), 1);
    assert_eq!(pair.a.stats().misses + pair.b.stats().misses, 1);
}

#[tokio::test]
async fn uncoalesced_function_loads_in_each_process() {
    let (pair, source) = (Pair::new(), Source::gated());
    let (a, b) = (uncoalesced(&pair.a, &source, 7), uncoalesced(&pair.b, &source, 7));
    let both = async {
        wait_until(|| source.runs() == 2).await;
        source.release(2);
    };
    assert_eq!(join!(a, b, both), (1, 1, ()));
    pair.flush().await;
    assert_eq!(pair.tier_a.keys(), ["test:own:7"]);
}

/// No process waits for the lease of such a function. So the lease is not renewed, and its length is a
/// multiple of the usual load time.
#[tokio::test]
async fn lease_of_an_uncoalesced_load_expires_soon_after_its_process_died() {
    let (pair, source, held) = (Pair::new(), Source::open(), Source::gated());
    let load = |id: u32| {
        let (cache, held) = (pair.a.clone(), held.clone());
        spawn(async move { uncoalesced(&cache, &held, id).await })
    };
    let first = load(1);
    wait_until(|| held.runs() == 1).await;
    pair.clock.advance(2 * SECOND);
    held.release(1);
    first.await.unwrap();
    pair.flush().await;
    let _never_over = load(2);
    wait_until(|| held.runs() == 2).await;
    uncoalesced(&pair.b, &source, 2).await;
    pair.flush().await;
    assert_eq!(pair.tier_b.keys(), ["test:own:1"], "it may still come");
    pair.clock.advance(21 * SECOND);
    pair.b.clear_local();
    uncoalesced(&pair.b, &source, 2).await;
    pair.flush().await;
    assert_eq!(pair.tier_b.keys(), ["test:own:1", "test:own:2"]);
}

#[tokio::test]
async fn uncached_error_reaches_all_waiting_processes() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = |cache: &Cache| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { fails(&cache, &source, 7).await })
    };
    let first = call(&pair.a);
    wait_until(|| source.runs() == 1).await;
    let third = Cache::builder().namespace("test").tier(pair.tier_a.clone()).clock(pair.clock.clock());
    let third = third.build().unwrap();
    let others = [call(&pair.b), call(&third)];
    settle().await;
    assert_eq!(source.runs(), 1);
    source.release(1);
    assert!(first.await.unwrap().is_err());
    for other in others {
        assert_eq!(other.await.unwrap(), Err("7: 1".to_owned()));
    }
    assert_eq!(source.runs(), 1);
}

#[tokio::test]
async fn dropped_load_is_taken_over_at_once() {
    let (pair, source) = (Pair::new(), Source::gated());
    let going = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { borrowed(&cache, &source, 7).await }
    });
    wait_until(|| source.runs() == 1).await;
    let waiting = spawn({
        let (cache, source) = (pair.b.clone(), source.clone());
        async move { borrowed(&cache, &source, 7).await }
    });
    settle().await;
    going.abort();
    wait_until(|| source.runs() == 2).await;
    source.release(1);
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test]
async fn each_process_loads_once_when_the_tier_goes_down() {
    let (pair, source) = (Pair::new(), Source::gated());
    let first = spawn_call(&pair.a, &source);
    wait_until(|| source.runs() == 1).await;
    let others: Vec<_> = (0..50).map(|_| spawn_call(&pair.b, &source)).collect();
    settle().await;
    assert_eq!(source.runs(), 1);
    pair.tier_a.set_down(true);
    wait_until(|| source.runs() == 2).await;
    source.release(2);
    assert_eq!(first.await.unwrap().value, 1);
    for other in others {
        assert_eq!(other.await.unwrap().value, 1);
    }
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn overtaken_load_serves_only_its_own_caller() {
    let (pair, source) = (Pair::new(), Source::gated());
    let overtaken = spawn_call(&pair.a, &source);
    wait_until(|| source.runs() == 1).await;
    let (here, there) = (spawn_call(&pair.a, &source), spawn_call(&pair.b, &source));
    settle().await;
    source.write();
    row::invalidate(&pair.b, &source, 7).await.unwrap();
    // The waiting callers do not wait for the end of that load, and one of them loads.
    wait_until(|| source.runs() == 2).await;
    let late = spawn_call(&pair.a, &source);
    settle().await;
    source.release(2);
    assert_eq!(overtaken.await.unwrap().value, 1);
    for caller in [here, there, late] {
        assert_eq!(caller.await.unwrap().value, 2);
    }
    pair.flush().await;
    for cache in [&pair.a, &pair.b] {
        assert_eq!(row::peek(cache, &source, 7).await, Some(2));
    }
    assert_eq!(source.runs(), 2);
}

/// The key is removed between the lease and the first step of the load, which has a task of its own.
#[tokio::test]
async fn a_load_that_was_overtaken_before_it_began_takes_another_lease() {
    let (pair, source) = (Pair::new(), Source::open());
    let mut call = Box::pin(row::with(CacheControl::new(), &pair.a, &source, 7));
    let is_pending = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
    assert!(is_pending && source.runs() == 0 && pair.a.stats().misses == 1);
    pair.tier_b.remove("test:row:7");
    let (reply, follower) = join!(call, spawn_call(&pair.a, &source));
    assert_eq!((reply.value, follower.unwrap().value), (1, 1));
    pair.flush().await;
    assert_eq!((source.runs(), pair.a.stats().rejected_fills), (1, 0));
    assert_eq!(pair.tier_a.keys(), ["test:row:7"]);
}

/// A load has a task of its own. Its first step comes after the notification about the tag.
#[tokio::test]
async fn load_takes_another_lease_when_tag_is_invalidated_early() {
    let (pair, source) = (Pair::new(), Source::open());
    let mut call = Box::pin(tagged::with(CacheControl::new(), &pair.a, &source, 7));
    let is_pending = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
    assert!(is_pending && source.runs() == 0);
    pair.tier_b.remove("test:%tag:all");
    assert_eq!(call.await.value, 1);
    pair.flush().await;
    assert_eq!((source.runs(), pair.a.stats().rejected_fills), (1, 0));
    assert_eq!(tagged::with(CacheControl::new(), &pair.b, &source, 7).await.value, 1);
    assert_eq!(source.runs(), 1, "it is shared");
}

#[tokio::test]
async fn old_value_is_served_while_it_is_refreshed() {
    let (pair, source) = (Pair::new(), Source::gated());
    source.release(1);
    spawn_call(&pair.a, &source).await.unwrap();
    pair.flush().await;
    source.write();
    let refresh = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { row::refresh(&cache, &source, 7).await }
    });
    wait_until(|| source.runs() == 2).await;
    assert_eq!(spawn_call(&pair.b, &source).await.unwrap().value, 1);
    source.release(1);
    assert_eq!(refresh.await.unwrap(), 2);
    pair.flush().await;
    assert_eq!(spawn_call(&pair.b, &source).await.unwrap().value, 2);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_is_taken_over() {
    let pair = Pair::with(|builder| builder.lease(SECOND / 50));
    let source = Source::gated();
    let holder = spawn_call(&pair.a, &source);
    wait_until(|| source.runs() == 1).await;
    // The process of the holder stands still: nothing is renewed, and time goes on for the others.
    let other = spawn_call(&pair.b, &source);
    settle().await;
    let stopped = holder.abort_handle();
    pair.clock.advance(SECOND);
    wait_until(|| {
        pair.clock.advance(SECOND / 20);
        source.runs() == 2
    })
    .await;
    stopped.abort();
    source.release(2);
    assert_eq!(other.await.unwrap().value, 1);
}

#[tokio::test]
async fn no_load_and_no_key_is_left_after_clear() {
    let (pair, source) = (Pair::new(), Source::open());
    for id in 0..50 {
        row(&pair.a, &source, id).await;
        row(&pair.b, &source, id).await;
        let _ = fails(&pair.a, &source, id).await;
    }
    pair.flush().await;
    for cache in [&pair.a, &pair.b] {
        assert_eq!((cache.stats().in_flight, cache.stats().waiting), (0, 0));
        cache.clear().await.unwrap();
    }
    assert_eq!(pair.tier_a.keys(), [""; 0]);
    assert_eq!(row::with(CacheControl::new(), &pair.a, &source, 1).await.outcome, CacheOutcome::Miss);
}

/// The tier is down when the load ends. Its value is kept for the grace, which counts from the last proof.
#[tokio::test]
async fn value_with_a_lost_fill_is_served_for_the_grace() {
    let (pair, source) = (Pair::new(), Source::gated());
    let loading = spawn_call(&pair.a, &source);
    wait_until(|| source.runs() == 1).await;
    pair.tier_a.set_down(true);
    source.release(10);
    assert_eq!(loading.await.unwrap().value, 1);
    pair.flush().await;
    assert!(spawn_call(&pair.a, &source).await.unwrap().outcome.is_hit());
    pair.clock.advance(31 * SECOND);
    assert_eq!(spawn_call(&pair.a, &source).await.unwrap().outcome, CacheOutcome::Miss);
}

#[cached("kept:{id}", ttl = "1h", cache_err = "5s", cache = cache, skip(cache, source))]
async fn cached_error(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    Err(format!("{id}: {}", source.load().await))
}

#[tokio::test]
async fn cached_error_is_local_to_its_process_and_can_be_invalidated() {
    let (pair, source) = (Pair::new(), Source::open());
    for _ in 0..3 {
        cached_error(&pair.a, &source, 7).await.unwrap_err();
        pair.flush().await;
        pair.clock.advance(SECOND);
    }
    assert_eq!(source.runs(), 1);
    cached_error(&pair.b, &source, 7).await.unwrap_err();
    assert_eq!(source.runs(), 2);
    cached_error::invalidate(&pair.a, &source, 7).await.unwrap();
    cached_error(&pair.a, &source, 7).await.unwrap_err();
    assert_eq!(source.runs(), 3);
    pair.a.clear().await.unwrap();
    cached_error(&pair.a, &source, 7).await.unwrap_err();
    assert_eq!(source.runs(), 4);
}

/// The lease is released, in case it was granted. The notification of that release must not end the validity
/// of the load that ran instead.
#[tokio::test]
async fn load_after_a_lost_lease_reply_is_stored_in_this_process() {
    let (pair, source) = (Pair::new(), Source::open());
    pair.tier_a.lose_leases(true);
    assert_eq!(row(&pair.a, &source, 1).await, 1);
    assert_eq!(tagged(&pair.a, &source, 1).await, 1);
    pair.flush().await;
    assert_eq!((row(&pair.a, &source, 1).await, tagged(&pair.a, &source, 1).await), (1, 1));
    assert_eq!(source.runs(), 2);
    // In this process, the value can be invalidated.
    row::invalidate(&pair.a, &source, 1).await.unwrap();
    pair.a.invalidate_tag("all", &[]).await.unwrap();
    row(&pair.a, &source, 1).await;
    tagged(&pair.a, &source, 1).await;
    assert_eq!(source.runs(), 4);
}

#[test]
fn lease_released_on_an_idle_runtime_delays_no_caller() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let (pair, source) = (Pair::new(), Source::open());
    let still = runtime();
    still.block_on(fails_here(&pair.a, &source, 1)).unwrap_err();
    runtime().block_on(async {
        let before = pair.tier_a.round_trips();
        let call = spawn({
            let (cache, source) = (pair.a.clone(), source.clone());
            async move { fails_here(&cache, &source, 1).await }
        });
        wait_until(|| pair.tier_a.round_trips() > before).await;
        // The call waits for that lease as for one of another process.
        pair.clock.advance(60 * SECOND);
        call.await.unwrap().unwrap_err();
    });
    assert_eq!(source.runs(), 2);
}
