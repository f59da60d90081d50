//! Single-flight: of many callers that miss one key, one loads. Loads are counted, not timed.

#![allow(unused_variables, reason = "an argument that only makes the key")]

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use cached_aside::{Cache, CacheControl, CacheOutcome, LoadError, Reason, cached, testing::ManualClock};
use tokio::{
    sync::{Notify, Semaphore},
    task::{JoinSet, yield_now},
};

/// Loads that are counted, and that a test can hold.
#[derive(Clone)]
struct Source(Arc<Inner>);

struct Inner {
    runs: AtomicUsize,
    started: Notify,
    gate: Semaphore,
}

impl Source {
    fn open() -> Self {
        Self::with_permits(Semaphore::MAX_PERMITS)
    }

    /// Creates a source with loads that wait until they are let through.
    fn gated() -> Self {
        Self::with_permits(0)
    }

    fn with_permits(permits: usize) -> Self {
        Self(Arc::new(Inner {
            runs: AtomicUsize::new(0),
            started: Notify::new(),
            gate: Semaphore::new(permits),
        }))
    }

    /// Returns the number of this run, from 1, when it is let through.
    async fn run(&self) -> usize {
        let run = self.0.runs.fetch_add(1, SeqCst) + 1;
        self.0.started.notify_one();
        self.0.gate.acquire().await.unwrap().forget();
        run
    }

    async fn wait_for_start(&self) {
        self.0.started.notified().await;
    }

    fn release(&self, loads: usize) {
        self.0.gate.add_permits(loads);
    }

    fn runs(&self) -> usize {
        self.0.runs.load(SeqCst)
    }
}

fn cache() -> Cache {
    Cache::builder().build().unwrap()
}

/// Lets every other task run until nothing more happens.
async fn settle() {
    for _ in 0..1_000 {
        yield_now().await;
    }
}

/// Function with a load that owns its arguments, and so has a task of its own.
#[cached("detached", ttl = "1h", cache = cache, skip(cache, source))]
async fn detached(cache: &Cache, source: &Source, key: u32) -> usize {
    source.run().await
}

/// Argument that is not `Clone`, so that the load has to borrow.
struct Borrowed(Source);

#[cached("inline", ttl = "1h", cache = cache, skip(cache, source))]
async fn inline(cache: &Cache, source: &Borrowed, key: u32) -> usize {
    source.0.run().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_callers_of_a_cold_key_are_one_load() {
    let (cache, source) = (cache(), Source::gated());
    let mut callers = JoinSet::new();
    for _ in 0..10_000 {
        let (cache, source) = (cache.clone(), source.clone());
        callers.spawn(async move { detached(&cache, &source, 7).await });
    }
    source.wait_for_start().await;
    source.release(1);
    assert!(callers.join_all().await.into_iter().all(|run| run == 1));
    assert_eq!(source.runs(), 1);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.misses, stats.in_flight), (1, 1, 0));
    assert_eq!(stats.joined + stats.hits_l1, 9_999);
}

#[test]
fn concurrent_sync_calls_are_one_load() {
    #[cached("sync", ttl = "1h", local, cache = cache, skip(cache, runs))]
    fn slow(cache: &Cache, runs: &AtomicUsize, key: u32) -> usize {
        runs.fetch_add(1, SeqCst);
        7
    }
    const CALLERS: usize = 32;
    let (cache, runs, calling) = (cache(), AtomicUsize::new(0), Barrier::new(CALLERS));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                calling.wait();
                assert_eq!(slow(&cache, &runs, 1), 7);
            });
        }
    });
    assert_eq!(runs.load(SeqCst), 1);
    assert_eq!(cache.stats().in_flight, 0);
}

#[tokio::test]
async fn load_continues_when_its_caller_is_dropped() {
    let (cache, source) = (cache(), Source::gated());
    let leader = tokio::spawn({
        let (cache, source) = (cache.clone(), source.clone());
        async move { detached(&cache, &source, 7).await }
    });
    source.wait_for_start().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    source.release(1);
    assert_eq!(detached(&cache, &source, 7).await, 1);
    assert_eq!(source.runs(), 1);
}

