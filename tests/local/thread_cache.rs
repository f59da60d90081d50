//! The thread cache: the fastest path to an entry, and never older than L1.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use cached_aside::{Cache, cached, testing::ManualClock};
use pollster::block_on;
use serde::{Serialize, Serializer};

/// Source of a new value for each load.
#[derive(Default)]
struct Source(AtomicU64);

impl Source {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

#[cached("x", ttl = "1m", cache = cache, skip(cache, source))]
async fn x(cache: &Cache, source: &Source, n: u32) -> u64 {
    let _ = n;
    source.next()
}

/// Another thread that has the entry in its thread cache.
struct OtherThread {
    requests: std::sync::mpsc::Sender<()>,
    replies: std::sync::mpsc::Receiver<u64>,
}

impl OtherThread {
    fn new(cache: &Cache, source: &Arc<Source>) -> Self {
        let (requests, request_receiver) = std::sync::mpsc::channel();
        let (reply_sender, replies) = std::sync::mpsc::channel();
        let (cache, source) = (cache.clone(), source.clone());
        thread::spawn(move || {
            for () in request_receiver {
                reply_sender.send(block_on(x(&cache, &source, 1))).unwrap();
            }
        });
        let other = Self { requests, replies };
        // The second lookup puts the entry into the thread cache.
        other.get();
        other.get();
        other
    }

    fn get(&self) -> u64 {
        self.requests.send(()).unwrap();
        self.replies.recv().unwrap()
    }
}

fn cache() -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    (Cache::builder().clock(clock.clock()).build().unwrap(), clock)
}

#[test]
fn entry_that_ends_leaves_other_threads_caches() {
    let (cache, clock) = cache();
    let source = Arc::default();
    let other = OtherThread::new(&cache, &source);
    assert_eq!(other.get(), 1);
    block_on(x::invalidate(&cache, &source, 1)).unwrap();
    assert_eq!(other.get(), 2, "invalidated");
    block_on(x::refresh(&cache, &source, 1));
    assert_eq!(other.get(), 3, "refreshed");
    cache.clear_local();
    assert_eq!(other.get(), 4, "cleared");
    assert_eq!(other.get(), 4);
    clock.advance(Duration::from_secs(60));
    assert_eq!(other.get(), 5, "expired");
    block_on(async { cache.clear().await }).unwrap();
    assert_eq!(other.get(), 6, "cleared everywhere");
    cache.set_mode(cached_aside::Mode::Off);
    assert_eq!(other.get(), 7, "off");
}

#[test]
fn caches_of_one_thread_do_not_see_each_others_entries() {
    let (one, two) = (cache().0, cache().0);
    let source = Source::default();
    for _ in 0..3 {
        assert_eq!((block_on(x(&one, &source, 1)), block_on(x(&two, &source, 1))), (1, 2));
    }
    block_on(x::invalidate(&one, &source, 1)).unwrap();
    for _ in 0..3 {
        assert_eq!((block_on(x(&one, &source, 1)), block_on(x(&two, &source, 1))), (3, 2));
    }
}

#[cached("versioned", ttl = "1m", version = 1, local, cache = cache, skip(cache))]
fn before(cache: &Cache, n: u32) -> u32 {
    n
}

#[cached("versioned", ttl = "1m", version = 2, local, cache = cache, skip(cache))]
fn after(cache: &Cache, n: u32) -> u32 {
    n + 1
}

#[test]
fn versions_of_a_function_do_not_share_entries() {
    let cache = cache().0;
    for _ in 0..3 {
        (0..3).for_each(|_| assert_eq!(before(&cache, 1), 1));
        (0..3).for_each(|_| assert_eq!(after(&cache, 1), 2));
    }
}

#[test]
fn thread_cache_hits_keep_an_entry_in_l1() {
    let cache = Cache::builder().l1_max_bytes(1 << 20).build().unwrap();
    let source = Source::default();
    let hot = block_on(x(&cache, &source, 0));
    for n in 1..20_000 {
        block_on(x(&cache, &source, n));
        // Two uses are needed, or the newcomer would not evict an entry in use. `peek` does not put it into
        // the thread cache, where it could take the place of the hot entry.
        (0..2).for_each(|_| assert!(block_on(x::peek(&cache, &source, n)).is_some()));
        assert_eq!(block_on(x(&cache, &source, 0)), hot, "after {n} others");
    }
    assert!(cache.stats().l1_entries < 4_000);
}

