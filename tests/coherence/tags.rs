//! Tags of arguments, and tags of values.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use cached_aside::{Cache, cached, tag};
use tokio::spawn;

use crate::support::{Pair, Source, wait_until};

#[cached("note:{user}:{note}", ttl = "1h", tags = ["note:{note}", "user:{user}"], cache = cache, skip(cache, source))]
async fn note(cache: &Cache, source: &Source, user: &str, note: u32) -> usize {
    let _ = (user, note);
    source.load().await
}

/// Function with tags that come from the value.
#[cached("list:{n}", ttl = "1h", tags_from = |ids| ids.iter().map(|id| tag!("item:{}", id)).collect(), cache = cache,
    skip(cache, source))]
async fn list(cache: &Cache, source: &Source, n: usize) -> Vec<usize> {
    let version = source.load().await;
    vec![n, version * 100]
}

#[cached("here:{n}", local, ttl = "1h", tags = ["n:{n}"], cache = cache, skip(cache, runs))]
fn here(cache: &Cache, runs: &AtomicUsize, n: u32) -> usize {
    let _ = n;
    runs.fetch_add(1, SeqCst)
}

/// A request handler of a server runs in such a task, so the futures must be `Send`.
#[tokio::test]
async fn invalidations_of_tags_and_patterns_are_send() {
    let (pair, id) = (Pair::new(), 7);
    let cache = pair.a.clone();
    let task = spawn(async move {
        cache.invalidate_tag("note:{}", &[&id]).await?;
        cache.invalidate_pattern("note:{}:*", &[&"ada"]).await
    });
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn tag_invalidates_its_entries_in_all_processes_and_no_others() {
    let (pair, source) = (Pair::new(), Source::open());
    for cache in [&pair.a, &pair.b] {
        for id in 0..3 {
            note(cache, &source, "ada", id).await;
            note(cache, &source, "bob", id).await;
        }
        pair.flush().await;
    }
    assert_eq!(source.runs(), 6);
    source.write();
    pair.a.invalidate_tag("note:{}", &[&1]).await.unwrap();
    for cache in [&pair.b, &pair.a] {
        for id in 0..3 {
            let expected = if id == 1 { 2 } else { 1 };
            assert_eq!(note(cache, &source, "ada", id).await, expected);
            assert_eq!(note(cache, &source, "bob", id).await, expected);
        }
        pair.flush().await;
    }
    assert_eq!(source.runs(), 8);
    pair.b.invalidate_tag("user:{}", &[&"ada"]).await.unwrap();
    assert_eq!(note(&pair.a, &source, "ada", 0).await, 2);
    assert_eq!(note(&pair.a, &source, "bob", 0).await, 1);
}

#[tokio::test]
async fn tag_invalidation_takes_one_round_trip() {
    let (pair, source) = (Pair::new(), Source::open());
    for id in 0..200 {
        note(&pair.a, &source, "ada", id).await;
    }
    let (done, trips) = pair.round_trips(pair.a.invalidate_tag("user:{}", &[&"ada"])).await;
    assert_eq!((done.is_ok(), trips), (true, 1));
    // One look for an entry and its tags, one lease with new generations, and one fill.
    let (_, trips) = pair.round_trips(note(&pair.a, &source, "ada", 7)).await;
    assert_eq!(trips, 3);
    let (_, trips) = pair.round_trips(note(&pair.b, &source, "ada", 7)).await;
    assert_eq!(trips, 1);
    let (_, trips) = pair.round_trips(note(&pair.b, &source, "ada", 7)).await;
    assert_eq!(trips, 0);
}

#[tokio::test]
async fn load_that_began_before_its_tag_was_invalidated_is_not_stored() {
    for by_a in [true, false] {
        let (pair, source) = (Pair::new(), Source::gated());
        let loading = spawn({
            let (cache, source) = (pair.a.clone(), source.clone());
            async move { note(&cache, &source, "ada", 7).await }
        });
        wait_until(|| source.runs() == 1).await;
        source.write();
        let cache = if by_a { &pair.a } else { &pair.b };
        cache.invalidate_tag("note:{}", &[&7]).await.unwrap();
        source.release(10);
        assert_eq!(loading.await.unwrap(), 1);
        pair.flush().await;
        assert_eq!(note(&pair.b, &source, "ada", 7).await, 2);
        assert_eq!(note(&pair.a, &source, "ada", 7).await, 2);
    }
}

#[tokio::test]
async fn missing_tag_generation_invalidates() {
    let (pair, source) = (Pair::new(), Source::open());
    note(&pair.a, &source, "ada", 7).await;
    pair.flush().await;
    pair.tier_a.remove("test:%tag:note:7");
    source.write();
    assert_eq!(note(&pair.b, &source, "ada", 7).await, 2);
    pair.flush().await;
    assert_eq!(note(&pair.a, &source, "ada", 7).await, 2);
}

#[tokio::test]
async fn invalidated_value_tag_removes_the_value_everywhere() {
    let (pair, source) = (Pair::new(), Source::open());
    assert_eq!(list(&pair.a, &source, 7).await, [7, 100]);
    pair.flush().await;
    assert_eq!(list(&pair.b, &source, 7).await, [7, 100]);
    assert_eq!(source.runs(), 1);
    pair.b.invalidate_tag("item:{}", &[&8]).await.unwrap();
    assert_eq!((list(&pair.a, &source, 7).await.len(), source.runs()), (2, 1));
    source.write();
    pair.b.invalidate_tag("item:{}", &[&100]).await.unwrap();
    for cache in [&pair.a, &pair.b] {
        assert_eq!(list(cache, &source, 7).await, [7, 200]);
        pair.flush().await;
    }
    assert_eq!(source.runs(), 2);
}

/// The tag is invalidated by another process, by the loading process itself, or in a process without a shared
/// tier.
#[tokio::test]
async fn load_is_not_stored_when_its_value_tag_is_invalidated_meanwhile() {
    for origin in ["another", "itself", "alone"] {
        let (pair, source) = (Pair::new(), Source::gated());
        let alone = Cache::builder().clock(pair.clock.clock()).build().unwrap();
        let (cache, other) = match origin {
            "another" => (&pair.a, &pair.b),
            "itself" => (&pair.a, &pair.a),
            _ => (&alone, &alone),
        };
        let loading = spawn({
            let (cache, source) = (cache.clone(), source.clone());
            async move { list(&cache, &source, 7).await }
        });
        wait_until(|| source.runs() == 1).await;
        source.write();
        other.invalidate_tag("item:{}", &[&100]).await.unwrap();
        source.release(10);
        assert_eq!(loading.await.unwrap(), [7, 100]);
        for _ in 0..2 {
            cache.flush().await;
            assert_eq!(list(cache, &source, 7).await, [7, 200], "{origin}");
        }
        assert_eq!(source.runs(), 2);
    }
}

/// A load may take long, and unrelated tags are invalidated all the time.
#[tokio::test]
async fn load_is_stored_when_only_other_tags_are_invalidated() {
    for origin in ["another", "itself", "alone"] {
        let (pair, source) = (Pair::new(), Source::gated());
        let alone = Cache::builder().clock(pair.clock.clock()).build().unwrap();
        let (cache, other) = match origin {
            "another" => (&pair.a, &pair.b),
            "itself" => (&pair.a, &pair.a),
            _ => (&alone, &alone),
        };
        let loading = spawn({
            let (cache, source) = (cache.clone(), source.clone());
            async move { list(&cache, &source, 7).await }
        });
        wait_until(|| source.runs() == 1).await;
        for number in 0..50_u32 {
            other.invalidate_tag("item:{}", &[&(1000 + number)]).await.unwrap();
        }
        source.release(1);
        assert_eq!(loading.await.unwrap(), [7, 100]);
        cache.flush().await;
        assert_eq!(list(cache, &source, 7).await, [7, 100], "{origin}");
        assert_eq!(source.runs(), 1, "{origin}");
        other.invalidate_tag("item:{}", &[&100]).await.unwrap();
        source.release(1);
        list(cache, &source, 7).await;
        assert_eq!(source.runs(), 2, "{origin}");
    }
}

#[tokio::test]
async fn local_functions_have_tags() {
    let (cache, runs) = (Cache::builder().build().unwrap(), AtomicUsize::new(0));
    assert_eq!((here(&cache, &runs, 7), here(&cache, &runs, 7), here(&cache, &runs, 8)), (0, 0, 1));
    cache.invalidate_tag("n:{}", &[&7]).await.unwrap();
    assert_eq!((here(&cache, &runs, 7), here(&cache, &runs, 8)), (2, 1));
}

#[tokio::test]
async fn a_function_that_is_not_async_can_be_invalidated_inside_of_a_runtime() {
    let (pair, runs) = (Pair::new(), AtomicUsize::new(0));
    assert_eq!((here(&pair.a, &runs, 7), here(&pair.a, &runs, 7)), (0, 0));
    here::invalidate(&pair.a, &runs, 7).unwrap();
    assert_eq!(here(&pair.a, &runs, 7), 1);
}
