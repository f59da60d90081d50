//! Expiry: values that are over leave the memory, although no call asks for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cached_aside::{Cache, cached, testing::ManualClock};
use pollster::block_on;

/// Value that counts its live instances.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(alive: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(alive.clone())
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cached("brief", ttl = "1s", local, weight = |_| 64, cache = cache, skip(cache, alive))]
fn brief(cache: &Cache, alive: &Arc<AtomicU64>, n: u32) -> Counted {
    let _ = n;
    Counted::new(alive)
}

#[cached("with_stale", ttl = "1s", stale = "1h", local, weight = |_| 64, cache = cache, skip(cache, alive))]
fn with_stale(cache: &Cache, alive: &Arc<AtomicU64>, n: u32) -> Counted {
    let _ = n;
    Counted::new(alive)
}

#[cached("other", ttl = "1h", local, cache = cache, skip(cache))]
fn other(cache: &Cache) -> u32 {
    7
}

fn cache() -> (Cache, ManualClock, Arc<AtomicU64>) {
    let clock = ManualClock::new();
    (Cache::builder().clock(clock.clock()).build().unwrap(), clock, Arc::default())
}

const ENTRIES: u32 = 5_000;

/// Asks for one key 15,000 times in three seconds.
fn ask_for_another_key(cache: &Cache, clock: &ManualClock) {
    for _ in 0..15_000 {
        clock.advance(Duration::from_micros(200));
        assert_eq!(other(cache), 7);
    }
}

#[test]
fn values_that_are_over_are_dropped_while_another_key_is_used() {
    // With three calls, an entry is in the thread cache as well.
    for calls in [1, 3] {
        let (cache, clock, alive) = cache();
        (0..3).for_each(|_| _ = other(&cache));
        for n in 0..ENTRIES {
            (0..calls).for_each(|_| drop(brief(&cache, &alive, n)));
        }
        assert_eq!(alive.load(Ordering::SeqCst), u64::from(ENTRIES));
        ask_for_another_key(&cache, &clock);
        assert_eq!(alive.load(Ordering::SeqCst), 0, "after {calls} calls");
        assert_eq!(cache.stats().l1_entries, 1);
    }
}

#[test]
fn thread_caches_of_other_threads_drop_values_that_are_over() {
    let (cache, clock, alive) = cache();
    let (is_filled, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..3 * 200 {
                drop(brief(&cache, &alive, n % 200));
            }
            is_filled.store(true, Ordering::SeqCst);
            while !is_over.load(Ordering::SeqCst) {
                assert_eq!(other(&cache), 7);
            }
        });
        while !is_filled.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        assert_eq!(alive.load(Ordering::SeqCst), 200);
        clock.advance(Duration::from_secs(3));
        // The other thread must end in any case, so a failure is not noticed here.
        let latest = Instant::now() + Duration::from_secs(60);
        while alive.load(Ordering::SeqCst) > 0 && Instant::now() < latest {
            thread::yield_now();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn value_that_may_be_served_stale_stays() {
    let (cache, clock, alive) = cache();
    drop(with_stale(&cache, &alive, 1));
    ask_for_another_key(&cache, &clock);
    cache.remove_expired();
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_secs(3_600));
    cache.remove_expired();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn remove_expired_drops_all_values_that_are_over_at_once() {
    let (cache, clock, alive) = cache();
    for n in 0..ENTRIES {
        (0..3).for_each(|_| drop(brief(&cache, &alive, n)));
    }
    clock.advance(Duration::from_millis(900));
    cache.remove_expired();
    assert_eq!(alive.load(Ordering::SeqCst), u64::from(ENTRIES), "none is over yet");
    clock.advance(Duration::from_millis(400));
    cache.remove_expired();
    assert_eq!((alive.load(Ordering::SeqCst), cache.stats().l1_entries), (0, 0));
}

#[test]
fn writes_alone_free_values_that_are_over() {
    let (cache, clock, _) = cache();
    let keyspace = cache.keyspace::<u32, u32>("written", Duration::from_secs(1)).unwrap();
    for n in 0..1_000 {
        block_on(keyspace.set(&n, n)).unwrap();
        clock.advance(Duration::from_millis(100));
    }
    assert!(cache.stats().l1_entries <= 26, "{:?}", cache.stats().l1_entries);
}
