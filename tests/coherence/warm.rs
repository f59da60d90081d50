//! Warm-up: keys are loaded before they are requested.

use std::{
    collections::HashSet,
    ops::AddAssign,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use cached_aside::{
    Cache, CacheControl, CacheOutcome, Layer, Mode, WarmReport, Warmed, cached, warm, warm_from,
};
use tokio::{
    join, select, spawn,
    sync::{Notify, mpsc},
    task::yield_now,
};

use crate::support::{Pair, SECOND, Source, settle, wait_until};

#[cached("warm:{id}", ttl = "100s", cache = cache, skip(cache, source))]
async fn item(cache: &Cache, source: &Source, id: u32) -> Result<usize, String> {
    let _ = id;
    source.try_load().await
}

#[cached("warm-few:{id}", ttl = "100s", max_loads = 2, cache = cache, skip(cache, source))]
async fn few(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("warm-inline:{id}", ttl = "100s", detach = false, cache = cache, skip(cache, source))]
async fn inline(cache: &Cache, source: &Source, id: u32) -> usize {
    let _ = id;
    source.load().await
}

#[cached("warm-odd:{id}", ttl = "100s", cache = cache, skip(cache))]
async fn mixed_outcome(cache: &Cache, id: u32) -> Result<u32, String> {
    match id % 3 {
        0 => Ok(id),
        1 => Err("as planned".to_owned()),
        _ => panic!("as planned"),
    }
}

/// Returns the counts of a report.
///
/// Their order is started, present, loaded, joined, failed, panicked, skipped.
fn counts(report: &WarmReport) -> [u64; 7] {
    let WarmReport { started, present, loaded, joined, failed, panicked, skipped, .. } = *report;
    [started, present, loaded, joined, failed, panicked, skipped]
}

#[tokio::test]
async fn concurrency_limits_the_loads_of_a_warm_up() {
    let (pair, source) = (Pair::new(), Source::gated());
    let warming = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { warm(0..10_u32, |id| item::warm(&cache, &source, id)).concurrency(4).await }
    });
    wait_until(|| source.runs() == 4).await;
    settle().await;
    assert_eq!(source.runs(), 4);
    source.release(1);
    wait_until(|| source.runs() == 5).await;
    settle().await;
    assert_eq!(source.runs(), 5);
    source.release(100);
    let report = warming.await.unwrap();
    assert_eq!((report.total, counts(&report)), (Some(10), [10, 0, 10, 0, 0, 0, 0]));
    assert!(report.is_complete() && report.done() == 10);
    pair.flush().await;
    for id in 0..10 {
        let reply = item::with(CacheControl::new(), &pair.a, &source, id).await;
        assert!(matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L1, .. }), "{:?}", reply.outcome);
    }
    assert_eq!(source.runs(), 10);
}

#[tokio::test]
async fn warming_loads_only_values_missing_from_all_tiers() {
    let (pair, source) = (Pair::new(), Source::open());
    for id in 0..3 {
        item(&pair.a, &source, id).await.unwrap();
    }
    pair.flush().await;
    for cache in [&pair.a, &pair.b] {
        let report = warm(0..4_u32, |id| item::warm(cache, &source, id)).concurrency(1).await;
        let loaded = u64::from(cache.stats().loads == 4);
        assert_eq!(counts(&report), [4, 4 - loaded, loaded, 0, 0, 0, 0]);
        pair.flush().await;
    }
    assert_eq!(source.runs(), 4);
    // Values that came from the shared tier are in L1 from then on.
    let (_, round_trips) = pair.round_trips(item(&pair.b, &source, 2)).await;
    assert_eq!((round_trips, source.runs()), (0, 4));
}

#[tokio::test]
async fn concurrent_warm_ups_of_processes_load_each_key_once() {
    let (pair, source) = (Pair::new(), Source::open());
    let start_warm_up = |cache: &Cache| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { warm(0..50_u32, |id| item::warm(&cache, &source, id)).concurrency(8).await })
    };
    let (a, b) = join!(start_warm_up(&pair.a), start_warm_up(&pair.b));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((a.done(), b.done(), source.runs()), (50, 50, 50), "{a}; {b}");
    assert_eq!(a.loaded + b.loaded, 50, "{a}; {b}");
}