#[tokio::test]
async fn one_follower_loads_when_a_borrowing_leader_is_dropped() {
    let (cache, source) = (cache(), Source::gated());
    let borrowed = Arc::new(Borrowed(source.clone()));
    let call = || {
        let (cache, borrowed) = (cache.clone(), borrowed.clone());
        tokio::spawn(async move { inline(&cache, &borrowed, 7).await })
    };
    let leader = call();
    source.wait_for_start().await;
    let followers: Vec<_> = (0..100).map(|_| call()).collect();
    settle().await;
    assert_eq!(source.runs(), 1);
    leader.abort();
    source.wait_for_start().await;
    source.release(1);
    for follower in followers {
        assert_eq!(follower.await.unwrap(), 2);
    }
    assert_eq!(source.runs(), 2);
    assert_eq!(cache.stats().in_flight, 0);
}

#[tokio::test]
async fn a_leader_that_is_not_polled_is_overtaken() {
    let (cache, source) = (cache(), Source::gated());
    let borrowed = Borrowed(source.clone());
    let mut parked = Box::pin(inline(&cache, &borrowed, 7));
    // The leader begins its load, is woken, and is never polled again.
    assert!(poll_fn(|cx| Poll::Ready(parked.as_mut().poll(cx).is_pending())).await);
    source.release(2);
    assert_eq!(inline(&cache, &borrowed, 7).await, 2);
    assert_eq!(source.runs(), 2);
    drop(parked);
    assert_eq!(cache.stats().in_flight, 0);
}

#[tokio::test]
async fn leader_on_an_idle_runtime_is_overtaken() {
    let (cache, source) = (cache(), Source::gated());
    // A runtime that is alive, but not driven.
    let idle = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let leader = idle.spawn({
        let (cache, source) = (cache.clone(), source.clone());
        async move { detached(&cache, &source, 7).await }
    });
    thread::scope(|scope| {
        scope.spawn(|| idle.block_on(source.wait_for_start()));
    });
    source.release(2);
    assert_eq!(detached(&cache, &source, 7).await, 2);
    drop(leader);
    thread::spawn(move || drop(idle)).join().unwrap();
    assert_eq!(cache.stats().in_flight, 0);
}

