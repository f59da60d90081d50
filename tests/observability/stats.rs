//! Counters and latencies of each function.

use cached_aside::{Cache, FunctionStats, cached, testing::ManualClock};
use serde_json::{Value, to_value};
use tokio::task::spawn;

use crate::support::{SECOND, TestCache, stats_of, wait_until};

#[cached("one:{id}", ttl = "1m", cache = cache, skip(cache, clock), tags = ["one"])]
async fn one(cache: &Cache, clock: &ManualClock, id: u64) -> Result<u64, u64> {
    clock.advance(SECOND * 3);
    match id {
        0..100 => Ok(id),
        100 => panic!("as planned"),
        _ => Err(id),
    }
}

#[cached("two", ttl = "1m", cache = cache, skip(cache))]
async fn two(cache: &Cache, id: u64) -> u64 {
    id
}

#[cached("refused:{id}", ttl = "1m", cache = cache, skip(cache), local)]
fn refused(cache: &Cache, id: f64) -> f64 {
    id
}

#[tokio::test]
async fn each_function_has_its_own_counters_and_they_add_up_to_the_total() {
    let set = TestCache::new();
    let (cache, clock) = (&set.cache, &set.clock);
    for _ in 0..3 {
        one(cache, clock, 1).await.unwrap();
    }
    one(cache, clock, 200).await.unwrap_err();
    let panicked = {
        let (cache, clock) = (cache.clone(), clock.clone());
        spawn(async move { one(&cache, &clock, 100).await })
    };
    assert!(panicked.await.unwrap_err().is_panic());
    two(cache, 1).await;
    cache.flush().await;
    one::invalidate(cache, clock, 1).await.unwrap();
    refused(cache, f64::NAN);

    let stats = stats_of(cache, "one:{}");
    assert_eq!((stats.hits_l1, stats.misses, stats.loads), (2, 3, 3));
    assert_eq!((stats.load_errors, stats.load_panics), (1, 1));
    assert_eq!((stats.fills, stats.shared_fills, stats.invalidations), (1, 1, 1));
    let stats = stats_of(cache, "two");
    assert_eq!((stats.hits_l1, stats.misses, stats.fills, stats.invalidations), (0, 1, 1, 0));
    assert_eq!((stats_of(cache, "refused:{}").keys_refused, stats_of(cache, "refused:{}").bypassed), (1, 1));

    // Another process.
    let other = set.other();
    two(&other, 1).await;
    assert_eq!((stats_of(&other, "two").hits_l2, stats_of(&other, "two").loads), (1, 0));

    // An outage. Some counts of it belong to one function, and some to none.
    set.tier.set_down(true);
    clock.advance(SECOND * 2);
    two(cache, 1).await;
    one(cache, clock, 2).await.unwrap();
    assert_eq!(stats_of(cache, "two").served_in_outage, 1);
    assert!(stats_of(cache, "one:{}").shared_skipped > 0);
    two::invalidate(cache, 1).await.unwrap_err();
    assert_eq!(stats_of(cache, "two").not_propagated, 1);
    cache.invalidate_tag("one", &[]).await.unwrap_err();

    let all: Vec<Value> = cache.stats_by_function().iter().map(|one| to_value(one).unwrap()).collect();
    let sum = |field: &str| all.iter().map(|one| one[field].as_u64().unwrap()).sum::<u64>();
    let now = ["l1_entries", "l1_bytes", "l1_retired_bytes", "in_flight", "waiting", "pending_invalidations"];
    let total = to_value(cache.stats()).unwrap();
    let mut compared = 0;
    for (field, total) in
        total.as_object().unwrap().iter().filter(|(field, _)| !now.contains(&field.as_str()))
    {
        // The invalidation of the tag belongs to no function.
        let of_none = u64::from(["invalidations", "not_propagated"].contains(&field.as_str()));
        assert_eq!(total.as_u64().unwrap(), sum(field) + of_none, "{field}");
        compared += 1;
    }
    assert!(compared > 20);
    assert_eq!(names(cache), ["one:{}", "refused:{}", "two"]);
}

fn names(cache: &Cache) -> Vec<String> {
    cache.stats_by_function().into_iter().map(|one| one.function).collect()
}

#[tokio::test]
async fn loads_and_lookups_are_timed_by_the_clock_of_the_cache() {
    let set = TestCache::new();
    for id in 0..9 {
        one(&set.cache, &set.clock, id).await.unwrap();
    }
    set.tier.hold_reads(true);
    let waiting_call = {
        let (cache, clock) = (set.cache.clone(), set.clock.clone());
        spawn(async move { one(&cache, &clock, 10).await })
    };
    wait_until(|| set.cache.stats().in_flight == 1).await;
    wait_until({
        let mut turns = 0;
        move || {
            turns += 1;
            turns > 20
        }
    })
    .await;
    set.clock.advance(SECOND * 20);
    set.tier.hold_reads(false);
    waiting_call.await.unwrap().unwrap();

    let stats = stats_of(&set.cache, "one:{}");
    assert_eq!((stats.load.count, stats.load.max_ns), (10, 3_000_000_000));
    assert!(stats.load.p50_ns.abs_diff(3_000_000_000) < 200_000_000, "{:?}", stats.load);
    assert_eq!((stats.lookup.p50_ns, stats.lookup.max_ns), (0, 20_000_000_000), "{:?}", stats.lookup);
    assert_eq!(stats.lookup.count, 10);
    assert!(stats.lookup.p99_ns > 18_000_000_000);
    assert_eq!((stats.hit.count, stats_of(&set.cache, "two").lookup.count), (0, 0));
}

#[tokio::test]
async fn one_plain_hit_in_64_is_timed() {
    let cache = Cache::builder().build().unwrap();
    for _ in 0..6_401 {
        two(&cache, 1).await;
    }
    let stats = stats_of(&cache, "two");
    assert_eq!(stats.hits_l1, 6_400);
    assert!((90..=110).contains(&stats.hit.count), "{:?}", stats.hit);
    assert!(stats.hit.p50_ns > 0 && stats.hit.p50_ns < 100_000, "{:?}", stats.hit);
    assert!(stats.hit.p50_ns <= stats.hit.p90_ns && stats.hit.p99_ns <= stats.hit.max_ns);
}

#[tokio::test]
async fn snapshots_can_be_deserialized_including_older_ones() {
    let set = TestCache::new();
    one(&set.cache, &set.clock, 1).await.unwrap();
    let all = set.cache.stats_by_function();
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<Vec<FunctionStats>>(&text).unwrap(), all);
    let older: FunctionStats = serde_json::from_str(r#"{"function":"one:{}","loads":7}"#).unwrap();
    assert_eq!((older.loads, older.misses, older.load.count), (7, 0, 0));
}
