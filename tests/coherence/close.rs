//! Orderly shutdown of a process: `close` and `flush`.

use std::time::Duration;

use cached_aside::{Cache, CacheControl, CacheOutcome, Mode, Reply, cached};
use tokio::{spawn, task::JoinHandle};

use crate::support::{Pair, Source, settle, wait_until};

const HOUR: Duration = Duration::from_secs(3600);

#[cached("row:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn row(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

fn spawn_call(cache: &Cache, source: &Source) -> JoinHandle<Reply<usize>> {
    let (cache, source) = (cache.clone(), source.clone());
    spawn(async move { row::with(CacheControl::new(), &cache, &source, 7).await })
}

#[tokio::test]
async fn close_waits_for_loads_and_their_fills() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = spawn_call(&pair.a, &source);
    wait_until(|| source.runs() == 1).await;
    let closing = spawn({
        let cache = pair.a.clone();
        async move { cache.close_within(HOUR).await }
    });
    settle().await;
    assert!(!closing.is_finished());
    source.release(1);
    assert!(closing.await.unwrap(), "it was over in time");
    assert_eq!(call.await.unwrap().value, 1);
    assert_eq!(pair.tier_a.keys(), ["test:row:7"]);
    assert!(matches!(spawn_call(&pair.b, &source).await.unwrap().outcome, CacheOutcome::Hit { .. }));
}

/// The tier is down when a row is written, and comes back while the process exits.
#[tokio::test]
async fn close_waits_until_invalidations_are_delivered() {
    let (pair, source) = (Pair::new(), Source::open());
    row(&pair.a, &source, 7).await;
    pair.a.flush().await;
    pair.tier_a.set_down(true);
    source.write();
    assert!(row::invalidate(&pair.a, &source, 7).await.unwrap_err().is_not_propagated());
    let closing = spawn({
        let cache = pair.a.clone();
        async move { cache.close_within(HOUR).await }
    });
    settle().await;
    assert!(!closing.is_finished());
    pair.tier_a.set_down(false);
    assert!(closing.await.unwrap(), "it was delivered in time");
    assert_eq!((pair.tier_b.keys(), row(&pair.b, &source, 7).await), (Vec::new(), 2));
}

#[tokio::test]
async fn close_returns_false_if_an_invalidation_is_not_delivered() {
    let (pair, source) = (Pair::new(), Source::open());
    pair.tier_a.set_down(true);
    assert!(row::invalidate(&pair.a, &source, 7).await.unwrap_err().is_not_propagated());
    assert!(!pair.a.close_within(Duration::from_millis(20)).await);
    assert!(!pair.a.close_within(HOUR).await, "a closed cache has nothing to wait for");
}

/// The closing process releases its lease. Otherwise the other process would wait for the end of the lease,
/// which never comes on this clock.
#[tokio::test]
async fn close_releases_leases_that_other_processes_wait_for() {
    let (pair, source) = (Pair::new(), Source::gated());
    let held = spawn_call(&pair.a, &source);
    wait_until(|| source.runs() == 1).await;
    let waiting = spawn_call(&pair.b, &source);
    settle().await;
    assert_eq!(source.runs(), 1);
    assert!(!pair.a.close_within(Duration::ZERO).await, "a load was not over");
    wait_until(|| source.runs() == 2).await;
    source.release(2);
    assert_eq!(waiting.await.unwrap().value, 1);
    assert_eq!(held.await.unwrap().value, 1);
}

#[cached("own:{id}", ttl = "1h", coalesce = local, cache = cache, skip(cache, source))]
async fn uncoalesced(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

/// Each process loads for itself, but no value can be shared while another process holds the lease.
#[tokio::test]
async fn close_releases_the_lease_of_an_uncoalesced_function() {
    let (pair, held, open) = (Pair::new(), Source::gated(), Source::open());
    let load = spawn({
        let (cache, source) = (pair.a.clone(), held.clone());
        async move { uncoalesced(&cache, &source, 7).await }
    });
    wait_until(|| held.runs() == 1).await;
    assert!(!pair.a.close_within(Duration::ZERO).await, "a load was not over");
    uncoalesced(&pair.b, &open, 7).await;
    pair.b.flush().await;
    pair.b.clear_local();
    uncoalesced(&pair.b, &open, 7).await;
    assert_eq!(open.runs(), 1, "it was not shared");
    held.release(1);
    load.await.unwrap();
}

#[tokio::test]
async fn a_closed_cache_stays_off() {
    let (pair, source) = (Pair::new(), Source::open());
    assert!(pair.a.close().await);
    assert!(pair.a.close().await, "a second time");
    pair.a.set_mode(Mode::On);
    assert_eq!(pair.a.mode(), Mode::Off);
    for run in 1..=2 {
        assert!(matches!(spawn_call(&pair.a, &source).await.unwrap().outcome, CacheOutcome::Bypass(_)));
        assert_eq!(source.runs(), run);
    }
    // The other processes share values as before.
    spawn_call(&pair.b, &source).await.unwrap();
    pair.b.flush().await;
    assert_eq!(pair.tier_b.keys(), ["test:row:7"]);
}

/// A value loaded on a runtime that is not driven any more never reaches the tier.
#[test]
fn flush_within_ends_when_a_fill_hangs() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (pair, source, stopped) = (Pair::new(), Source::open(), runtime());
    pair.tier_a.hold_writes(true);
    assert_eq!(stopped.block_on(row(&pair.a, &source, 7)), 1);
    assert!(!runtime().block_on(pair.a.flush_within(Duration::from_millis(20))));
    pair.tier_a.hold_writes(false);
    assert!(stopped.block_on(pair.a.flush_within(HOUR)));
    assert_eq!(pair.tier_a.keys(), ["test:row:7"]);
}