#[tokio::test]
async fn a_load_that_its_runtime_never_polls_is_overtaken() {
    let (cache, source) = (cache(), Source::open());
    let idle = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut call = Box::pin(detached(&cache, &source, 7));
    let is_pending = {
        let _inside = idle.enter();
        call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    };
    assert!(is_pending, "its load was handed to the runtime that nobody drives");
    assert_eq!(detached(&cache, &source, 7).await, 1);
    thread::spawn(move || drop(idle)).join().unwrap();
    drop(call);
    assert_eq!((source.runs(), cache.stats().in_flight), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_panic_costs_at_most_one_further_run() {
    #[cached("panics", ttl = "1h", cache = cache, skip(cache, source))]
    async fn panics(cache: &Cache, source: &Source, key: u32) -> usize {
        let run = source.run().await;
        panic!("run {run}")
    }
    let (cache, source) = (cache(), Source::gated());
    let mut callers = JoinSet::new();
    for _ in 0..300 {
        let (cache, source) = (cache.clone(), source.clone());
        callers.spawn(async move { panics(&cache, &source, 7).await });
    }
    source.wait_for_start().await;
    while cache.stats().waiting < 299 {
        yield_now().await;
    }
    source.release(300);
    while let Some(end) = callers.join_next().await {
        assert!(end.unwrap_err().is_panic());
    }
    assert_eq!(source.runs(), 2);
    assert_eq!(cache.stats().in_flight, 0);
}

#[tokio::test]
async fn followers_succeed_when_a_panic_is_not_repeated() {
    #[cached("once", ttl = "1h", cache = cache, skip(cache, source))]
    async fn once(cache: &Cache, source: &Source, key: u32) -> usize {
        let run = source.run().await;
        assert!(run > 1, "the first run fails");
        run
    }
    let (cache, source) = (cache(), Source::gated());
    let call = || {
        let (cache, source) = (cache.clone(), source.clone());
        tokio::spawn(async move { once(&cache, &source, 7).await })
    };
    let leader = call();
    source.wait_for_start().await;
    let followers: Vec<_> = (0..100).map(|_| call()).collect();
    settle().await;
    source.release(2);
    let panic = leader.await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the first run fails"));
    for follower in followers {
        assert_eq!(follower.await.unwrap(), 2);
    }
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn keyspace_followers_get_a_typed_error_when_leader_panics() {
    let cache = cache();
    let keyspace = cache.keyspace::<u32, u32>("panics", Duration::from_secs(60)).unwrap();
    let source = Source::gated();
    let call = || {
        let (keyspace, source) = (keyspace.clone(), source.clone());
        tokio::spawn(async move {
            keyspace
                .get_or_load(&7, || async {
                    source.run().await;
                    panic!("no");
                    #[allow(unreachable_code)]
                    Ok::<u32, Infallible>(0)
                })
                .await
        })
    };
    let leader = call();
    source.wait_for_start().await;
    let followers: Vec<_> = (0..10).map(|_| call()).collect();
    settle().await;
    source.release(10);
    assert!(leader.await.unwrap_err().is_panic());
    let mut typed = 0;
    for follower in followers {
        typed += usize::from(matches!(follower.await, Ok(Err(LoadError::Panicked))));
    }
    // All followers but the one that ran the load again.
    assert_eq!((source.runs(), typed), (2, 9));
}

#[derive(Clone, Debug, PartialEq)]
struct Shareable(usize);

#[derive(Debug, PartialEq)]
struct Unshareable(usize);

#[tokio::test]
async fn an_error_that_can_be_cloned_is_shared() {
    #[cached("err", ttl = "1h", cache = cache, skip(cache, source))]
    async fn fails(cache: &Cache, source: &Source, key: u32) -> Result<u32, Shareable> {
        Err(Shareable(source.run().await))
    }
    let (cache, source) = (cache(), Source::gated());
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (cache, source) = (cache.clone(), source.clone());
            tokio::spawn(async move { fails(&cache, &source, 7).await })
        })
        .collect();
    source.wait_for_start().await;
    settle().await;
    source.release(1);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Err(Shareable(1)));
    }
    // The error is not cached.
    source.release(1);
    assert_eq!(fails(&cache, &source, 7).await, Err(Shareable(2)));
}

#[tokio::test]
async fn load_that_calls_its_own_key_runs_the_body() {
    #[cached("recursive", ttl = "1h", cache = cache, skip(cache, source, depth), detach = false)]
    async fn recursive(cache: &Cache, source: &Source, depth: u32, key: u32) -> usize {
        let run = source.run().await;
        if depth == 0 { run } else { Box::pin(recursive(cache, source, depth - 1, key)).await }
    }
    let (cache, source) = (cache(), Source::open());
    assert_eq!(recursive(&cache, &source, 2, 7).await, 3);
    assert_eq!(source.runs(), 3);
    assert_eq!(cache.stats().bypassed, 2);
    let reply = recursive::with(CacheControl::new(), &cache, &source, 2, 7).await;
    assert!(reply.outcome.is_hit());
}

#[tokio::test]
async fn recursion_is_detected_across_the_task_of_a_nested_load() {
    #[cached("outer", ttl = "1h", cache = cache, skip(cache, source, depth))]
    fn outer(
        cache: Cache,
        source: Source,
        depth: u32,
        key: u32,
    ) -> Pin<Box<dyn Future<Output = usize> + Send>> {
        Box::pin(async move {
            source.run().await;
            if depth == 0 { 0 } else { nested(cache, source, depth - 1, key).await }
        })
    }
    #[cached("nested", ttl = "1h", cache = cache, skip(cache, source, depth))]
    async fn nested(cache: Cache, source: Source, depth: u32, key: u32) -> usize {
        outer(cache, source, depth, key).await
    }
    let (cache, source) = (cache(), Source::open());
    assert_eq!(outer(cache.clone(), source.clone(), 1, 7).await, 0);
    assert_eq!(source.runs(), 2);
}