/// Value that counts its live instances.
struct Counted(Arc<AtomicU64>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(self.0.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cached("counted", ttl = "1m", local, weight = size_of_val, cache = cache, skip(cache, alive))]
fn counted(cache: &Cache, alive: &Arc<AtomicU64>, n: u32) -> Counted {
    let _ = n;
    alive.fetch_add(1, Ordering::SeqCst);
    Counted(alive.clone())
}

#[test]
fn dropped_caches_and_cleared_entries_are_released_by_thread_caches() {
    let alive = Arc::new(AtomicU64::new(0));
    let (kept, dropped) = (cache().0, cache().0);
    for n in 0..100 {
        for _ in 0..3 {
            counted(&dropped, &alive, n);
        }
    }
    assert_eq!(alive.load(Ordering::SeqCst), 100);
    drop(dropped);
    // Each call of the thread sweeps a few sets of its thread cache.
    (0..40).for_each(|_| drop(counted(&kept, &alive, 0)));
    assert_eq!(alive.load(Ordering::SeqCst), 1);

    // A thread that ends drops all entries of its thread cache.
    let entries = 1000;
    thread::scope(|scope| {
        let fill = || (0..3 * entries).for_each(|n| drop(counted(&kept, &alive, n % entries)));
        // A scope alone does not wait for the destructors of thread-locals.
        scope.spawn(fill).join().unwrap();
    });
    kept.clear_local();
    drop(counted(&kept, &alive, entries));
    assert!(alive.load(Ordering::SeqCst) <= 2, "the first one of this thread, and the new one");
    assert!(kept.stats().l1_retired_bytes < 2_000);
}

#[test]
fn misses_release_the_entries_of_dropped_caches() {
    let alive = Arc::new(AtomicU64::new(0));
    let (missing, dropped) = (cache().0, cache().0);
    (0..2).for_each(|_| drop(counted(&dropped, &alive, 0)));
    drop(dropped);
    drop(counted(&missing, &alive, 1));
    assert_eq!(alive.load(Ordering::SeqCst), 1, "what is in the other cache");
}

#[test]
fn evicted_values_are_released_by_the_thread_cache() {
    let alive = Arc::new(AtomicU64::new(0));
    let cache = Cache::builder().l1_max_bytes(1 << 20).build().unwrap();
    let source = Source::default();
    (0..3 * 50).for_each(|n| drop(counted(&cache, &alive, n % 50)));
    assert_eq!(alive.load(Ordering::SeqCst), 50);
    for n in 0..20_000 {
        block_on(x(&cache, &source, n));
        (0..2).for_each(|_| assert!(block_on(x::peek(&cache, &source, n)).is_some()));
    }
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

/// Value that panics when it is dropped at the end of its thread.
#[derive(Clone)]
struct PanicsOnDrop;

thread_local!(static IS_ENDING: Cell<bool> = const { Cell::new(false) });
static PANICS: AtomicU64 = AtomicU64::new(0);

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        if IS_ENDING.get() {
            PANICS.fetch_add(1, Ordering::SeqCst);
            panic!("as planned");
        }
    }
}

#[cached("fragile", ttl = "1m", local, max_entries = 10, cache = cache, skip(cache))]
fn fragile(cache: &Cache) -> PanicsOnDrop {
    PanicsOnDrop
}

#[test]
fn thread_exits_cleanly_when_a_thread_cache_value_panics_on_drop() {
    let cache = cache().0;
    let ended = thread::spawn(move || {
        (0..3).for_each(|_| drop(fragile(&cache)));
        drop(cache);
        IS_ENDING.set(true);
    });
    ended.join().unwrap();
    assert_eq!(PANICS.load(Ordering::SeqCst), 1, "it was at hand, and nowhere else");
}

#[test]
fn entry_is_never_absent_while_it_is_replaced() {
    let cache = Cache::builder().build().unwrap();
    let (source, is_over) = (Source::default(), std::sync::atomic::AtomicBool::new(false));
    block_on(x(&cache, &source, 1));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..10_000 {
                block_on(x::refresh(&cache, &source, 1));
            }
            is_over.store(true, Ordering::SeqCst);
        });
        while !is_over.load(Ordering::SeqCst) {
            assert!(block_on(x::peek(&cache, &source, 1)).is_some());
        }
    });
}

/// Returns how often an observer of evictions could use the cache.
///
/// Loads a hundred values into a cache with room for a few. The observer uses the cache in `may_use`.
fn evict(may_use: impl Fn(&Cache, u32) -> bool + Send + Sync + 'static) -> u64 {
    let here = Arc::new(std::sync::OnceLock::<Cache>::new());
    let (there, uses) = (here.clone(), Arc::new(AtomicU64::new(0)));
    let (count, evictions) = (uses.clone(), AtomicU32::new(0));
    let cache = Cache::builder().l1_max_bytes(10_000).on_event(move |event| {
        if event.kind == cached_aside::EventKind::Evict
            && let Some(cache) = there.get()
        {
            let may_use = may_use(cache, evictions.fetch_add(1, Ordering::SeqCst));
            count.fetch_add(may_use.into(), Ordering::SeqCst);
        }
    });
    here.set(cache.build().unwrap()).unwrap();
    let (done, is_done) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let source = Source::default();
        (0..100).for_each(|n| _ = block_on(x(here.get().unwrap(), &source, n)));
        done.send(()).unwrap();
    });
    assert!(is_done.recv_timeout(Duration::from_secs(20)).is_ok(), "it hangs");
    uses.load(Ordering::SeqCst)
}

