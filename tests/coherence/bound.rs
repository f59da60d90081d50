//! Promise P2: how long an L1 entry may be served.

use std::time::Duration;

use cached_aside::{Cache, CacheControl, CacheOutcome, Layer, Reply, cached};

use crate::support::{Pair, SECOND, Source};

#[cached("row:{id}", ttl = "1h", cache = cache, skip(cache, source))]
async fn row(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("strict:{id}", ttl = "1h", bound = 0, cache = cache, skip(cache, source))]
async fn strict(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("lax:{id}", ttl = "1h", bound = "1m", cache = cache, skip(cache, source))]
async fn with_long_bound(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

async fn call_row(cache: &Cache, source: &Source) -> Reply<usize> {
    row::with(CacheControl::new(), cache, source, 7).await
}

fn is_l1(reply: &Reply<usize>) -> bool {
    matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L1, .. })
}

/// Loads the value into L1 of both caches, with one load.
async fn load_into_both(pair: &Pair, source: &Source) {
    call_row(&pair.a, source).await;
    pair.flush().await;
    call_row(&pair.b, source).await;
    assert_eq!(source.runs(), 1);
}

#[tokio::test]
async fn invalidation_reaches_the_other_process() {
    let (pair, source) = (Pair::new(), Source::open());
    load_into_both(&pair, &source).await;
    source.write();
    row::invalidate(&pair.a, &source, 7).await.unwrap();
    assert_eq!(call_row(&pair.b, &source).await.value, 2);
}

#[tokio::test]
async fn foreign_change_reaches_every_process() {
    let (pair, source) = (Pair::new(), Source::open());
    load_into_both(&pair, &source).await;
    source.write();
    pair.tier_a.remove("test:row:7");
    assert_eq!(call_row(&pair.b, &source).await.value, 2);
    pair.flush().await;
    pair.tier_a.overwrite("test:row:7", b"garbage".to_vec());
    source.write();
    assert_eq!(call_row(&pair.a, &source).await.value, 3);
}

#[tokio::test]
async fn entry_is_served_within_bound_when_feed_is_silent() {
    let (pair, source) = (Pair::new(), Source::open());
    load_into_both(&pair, &source).await;
    pair.tier_b.set_silent(true);
    source.write();
    row::invalidate(&pair.a, &source, 7).await.unwrap();
    pair.clock.advance(SECOND / 2);
    assert_eq!(call_row(&pair.b, &source).await.value, 1, "this is what the bound allows");
    pair.clock.advance(SECOND / 2);
    assert_eq!(call_row(&pair.b, &source).await.value, 2);
}

#[tokio::test]
async fn unchanged_entry_is_revalidated_in_one_round_trip_without_load() {
    let (pair, source) = (Pair::new(), Source::open());
    load_into_both(&pair, &source).await;
    pair.tier_b.set_silent(true);
    for _ in 0..3 {
        pair.clock.advance(SECOND);
        let (reply, trips) = pair.round_trips(call_row(&pair.b, &source)).await;
        assert_eq!((reply.value, trips), (1, 1));
        // The entry was confirmed just now. For the length of another bound, the tier is not asked.
        let (reply, trips) = pair.round_trips(call_row(&pair.b, &source)).await;
        assert_eq!((is_l1(&reply), trips), (true, 0));
    }
    assert_eq!((source.runs(), pair.b.stats().revalidated), (1, 3));
}

#[tokio::test]
async fn only_requested_entries_are_revalidated_after_a_reconnect() {
    let (pair, source) = (Pair::new(), Source::open());
    for id in 0..100 {
        row(&pair.a, &source, id).await;
    }
    pair.flush().await;
    // The connection is replaced. Entries that were read over the old one are checked when they are
    // requested.
    pair.clock.advance(SECOND);
    pair.tier_a.set_silent(true);
    pair.tier_a.set_silent(false);
    pair.clock.advance(SECOND);
    let (_, trips) = pair.round_trips(row(&pair.a, &source, 7)).await;
    assert_eq!((trips, source.runs()), (1, 100));
    let (_, trips) = pair.round_trips(row(&pair.a, &source, 7)).await;
    assert_eq!(trips, 0);
}

#[tokio::test]
async fn a_function_has_its_own_bound() {
    let (pair, source) = (Pair::new(), Source::open());
    strict(&pair.a, &source, 1).await;
    with_long_bound(&pair.a, &source, 1).await;
    for _ in 0..3 {
        let (_, trips) = pair.round_trips(strict(&pair.a, &source, 1)).await;
        assert_eq!(trips, 0, "the tier is known to have reported nothing");
    }
    pair.flush().await;
    pair.tier_a.set_silent(true);
    for _ in 0..3 {
        let (_, trips) = pair.round_trips(strict(&pair.a, &source, 1)).await;
        assert_eq!(trips, 1);
    }
    pair.clock.advance(30 * SECOND);
    let (_, trips) = pair.round_trips(with_long_bound(&pair.a, &source, 1)).await;
    assert_eq!(trips, 0);
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn entry_is_served_for_bound_and_grace_in_an_outage() {
    let (pair, source) = (Pair::new(), Source::open());
    load_into_both(&pair, &source).await;
    pair.tier_a.set_down(true);
    source.write();
    // No invalidation can arrive. The entry is served for the bound plus the grace.
    pair.clock.advance(30 * SECOND);
    assert_eq!(call_row(&pair.b, &source).await.value, 1);
    assert_eq!(pair.b.stats().served_in_outage, 1);
    pair.clock.advance(SECOND);
    assert_eq!((call_row(&pair.b, &source).await.value, source.runs()), (2, 2));
    // A value loaded in the outage is served for the same time again.
    pair.clock.advance(30 * SECOND);
    assert!(is_l1(&call_row(&pair.b, &source).await));
    pair.clock.advance(SECOND);
    source.write();
    assert_eq!(call_row(&pair.b, &source).await.value, 3);
    // The tier is back and is asked. No invalidation has reported that its value is outdated.
    pair.tier_a.set_down(false);
    pair.clock.advance(SECOND);
    assert!(matches!(call_row(&pair.b, &source).await.outcome, CacheOutcome::Hit { tier: Layer::L2, .. }));
}

#[tokio::test]
async fn entry_is_served_for_the_bound_only_without_grace() {
    let (pair, source) = (Pair::with(|builder| builder.outage_grace(Duration::ZERO)), Source::open());
    load_into_both(&pair, &source).await;
    pair.tier_a.set_down(true);
    pair.clock.advance(SECOND / 2);
    assert!(is_l1(&call_row(&pair.b, &source).await));
    pair.clock.advance(SECOND / 2);
    assert_eq!(call_row(&pair.b, &source).await.outcome, CacheOutcome::Miss);
}

#[tokio::test]
async fn invalidated_entry_is_not_served_in_an_outage() {
    let (pair, source) = (Pair::new(), Source::open());
    load_into_both(&pair, &source).await;
    source.write();
    row::invalidate(&pair.a, &source, 7).await.unwrap();
    pair.tier_a.set_down(true);
    assert_eq!(call_row(&pair.b, &source).await.value, 2);
}

#[tokio::test]
async fn a_cache_without_a_shared_tier_needs_no_bound() {
    let (pair, source) = (Pair::new(), Source::open());
    let alone = Cache::builder().clock(pair.clock.clock()).build().unwrap();
    call_row(&alone, &source).await;
    pair.clock.advance(3000 * SECOND);
    assert!(is_l1(&call_row(&alone, &source).await));
}
