//! Patterns, `clear`, confirmation, and undelivered invalidations.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use cached_aside::{Cache, CacheControl, Mode, cached};
use tokio::spawn;

use crate::support::{Pair, Source, wait_until};

#[cached("analytics:{user}:{page}", ttl = "1h", cache = cache, skip(cache, source))]
async fn analytics(cache: &Cache, source: &Source, user: &str, page: u32) -> usize {
    let _ = (user, page);
    source.load().await
}

#[cached("bare", ttl = "1h", local, cache = cache, skip(cache, runs))]
fn bare(cache: &Cache, runs: &AtomicUsize, n: u32) -> usize {
    let _ = n;
    runs.fetch_add(1, SeqCst)
}

async fn fill(pair: &Pair, source: &Source) {
    for cache in [&pair.a, &pair.b] {
        for user in ["ada", "bob", "a*"] {
            analytics(cache, source, user, 1).await;
        }
        pair.flush().await;
    }
    assert_eq!(source.runs(), 3);
    source.write();
}

async fn versions(cache: &Cache, source: &Source) -> [usize; 3] {
    let mut versions = [0; 3];
    for (version, user) in versions.iter_mut().zip(["ada", "bob", "a*"]) {
        *version = analytics(cache, source, user, 1).await;
    }
    cache.flush().await;
    versions
}

#[tokio::test]
async fn a_pattern_invalidates_what_matches_in_every_process() {
    let (pair, source) = (Pair::new(), Source::open());
    fill(&pair, &source).await;
    pair.a.invalidate_pattern("analytics:{}:*", &[&"ada"]).await.unwrap();
    for cache in [&pair.b, &pair.a] {
        assert_eq!(versions(cache, &source).await, [2, 1, 1]);
    }
    // An argument cannot introduce a star.
    source.write();
    pair.b.invalidate_pattern("analytics:{}:*", &[&"a*"]).await.unwrap();
    for cache in [&pair.a, &pair.b] {
        assert_eq!(versions(cache, &source).await, [2, 1, 3]);
    }
    assert!(pair.a.invalidate_pattern("x[ab]", &[]).await.unwrap_err().is_key());
    assert!(pair.a.invalidate_pattern("x:{}", &[]).await.unwrap_err().is_key());
}

#[tokio::test]
async fn clear_invalidates_everything_in_all_processes() {
    let (pair, source) = (Pair::new(), Source::open());
    fill(&pair, &source).await;
    pair.a.clear().confirmed().await.unwrap();
    assert_eq!(pair.tier_a.keys(), [""; 0]);
    for cache in [&pair.b, &pair.a] {
        assert_eq!(versions(cache, &source).await, [2, 2, 2]);
    }
}

#[tokio::test]
async fn pattern_supersedes_running_loads() {
    let (pair, source) = (Pair::new(), Source::gated());
    let call = |cache: &Cache| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { analytics(&cache, &source, "ada", 1).await })
    };
    let overtaken = call(&pair.a);
    wait_until(|| source.runs() == 1).await;
    let follower = call(&pair.a);
    wait_until(|| pair.a.stats().waiting == 1).await;
    source.write();
    pair.b.invalidate_pattern("analytics:*", &[]).await.unwrap();
    wait_until(|| source.runs() == 2).await;
    source.release(2);
    assert_eq!((overtaken.await.unwrap(), follower.await.unwrap()), (1, 2));
}

#[tokio::test]
async fn cache_without_a_shared_tier_supports_patterns() {
    let (cache, runs) = (Cache::builder().build().unwrap(), AtomicUsize::new(0));
    assert_eq!((bare(&cache, &runs, 1), bare(&cache, &runs, 1)), (0, 0));
    cache.invalidate_pattern("other:*", &[]).await.unwrap();
    assert_eq!(bare(&cache, &runs, 1), 0);
    cache.invalidate_pattern("bare:*", &[]).await.unwrap();
    assert_eq!(bare(&cache, &runs, 1), 1);
    cache.clear().confirmed().await.unwrap();
    assert_eq!(bare(&cache, &runs, 1), 2);
}

#[tokio::test]
async fn confirmation_fails_when_a_process_is_silent() {
    let (pair, source) = (Pair::new(), Source::open());
    fill(&pair, &source).await;
    analytics::invalidate(&pair.a, &source, "ada", 1).confirmed().await.unwrap();
    pair.tier_b.set_silent(true);
    let error = analytics::invalidate(&pair.a, &source, "ada", 1).confirmed().await.unwrap_err();
    assert!(error.is_not_confirmed(), "{error}");
}

#[tokio::test]
async fn outbox_is_resent_when_tier_is_back() {
    let (pair, source) = (Pair::new(), Source::open());
    fill(&pair, &source).await;
    pair.tier_a.set_down(true);
    assert!(analytics::invalidate(&pair.a, &source, "ada", 1).await.unwrap_err().is_not_propagated());
    assert!(pair.a.invalidate_tag("t", &[]).await.unwrap_err().is_not_propagated());
    assert!(pair.a.invalidate_pattern("analytics:bob:*", &[]).await.unwrap_err().is_not_propagated());
    assert_eq!(pair.a.stats().pending_invalidations, 3);
    assert_eq!(pair.a.stats().not_propagated, 3);
    assert_eq!(versions(&pair.a, &source).await, [2, 2, 1], "here it holds");
    assert_eq!(versions(&pair.b, &source).await, [1, 1, 1], "the other process is not notified");
    pair.tier_a.set_down(false);
    pair.flush().await;
    assert_eq!(pair.a.stats().pending_invalidations, 0);
    assert_eq!(versions(&pair.b, &source).await, [2, 2, 1]);
}