#[tokio::test]
async fn invalidation_supersedes_a_running_load() {
    let (cache, source) = (cache(), Source::gated());
    let call = || {
        let (cache, source) = (cache.clone(), source.clone());
        tokio::spawn(async move { detached::with(CacheControl::new(), &cache, &source, 7).await })
    };
    let leader = call();
    source.wait_for_start().await;
    let follower = call();
    settle().await;
    detached::invalidate(&cache, &source, 7).await.unwrap();
    // The follower does not wait for the old load, but leads a new one.
    source.wait_for_start().await;
    source.release(2);
    let (old, new) = (leader.await.unwrap(), follower.await.unwrap());
    assert_eq!((old.value, old.outcome), (1, CacheOutcome::Miss));
    assert_eq!((new.value, new.outcome), (2, CacheOutcome::Miss));
    assert_eq!(detached(&cache, &source, 7).await, 2);
    assert_eq!(source.runs(), 2);
    assert_eq!(cache.stats().rejected_fills, 1);
}

/// The entries of this function have no names.
#[tokio::test]
async fn pattern_supersedes_the_running_loads_of_a_function() {
    #[cached("matched", ttl = "1h", cache = cache, skip(cache, source))]
    async fn matched(cache: &Cache, source: &Source, key: u32) -> usize {
        source.run().await
    }
    let (cache, source) = (cache(), Source::gated());
    let call = || {
        let (cache, source) = (cache.clone(), source.clone());
        tokio::spawn(async move { matched(&cache, &source, 7).await })
    };
    let leader = call();
    source.wait_for_start().await;
    let follower = call();
    settle().await;
    cache.invalidate_pattern("other:*", &[]).await.unwrap();
    cache.invalidate_pattern("match*", &[]).await.unwrap();
    // The follower does not wait for the old load, but leads a new one.
    source.wait_for_start().await;
    source.release(2);
    assert_eq!((leader.await.unwrap(), follower.await.unwrap()), (1, 2));
    assert_eq!(matched(&cache, &source, 7).await, 2);
    cache.invalidate_pattern("matched:*", &[]).await.unwrap();
    source.release(1);
    assert_eq!(matched(&cache, &source, 7).await, 3);
}

/// A call that began before the invalidation waits for a load that fails. The older value was invalidated meanwhile.
#[tokio::test]
async fn failed_load_is_not_replaced_by_a_value_that_was_invalidated() {
    #[cached("failing", ttl = "1s", stale = "1h", soft_timeout = "1h", cache = cache, skip(cache, source))]
    async fn failing(cache: &Cache, source: &Source, key: u32) -> Result<usize, String> {
        let run = source.run().await;
        if run == 1 { Ok(run) } else { Err(run.to_string()) }
    }
    for is_invalidated in [false, true] {
        let clock = ManualClock::new();
        let cache = Cache::builder().clock(clock.clock()).build().unwrap();
        let source = Source::gated();
        source.release(1);
        assert_eq!(failing(&cache, &source, 7).await, Ok(1));
        source.wait_for_start().await;
        clock.advance(Duration::from_secs(2));
        let call = tokio::spawn({
            let (cache, source) = (cache.clone(), source.clone());
            async move { failing(&cache, &source, 7).await }
        });
        source.wait_for_start().await;
        if is_invalidated {
            failing::invalidate(&cache, &source, 7).await.unwrap();
        }
        source.release(1);
        let expected = if is_invalidated { Err("2".to_owned()) } else { Ok(1) };
        assert_eq!(call.await.unwrap(), expected, "invalidated: {is_invalidated}");
    }
}

#[tokio::test]
async fn a_refresh_joins_no_older_load_and_is_not_overwritten_by_it() {
    let (cache, source) = (cache(), Source::gated());
    let old = tokio::spawn({
        let (cache, source) = (cache.clone(), source.clone());
        async move { detached(&cache, &source, 7).await }
    });
    source.wait_for_start().await;
    let fresh = tokio::spawn({
        let (cache, source) = (cache.clone(), source.clone());
        async move { detached::refresh(&cache, &source, 7).await }
    });
    source.wait_for_start().await;
    source.release(2);
    assert_eq!((old.await.unwrap(), fresh.await.unwrap()), (1, 2));
    assert_eq!(detached(&cache, &source, 7).await, 2);
}