#[test]
fn eviction_observer_may_use_the_cache() {
    assert!(evict(|cache, _| cache.stats().l1_entries > 0) > 50);
}

#[test]
fn eviction_observer_may_cause_another_eviction() {
    let load = |cache: &Cache, n| block_on(x(cache, &Source::default(), 1_000 + n)) == 1;
    assert_eq!(evict(move |cache, count| count < 50 && load(cache, count)), 50);
}

/// Type that calls a cached function when it is cloned as a value, and when it is serialized as a key.
#[derive(Debug)]
struct Nested(u64);

#[cached("inner", ttl = "1m", local)]
fn inner(n: u64) -> u64 {
    n + 1
}

impl Clone for Nested {
    fn clone(&self) -> Self {
        assert_eq!(inner(self.0), self.0 + 1);
        Self(self.0)
    }
}

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(inner(self.0))
    }
}

#[cached("outer", ttl = "1m", local)]
fn outer(n: &Nested) -> Nested {
    LOADS.set(LOADS.get() + 1);
    Nested(n.0)
}

thread_local!(static LOADS: Cell<u32> = const { Cell::new(0) });

#[test]
fn arguments_and_values_may_call_cached_functions() {
    for n in [1, 1, 1, 2, 2, 1] {
        assert_eq!(outer(&Nested(n)).0, n);
    }
    assert_eq!(LOADS.get(), 2);
}

/// Key with a serialization that fails on demand.
struct FailingKey(u64);

/// Outcome of the serialization after a number of successful ones.
#[derive(Clone, Copy)]
enum Failure {
    Fail,
    Panic,
}

thread_local!(static PLANNED_FAILURE: Cell<Option<(u32, Failure)>> = const { Cell::new(None) });

impl Serialize for FailingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match PLANNED_FAILURE.get() {
            Some((0, Failure::Fail)) => return Err(serde::ser::Error::custom("as planned")),
            Some((0, Failure::Panic)) => panic!("as planned"),
            Some((left, mood)) => PLANNED_FAILURE.set(Some((left - 1, mood))),
            None => {}
        }
        // The text is composed piece by piece, so the serializer never has it as one string.
        serializer.collect_str(&inner(self.0))
    }
}

#[cached("moody", ttl = "1m", local, cache = cache, skip(cache))]
fn moody(cache: &Cache, n: &FailingKey) -> u64 {
    LOADS.set(LOADS.get() + 1);
    n.0
}

#[test]
fn failed_key_serialization_leaves_the_cache_usable() {
    let cache = cache().0;
    let get = |n| moody(&cache, &FailingKey(n));
    for n in [1, 1, 1, 2, 2, 2] {
        assert_eq!(get(n), n);
    }
    let loads = || LOADS.replace(0);
    assert_eq!(loads(), 2);
    for after in 0..8 {
        PLANNED_FAILURE.set(Some((after, Failure::Fail)));
        assert_eq!(get(1), 1, "after {after}");
        PLANNED_FAILURE.set(Some((after, Failure::Panic)));
        let out = catch_unwind(AssertUnwindSafe(|| get(1)));
        assert!(out.map_or(after < 4, |n| n == 1), "after {after}");
        PLANNED_FAILURE.set(None);
        loads();
        assert_eq!((get(1), get(2), get(1)), (1, 2, 1));
        assert_eq!(loads(), 0, "after {after}");
    }
}

#[test]
fn thread_cache_serves_no_value_older_than_a_finished_invalidation() {
    const ROUNDS: u64 = 2_000;
    let cache = Cache::builder().build().unwrap();
    let (source, invalidated) = (Arc::new(Source::default()), Arc::new(AtomicU64::new(0)));
    let start = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                while invalidated.load(Ordering::SeqCst) < ROUNDS {
                    let least = invalidated.load(Ordering::SeqCst);
                    let value = block_on(x(&cache, &source, 1));
                    assert!(
                        value > least,
                        "{value} was loaded before an invalidation that was over at {least}"
                    );
                }
            });
        }
        scope.spawn(|| {
            start.wait();
            while invalidated.load(Ordering::SeqCst) < ROUNDS {
                // Every value loaded until now is outdated when the invalidation is over.
                let outdated = source.0.load(Ordering::SeqCst);
                block_on(x::invalidate(&cache, &source, 1)).unwrap();
                invalidated.fetch_max(outdated, Ordering::SeqCst);
            }
        });
    });
}