#[tokio::test]
async fn invalidation_completes_after_its_call_is_dropped() {
    let (pair, source) = (Pair::new(), Source::open());
    fill(&pair, &source).await;
    pair.tier_a.hold_deletes(true);
    let invalidation = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { analytics::invalidate(&cache, &source, "ada", 1).await }
    });
    let ask = || analytics::with(CacheControl::only_if_cached(), &pair.a, &source, "ada", 1);
    wait_until(|| pair.a.stats().invalidations == 1).await;
    invalidation.abort();
    pair.tier_a.hold_deletes(false);
    pair.flush().await;
    assert!(ask().await.is_none());
    assert_eq!(versions(&pair.b, &source).await, [2, 1, 1]);
}

#[tokio::test]
async fn combined_invalidation_takes_one_round_trip() {
    let (pair, source) = (Pair::new(), Source::open());
    let alone = Cache::builder().build().unwrap();
    fill(&pair, &source).await;
    analytics(&alone, &source, "ada", 1).await;
    let one = analytics::invalidate(&pair.a, &source, "ada", 1);
    let other = analytics::invalidate(&pair.a, &source, "bob", 1);
    let elsewhere = analytics::invalidate(&alone, &source, "ada", 1);
    let (done, trips) = pair.round_trips(one.and(elsewhere).and(other)).await;
    assert_eq!((done.is_ok(), trips), (true, 1));
    assert!(analytics::peek(&alone, &source, "ada", 1).await.is_none());
    assert_eq!(versions(&pair.b, &source).await, [2, 2, 1]);
}

#[tokio::test]
async fn clear_empties_l1() {
    let (pair, source) = (Pair::new(), Source::open());
    fill(&pair, &source).await;
    assert_eq!(pair.a.stats().l1_entries, 3);
    pair.a.clear().await.unwrap();
    let stats = pair.a.stats();
    assert_eq!((stats.l1_entries, stats.l1_bytes), (0, 0));
}

#[cached("many:{half}:{n}", ttl = "1h", tags = ["half:{half}"], cache = cache, skip(cache))]
async fn many(cache: &Cache, half: bool, n: u32) -> u32 {
    let _ = half;
    n
}

#[tokio::test]
async fn tag_and_pattern_invalidation_remove_entries_from_l1() {
    let pair = Pair::new();
    let fill = async || {
        for n in 0..2000 {
            many(&pair.a, n % 2 == 0, n).await;
        }
        pair.flush().await;
        assert_eq!(pair.a.stats().l1_entries, 2000);
    };
    fill().await;
    pair.a.invalidate_tag("half:{}", &[&true]).await.unwrap();
    wait_until(|| pair.a.stats().l1_entries == 1000).await;
    assert!(many::peek(&pair.a, false, 1).await.is_some());
    fill().await;
    pair.a.invalidate_pattern("many:*", &[]).await.unwrap();
    wait_until(|| pair.a.stats().l1_entries == 0).await;
}

#[tokio::test]
async fn pattern_removes_entries_without_names_from_l1() {
    let (cache, runs) = (Cache::builder().build().unwrap(), AtomicUsize::new(0));
    for n in 0..2000 {
        bare(&cache, &runs, n);
    }
    assert_eq!(cache.stats().l1_entries, 2000);
    cache.invalidate_pattern("bare:*", &[]).await.unwrap();
    wait_until(|| cache.stats().l1_entries == 0).await;
}

/// Cases: with a shared tier, without one, and with one that does not take part.
#[tokio::test]
async fn clear_resets_counters_in_every_mode() {
    for mode in [Mode::On, Mode::LocalOnly, Mode::Off] {
        let pair = Pair::with(|builder| builder.mode(mode));
        let alone = Cache::builder().mode(mode).build().unwrap();
        for cache in [&pair.a, &alone] {
            let count = async || cache.incr("logins", "ada", 1, None).await.unwrap();
            assert_eq!((count().await, count().await), (1, 2));
            cache.clear().await.unwrap();
            assert_eq!(count().await, 1, "{mode:?}");
            cache.invalidate_pattern("log*", &[]).await.unwrap();
            assert_eq!(count().await, 1, "{mode:?}: as a pattern that matches");
        }
    }
}

#[tokio::test]
async fn one_counter_is_reset_and_no_other() {
    for mode in [Mode::On, Mode::LocalOnly] {
        let pair = Pair::with(|builder| builder.mode(mode));
        let alone = Cache::builder().mode(mode).build().unwrap();
        for cache in [&pair.a, &alone] {
            let count = async |name: &str| cache.incr("logins", name, 1, None).await.unwrap();
            assert_eq!((count("ada").await, count("ada").await, count("bob").await), (1, 2, 1));
            cache.reset_counter("logins", "ada").await.unwrap();
            assert_eq!((count("ada").await, count("bob").await), (1, 2), "{mode:?}");
            assert!(cache.reset_counter("logins", &f64::NAN).await.unwrap_err().is_key());
            // The name of a counter does not contain the text of its key.
            cache.invalidate_pattern("logins:{}", &[&"bob"]).await.unwrap();
            assert_eq!(count("bob").await, 3);
            cache.invalidate_pattern("logins:*", &[]).await.unwrap();
            assert_eq!((count("ada").await, count("bob").await), (1, 1));
        }
    }
    let pair = Pair::new();
    pair.a.incr("logins", "ada", 1, None).await.unwrap();
    pair.tier_a.set_down(true);
    assert!(pair.a.reset_counter("logins", "ada").await.unwrap_err().is_not_propagated());
    pair.tier_a.set_down(false);
    pair.flush().await;
    assert_eq!(pair.b.incr("logins", "ada", 1, None).await.unwrap(), 1);
}