#[tokio::test]
async fn many_failing_and_cancelled_keys_leave_nothing_in_flight() {
    #[cached("gone", ttl = "1h", cache = cache, skip(cache, not_cloned))]
    async fn gone(cache: &Cache, not_cloned: &AtomicUsize, key: u32) -> Result<u32, Unshareable> {
        if key.is_multiple_of(2) { pending().await } else { Err(Unshareable(1)) }
    }
    let (cache, not_cloned) = (cache(), AtomicUsize::new(0));
    for key in 0..20_000 {
        let mut call = Box::pin(gone(&cache, &not_cloned, key));
        let _ = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    }
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.in_flight, stats.l1_entries), (20_000, 0, 0));
}

#[test]
fn without_a_runtime_async_functions_work_as_well() {
    let (cache, source) = (cache(), Source::open());
    for _ in 0..3 {
        assert_eq!(pollster::block_on(detached(&cache, &source, 7)), 1);
    }
    assert_eq!(source.runs(), 1);
}

#[tokio::test]
async fn a_body_that_cannot_change_threads_is_loaded_in_place() {
    #[cached("rc", ttl = "1h", cache = cache, skip(cache, source))]
    async fn holds_rc(cache: &Cache, source: &Source, key: u32) -> usize {
        let rc = Rc::new(1);
        source.run().await + *rc - 1
    }
    let (cache, source) = (cache(), Source::open());
    assert_eq!(holds_rc(&cache, &source, 7).await, 1);
    assert_eq!(holds_rc(&cache, &source, 7).await, 1);
    assert_eq!(source.runs(), 1);
}

#[tokio::test]
async fn an_argument_that_is_no_key_bypasses_the_cache() {
    #[cached("nan", ttl = "1h", cache = cache, skip(cache, source))]
    async fn of_float(cache: &Cache, source: &Source, x: f64) -> usize {
        source.run().await
    }
    let (cache, source) = (cache(), Source::open());
    for run in 1..=3 {
        let reply = of_float::with(CacheControl::new(), &cache, &source, f64::NAN).await;
        assert_eq!((reply.value, reply.outcome), (run, CacheOutcome::Bypass(Reason::Key)));
    }
    assert!(of_float::invalidate(&cache, &source, f64::NAN).await.unwrap_err().is_key());
    assert!(of_float::key(&cache, &source, f64::NAN).unwrap_err().is_key());
    assert_eq!(cache.stats().keys_refused, 3);
}

#[test]
fn single_flight_needs_no_timers() {
    let (cache, source) = (cache(), Source::gated());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut callers = JoinSet::new();
        for _ in 0..10 {
            let (cache, source) = (cache.clone(), source.clone());
            callers.spawn(async move { detached(&cache, &source, 7).await });
        }
        settle().await;
        source.release(1);
        assert!(callers.join_all().await.into_iter().all(|run| run == 1));
    });
}

#[tokio::test]
async fn a_panic_in_a_policy_costs_no_more_than_one_in_the_load() {
    #[cached("policy", ttl = "1h", cache_if = |_| panic!("no"), cache = cache, skip(cache, source))]
    async fn judged(cache: &Cache, source: &Source, key: u32) -> usize {
        source.run().await
    }
    let (cache, source) = (cache(), Source::gated());
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let (cache, source) = (cache.clone(), source.clone());
        callers.spawn(async move { judged(&cache, &source, 7).await });
    }
    source.wait_for_start().await;
    settle().await;
    source.release(50);
    while let Some(end) = callers.join_next().await {
        assert!(end.unwrap_err().is_panic());
    }
    assert_eq!((source.runs(), cache.stats().in_flight), (2, 0));
}

#[tokio::test]
async fn maximal_ttl_never_expires() {
    #[cached("long", ttl = Duration::MAX, jitter = 0.5, cache = cache, skip(cache, source))]
    async fn long(cache: &Cache, source: &Source) -> usize {
        source.run().await
    }
    let (cache, source) = (cache(), Source::open());
    long(&cache, &source).await;
    assert_eq!(long(&cache, &source).await, 1);
}