#[tokio::test]
async fn warm_up_respects_max_loads() {
    let (pair, source) = (Pair::new(), Source::gated());
    let warming = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move { warm(0..6_u32, |id| few::warm(&cache, &source, id)).concurrency(6).await }
    });
    wait_until(|| source.runs() == 2).await;
    settle().await;
    assert_eq!(source.runs(), 2);
    source.release(100);
    assert_eq!(warming.await.unwrap().loaded, 6);
}

#[tokio::test]
async fn errors_and_panics_are_counted_and_do_not_end_the_warm_up() {
    let pair = Pair::new();
    let mut last = WarmReport::default();
    let report = warm(0..9_u32, |id| {
        assert!(id != 6, "as planned");
        mixed_outcome::warm(&pair.a, id)
    })
    .on_progress(|report| {
        assert_eq!(report.done(), last.done() + 1);
        last = *report;
    })
    .await;
    assert_eq!(counts(&report), [9, 0, 2, 0, 3, 4, 0]);
    assert!(!report.is_complete() && counts(&last) == counts(&report));
}

/// After the deadline, a load in a task of its own goes on, and its value is stored. A load in its caller is
/// dropped.
#[tokio::test]
async fn no_load_is_started_or_awaited_after_the_deadline() {
    const DEADLINE: Duration = Duration::from_millis(50);
    let (pair, source) = (Pair::new(), Source::gated());
    let report = warm(0_u32.., |id| item::warm(&pair.a, &source, id)).concurrency(3).deadline(DEADLINE).await;
    // Three, unless this machine stood still until the deadline.
    let started = report.started;
    assert_eq!((report.total, report.done(), report.unfinished), (None, 0, started));
    assert!(report.timed_out && started <= 3 && !report.is_complete());
    assert_eq!(pair.a.stats().in_flight, started);
    source.release(3);
    wait_until(|| pair.a.stats().in_flight == 0).await;
    pair.flush().await;
    for id in 0..u32::try_from(started).unwrap() {
        assert_eq!(item(&pair.a, &source, id).await, Ok(1));
    }
    assert_eq!(source.runs() as u64, started);

    let held = Source::gated();
    let report = warm(0_u32.., |id| inline::warm(&pair.a, &held, id)).concurrency(3).deadline(DEADLINE).await;
    assert_eq!((report.unfinished, held.runs() as u64), (report.started, report.started));
    assert_eq!(pair.a.stats().in_flight, 0);

    let report = warm(0.., |id| item::warm(&pair.a, &source, id)).deadline(Duration::ZERO).await;
    assert_eq!((report.started, report.timed_out), (0, true));
    // The deadline also ends a wait for arguments.
    let never = |_: &mut std::task::Context<'_>| Poll::<Option<u32>>::Pending;
    let report = warm_from(never, |id| item::warm(&pair.a, &source, id)).deadline(DEADLINE).await;
    assert!(report.timed_out && report.started == 0);
}

#[tokio::test]
async fn source_is_polled_only_when_another_load_may_start() {
    let (pair, source) = (Pair::new(), Source::gated());
    let (sender, mut receiver) = mpsc::channel(1);
    let sent = Arc::new(AtomicUsize::new(0));
    spawn({
        let sent = sent.clone();
        async move {
            for id in 0..20_u32 {
                sender.send(id).await.unwrap();
                sent.fetch_add(1, SeqCst);
            }
        }
    });
    let warming = spawn({
        let (cache, source) = (pair.a.clone(), source.clone());
        async move {
            warm_from(|cx| receiver.poll_recv(cx), |id| item::warm(&cache, &source, id)).concurrency(2).await
        }
    });
    wait_until(|| source.runs() == 2).await;
    settle().await;
    // Two loads are under way, and one argument is in the channel.
    assert_eq!((source.runs(), sent.load(SeqCst)), (2, 3));
    source.release(100);
    let report = warming.await.unwrap();
    assert_eq!((report.total, report.loaded, sent.load(SeqCst)), (None, 20, 20));
}

#[tokio::test]
async fn dropped_warm_up_leaves_no_load_in_flight() {
    let (pair, source) = (Pair::new(), Source::gated());
    {
        let mut warming =
            Box::pin(warm(0..4_u32, |id| inline::warm(&pair.a, &source, id)).concurrency(4).into_future());
        select! {
            report = &mut warming => panic!("no load was let through: {report}"),
            () = wait_until(|| source.runs() == 4) => {}
        }
    }
    assert_eq!(pair.a.stats().in_flight, 0);
    source.release(4);
    assert_eq!((inline(&pair.a, &source, 3).await, source.runs()), (1, 5));
}

