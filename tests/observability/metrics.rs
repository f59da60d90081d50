//! Export of metrics to a recorder.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use cached_aside::{Cache, METRICS, MetricKind, cached, testing::ManualClock};
use metrics::with_local_recorder;

use crate::{
    recorder::Memory,
    support::{SECOND, TestCache},
};

#[cached("slow:{id}", ttl = "1m", cache = cache, skip(cache, clock))]
async fn slow(cache: &Cache, clock: &ManualClock, id: u64) -> Result<u64, u64> {
    clock.advance(SECOND * 2);
    if id < 10 { Ok(id) } else { Err(id) }
}

#[cached("quick", ttl = "1m", cache = cache, skip(cache), local)]
fn quick(cache: &Cache, id: u64) -> u64 {
    id
}

#[tokio::test]
async fn each_count_is_exported_once() {
    let (memory, set) = (Memory::default(), TestCache::new());
    let (cache, clock) = (&set.cache, &set.clock);
    let export = || with_local_recorder(&memory, || cache.export_metrics());
    for _ in 0..3 {
        slow(cache, clock, 1).await.unwrap();
    }
    slow(cache, clock, 11).await.unwrap_err();
    cache.flush().await;
    export();
    export();
    let is =
        |series: &str, value: f64| assert!((memory.sum(series) - value).abs() < 0.2, "{series}: {memory:?}");
    is("cached_aside_hits_total{function=slow:{},tier=l1}", 2.0);
    is("cached_aside_misses_total{function=slow:{}}", 2.0);
    is("cached_aside_loads_total{function=slow:{}}", 2.0);
    is("cached_aside_load_failures_total{function=slow:{},outcome=error}", 1.0);
    is("cached_aside_fills_total{function=slow:{},outcome=kept}", 1.0);
    is("cached_aside_shared_fills_total{function=slow:{},outcome=stored}", 1.0);
    is("cached_aside_load_seconds{function=slow:{}}", 4.0);
    is("cached_aside_hits_total{function=slow:{},tier=l2}", 0.0);

    // Another process. Its counts add up here as if it were another cache of this process.
    let other = set.other();
    slow(&other, clock, 1).await.unwrap();
    slow(cache, clock, 1).await.unwrap();
    slow::invalidate(cache, clock, 1).await.unwrap();
    cache.invalidate_tag("all", &[]).await.unwrap();
    with_local_recorder(&memory, || other.export_metrics());
    export();
    is("cached_aside_hits_total{function=slow:{},tier=l1}", 3.0);
    is("cached_aside_hits_total{function=slow:{},tier=l2}", 1.0);
    is("cached_aside_invalidations_total{function=slow:{}}", 1.0);
    is("cached_aside_invalidations_total{function=}", 1.0);
}

#[tokio::test]
async fn gauges_report_the_current_state() {
    let (memory, set) = (Memory::default(), TestCache::new());
    let export = || with_local_recorder(&memory, || set.cache.export_metrics());
    let last =
        |name: &str| *memory.values.lock().unwrap()[&format!("{name}{{namespace=test}}")].last().unwrap();
    let is = |name: &str, value: f64| assert!((last(name) - value).abs() < 1e-9, "{name}: {}", last(name));
    slow(&set.cache, &set.clock, 1).await.unwrap();
    set.cache.flush().await;
    export();
    is("cached_aside_l1_entries", 1.0);
    is("cached_aside_tier_ready", 1.0);
    set.tier.set_down(true);
    slow::invalidate(&set.cache, &set.clock, 1).await.unwrap_err();
    export();
    is("cached_aside_l1_entries", 0.0);
    is("cached_aside_tier_ready", 0.0);
    is("cached_aside_pending_invalidations", 1.0);

    let alone = Memory::default();
    with_local_recorder(&alone, || Cache::builder().build().unwrap().export_metrics());
    let values = alone.values.lock().unwrap();
    assert!(values.contains_key("cached_aside_in_flight{namespace=cached-aside}"));
    assert!(!values.keys().any(|series| series.contains("tier")), "{values:?}");
}

#[test]
fn hits_of_all_threads_are_exported() {
    let (memory, cache) = (Memory::default(), Cache::builder().build().unwrap());
    quick(&cache, 1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|_| _ = quick(&cache, 1)));
        }
    });
    with_local_recorder(&memory, || cache.export_metrics());
    assert!((memory.sum("cached_aside_hits_total{function=quick,tier=l1}") - 4_000.0).abs() < 0.5);
    let timed = memory.values.lock().unwrap()["cached_aside_hit_seconds{function=quick}"].clone();
    assert!((40..=90).contains(&timed.len()) && timed.iter().all(|seconds| *seconds < 1.0), "{timed:?}");
}

#[test]
fn described_metrics_are_those_of_the_table() {
    let (memory, cache) = (Memory::default(), Cache::builder().build().unwrap());
    with_local_recorder(&memory, || cache.export_metrics());
    let described: Vec<_> = memory.described.lock().unwrap().keys().cloned().collect();
    let mut known: Vec<_> = METRICS.iter().map(|metric| format!("{} {}", metric.name, metric.help)).collect();
    known.sort();
    assert_eq!(described, known);
    assert!(
        METRICS.iter().all(|metric| (metric.kind == MetricKind::Counter) == metric.name.ends_with("_total"))
    );
}

/// Returns the installed recorder.
///
/// A publisher has a thread of its own, so a recorder of one thread would not get its metrics.
fn installed() -> &'static Memory {
    static INSTALLED: OnceLock<Memory> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let memory = Memory::default();
        metrics::set_global_recorder(memory.clone()).unwrap();
        memory
    })
}

#[test]
fn a_publisher_exports_for_as_long_as_the_cache_lives() {
    let memory = installed();
    let build = || Cache::builder().namespace("published");
    let cache = build().publish_metrics(Duration::from_millis(1)).build().unwrap();
    let exports = || {
        memory.values.lock().unwrap().get("cached_aside_l1_entries{namespace=published}").map_or(0, Vec::len)
    };
    let began = Instant::now();
    while exports() < 3 {
        assert!(began.elapsed() < SECOND * 20, "it does not publish");
        thread::yield_now();
    }
    drop(cache);
    // The publisher has ended when it publishes nothing for a hundred of its periods.
    let mut last = (exports(), Instant::now());
    while last.1.elapsed() < Duration::from_millis(100) {
        assert!(began.elapsed() < SECOND * 20, "it does not end");
        if exports() != last.0 {
            last = (exports(), Instant::now());
        }
        thread::yield_now();
    }
    let never = build().namespace("never").publish_metrics(Duration::ZERO).build().unwrap();
    thread::sleep(Duration::from_millis(10));
    drop(never);
    assert!(!memory.values.lock().unwrap().keys().any(|series| series.contains("never")));
}