#[tokio::test]
async fn loads_that_call_each_other_end() {
    #[cached("circle:{key}", ttl = "1h", cache = cache, skip(cache, source, meet, depth))]
    fn circle(
        cache: Cache,
        source: Source,
        meet: Arc<tokio::sync::Barrier>,
        depth: u32,
        key: u32,
    ) -> Pin<Box<dyn Future<Output = u32> + Send>> {
        Box::pin(async move {
            source.run().await;
            if depth == 0 {
                return 0;
            }
            // Each call leads its own key before it requests the other one.
            meet.wait().await;
            1 + circle(cache, source, meet, depth - 1, 1 - key).await
        })
    }
    let (cache, source) = (cache(), Source::open());
    let meet = Arc::new(tokio::sync::Barrier::new(2));
    let call = |key| tokio::spawn(circle(cache.clone(), source.clone(), meet.clone(), 1, key));
    let (a, b) = (call(0), call(1));
    let sum = a.await.unwrap() + b.await.unwrap();
    // One of them ran the body of the other key itself. The other call waited for it, or did the same.
    assert!((2..=3).contains(&sum), "{sum}");
    assert_eq!(cache.stats().in_flight, 0);
}

#[cached("versioned:{id}", ttl = "1m", cache = cache, skip(cache, source))]
async fn first_version(cache: &Cache, source: &Source, id: u32) -> usize {
    source.run().await + id as usize
}

#[cached("versioned:{id}", ttl = "1m", version = 2, cache = cache, skip(cache, source))]
async fn second_version(cache: &Cache, source: &Source, id: u32) -> usize {
    100 + source.run().await + id as usize
}

#[tokio::test]
async fn two_versions_share_no_load() {
    let (cache, source) = (cache(), Source::gated());
    let loading = tokio::spawn({
        let (cache, source) = (cache.clone(), source.clone());
        async move { first_version(&cache, &source, 7).await }
    });
    source.wait_for_start().await;
    let open = Source::open();
    let other = second_version(&cache, &open, 7);
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), other).await, Ok(108));
    source.release(1);
    assert_eq!(loading.await.unwrap(), 8);
    assert_eq!((source.runs(), open.runs()), (1, 1));
}

/// Value that calls a cached function when it is dropped.
#[derive(Clone)]
struct CallsOnDrop(#[allow(dead_code, reason = "it is dropped")] Arc<CallsOnDropInner>);

struct CallsOnDropInner {
    cache: Cache,
    dropped: Arc<AtomicUsize>,
}

impl Drop for CallsOnDropInner {
    fn drop(&mut self) {
        // Whichever lock is held, one of these keys is under it.
        for key in 0..1_000 {
            plain(&self.cache, key);
        }
        self.dropped.fetch_add(1, SeqCst);
    }
}

#[cached("plain", ttl = "1m", local, cache = cache, skip(cache))]
fn plain(cache: &Cache, key: u32) -> u32 {
    key
}

#[cached("last", ttl = "1m", local, max_entries = 10, cache = cache, skip(cache, dropped))]
fn last(cache: &Cache, dropped: &Arc<AtomicUsize>, key: u32) -> CallsOnDrop {
    CallsOnDrop(Arc::new(CallsOnDropInner { cache: cache.clone(), dropped: dropped.clone() }))
}

#[test]
fn a_value_may_use_the_cache_when_it_is_dropped() {
    let (done, is_done) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let (cache, dropped) = (cache(), Arc::new(AtomicUsize::new(0)));
        // The values leave to make room, through a newer value, by an invalidation, and by a clear.
        for key in 0..100 {
            last(&cache, &dropped, key);
        }
        for key in 0..100 {
            last::refresh(&cache, &dropped, key);
            last::invalidate(&cache, &dropped, key).unwrap();
        }
        for key in 0..100 {
            last(&cache, &dropped, key);
        }
        cache.clear_local();
        // Retired entries are dropped as new ones arrive.
        for key in 1_000..20_000 {
            plain(&cache, key);
        }
        done.send(dropped.load(SeqCst)).unwrap();
    });
    let dropped = is_done.recv_timeout(Duration::from_secs(60)).expect("it hangs");
    assert!(dropped >= 200, "{dropped}");
}