/// While the cache is off there is nothing to warm, and a load would be useless.
#[tokio::test]
async fn values_that_cannot_be_stored_are_not_loaded() {
    let (pair, source) = (Pair::new(), Source::open());
    pair.a.set_mode(Mode::Off);
    let report = warm(0..4_u32, |id| item::warm(&pair.a, &source, id)).await;
    assert_eq!((counts(&report), source.runs()), ([4, 0, 0, 0, 0, 0, 4], 0));
    let keys = pair.b.keyspace::<f64, u32>("warm-float", SECOND).unwrap();
    let nan = keys.warm(&f64::NAN, || async { Ok::<_, String>(1) }).await;
    assert_eq!(nan, Warmed::Skipped);
}

#[tokio::test]
async fn a_keyspace_is_warmed_with_a_load() {
    let pair = Pair::new();
    let names = pair.a.keyspace::<u32, String>("warm-name", 100 * SECOND).unwrap();
    let load = |id: u32| async move { if id > 2 { Err("as planned") } else { Ok(format!("name {id}")) } };
    for expected in [[4, 0, 3, 0, 1, 0, 0], [4, 3, 0, 0, 1, 0, 0]] {
        let report = warm(0..4_u32, |id| {
            let names = &names;
            async move { names.warm(&id, || load(id)).await }
        })
        .await;
        assert_eq!(counts(&report), expected);
        pair.flush().await;
    }
    assert_eq!(names.get(&2).await.as_deref(), Some("name 2"));
}

/// A key that is cached never makes the warm-up wait, so the warm-up has to yield by itself.
#[tokio::test]
async fn warm_up_of_cached_keys_yields_to_other_tasks() {
    let (pair, source) = (Pair::new(), Source::open());
    item(&pair.a, &source, 7).await.unwrap();
    pair.flush().await;
    let turns = Arc::new(AtomicUsize::new(0));
    let other = spawn({
        let turns = turns.clone();
        async move {
            loop {
                turns.fetch_add(1, SeqCst);
                yield_now().await;
            }
        }
    });
    let report = warm((0..10_000).map(|_| 7), |id| item::warm(&pair.a, &source, id)).await;
    other.abort();
    assert_eq!((report.present, source.runs()), (10_000, 1));
    assert!(turns.load(SeqCst) >= 100, "{}", turns.load(SeqCst));
}

/// Only a load that can go on is polled.
#[tokio::test]
async fn woken_load_does_not_poll_the_others() {
    let polls = Arc::new(Mutex::new(vec![0_usize; 9]));
    let names = Cache::builder().build().unwrap().keyspace::<usize, usize>("polls", SECOND).unwrap();
    let load = |id: usize| {
        let polls = polls.clone();
        let mut left = 50;
        let body = std::future::poll_fn(move |cx| {
            polls.lock().unwrap()[id].add_assign(1);
            if id > 0 || left == 0 {
                return if id > 0 { Poll::Pending } else { Poll::Ready(Ok::<_, String>(id)) };
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        let names = &names;
        async move { names.warm(&id, || body).await }
    };
    let first = Notify::new();
    let warming = warm(0..9, load).on_progress(|report| {
        assert_eq!(report.loaded, 1);
        first.notify_one();
    });
    select! {
        _ = warming.into_future() => panic!("the others never end"),
        () = first.notified() => {}
    }
    let polls = polls.lock().unwrap();
    assert!(polls[0] == 51 && polls[1..].iter().all(|polls| *polls <= 3), "{polls:?}");
}

#[test]
fn report_is_serializable_and_printable() {
    let report: WarmReport =
        serde_json::from_str(r#"{"total":9,"started":5,"loaded":3,"failed":1}"#).unwrap();
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<WarmReport>(&text).unwrap(), report);
    assert_eq!(
        report.to_string(),
        "4 of 9 done: 3 loaded, 0 present, 0 joined, 1 failed, 0 panicked, 0 skipped"
    );
    let names: HashSet<_> =
        [Warmed::Present, Warmed::Joined].map(|it| serde_json::to_string(&it).unwrap()).into();
    assert!(names.contains(r#""present""#) && names.len() == 2);
}
