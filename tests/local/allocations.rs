//! Costs of a hit that repeat exactly: allocations, and the size of the future.

use std::{
    future::Future,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use cached_aside::{
    Cache, cached,
    testing::{FakeTier, ManualClock},
};
use tokio::runtime::Builder;

/// Argument that a hit does not copy, however large it is.
#[derive(Clone)]
struct Client {
    settings: Vec<u8>,
}

#[cached("number", ttl = "1h")]
async fn by_number(n: u64) -> u64 {
    n
}

#[cached("name", ttl = "1h", skip(client))]
async fn by_name(client: &Client, name: &str, n: u32) -> u64 {
    let scratch = [0_u8; 8192];
    std::future::ready(()).await;
    (name.len() + client.settings.len() + scratch.len()) as u64 + u64::from(n)
}

#[cached("warm", ttl = "1h", keep_warm = 10, skip(client))]
async fn kept_warm(client: &Client, name: &str, n: u32) -> u64 {
    (name.len() + client.settings.len()) as u64 + u64::from(n)
}

#[cached("square", ttl = "1h", local)]
fn square(n: u64) -> u64 {
    n * n
}

#[cached("shared:{n}", ttl = "1h", cache = cache, skip(cache))]
async fn shared(cache: &Cache, n: u64) -> u64 {
    n
}

#[cached("cube", ttl = "1h", local, cache = cache, skip(cache))]
fn cube(cache: &Cache, n: u64) -> u64 {
    n * n * n
}

#[cached("templated:{n}", ttl = "1h", local, cache = cache, skip(cache))]
fn templated(cache: &Cache, n: u64) -> u64 {
    n
}

#[cached("missed", ttl = "1h", local)]
fn missed(n: u64) -> u64 {
    n
}

#[cached("inline", ttl = "1h", detach = false)]
async fn inline(n: u64) -> u64 {
    n
}

#[derive(Clone, Copy)]
struct Service {
    id: u8,
}

impl Service {
    #[cached("service:{self.id}:{name}", ttl = "1h", handle = length_entry)]
    async fn length(&self, name: &str) -> usize {
        name.len() + usize::from(self.id)
    }
}

const SERVICE: Service = Service { id: 7 };

/// Polls a hit, which is ready at the first poll.
fn hit<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a hit does not wait"),
    }
}

fn assert_no_allocations(description: &str, call: impl Fn()) {
    assert_allocations(description, 0, call);
}

fn assert_allocations(description: &str, most: u64, call: impl Fn()) {
    const HITS: u64 = 10_000;
    const SWEEP: u64 = 64;
    // If a test has cleared a cache before, the next hits sweep the thread cache for it, and every fourth of them goes
    // to L1 meanwhile. Hits of another function finish that sweep.
    (0..SWEEP).for_each(|_| {
        square(7);
    });
    // The first hit that L1 answers creates the thread cache.
    (0..2).for_each(|_| call());
    let count = measure(|| (0..HITS).for_each(|_| call())).count_total;
    assert!(count <= most, "{count} allocations in {HITS} hits of {description}");
}

/// Lock that is held while allocations are counted.
///
/// Meanwhile, no other test may clear a cache: each thread of the process sweeps its thread cache once after that.
static COUNTING: Mutex<()> = Mutex::new(());

fn lock_counting() -> MutexGuard<'static, ()> {
    COUNTING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_hit_allocates_nothing() {
    let _counting = lock_counting();
    let client = Client { settings: vec![0; 1 << 20] };
    let prompt = "why? ".repeat(400);
    pollster::block_on(by_number(7));
    pollster::block_on(by_name(&client, "ada", 7));
    pollster::block_on(by_name(&client, &prompt, 7));
    pollster::block_on(SERVICE.length("ada"));
    square(7);
    assert_no_allocations("a number", || {
        hit(by_number(7));
    });
    assert_no_allocations("borrowed arguments", || {
        hit(by_name(&client, "ada", 7));
    });
    assert_no_allocations("a prompt of 2 KB", || {
        hit(by_name(&client, &prompt, 7));
    });
    assert_no_allocations("a method", || {
        hit(SERVICE.length("ada"));
    });
    assert_no_allocations("a function that is not async", || {
        square(7);
    });
}

/// The client is copied once, for the task that keeps the key warm. A key that gets no place costs nothing.
#[tokio::test]
async fn a_hit_of_a_function_that_keeps_keys_warm_allocates_nothing() {
    let client = Client { settings: vec![0; 1 << 20] };
    for n in 0..20 {
        for _ in 0..100 {
            kept_warm(&client, "ada", n).await;
        }
    }
    kept_warm(&client, "ada", 70).await;
    let _counting = lock_counting();
    assert_no_allocations("one that is kept", || {
        hit(kept_warm(&client, "ada", 7));
    });
    // The key is not kept until it is used more than another key and takes its place.
    assert_allocations("one that is not", 30, || {
        hit(kept_warm(&client, "ada", 70));
    });
}

/// The count includes the allocations of the tier, which is in this process.
#[test]
fn hit_in_the_shared_tier_stays_within_measured_allocations() {
    const HITS: u64 = 1_000;
    const MOST: u64 = 22;
    /// An allocator has small blocks at hand, and not large ones, so the bytes count as well.
    const MOST_BYTES: u64 = 6_800;
    let _counting = lock_counting();
    let runtime = Builder::new_current_thread().build().unwrap();
    let clock = ManualClock::new();
    let tier = FakeTier::new(&clock);
    let cache = Cache::builder().namespace("test").tier(tier).clock(clock.clock()).build().unwrap();
    runtime.block_on(async {
        shared(&cache, 7).await;
        cache.flush().await;
    });
    let (mut count, mut bytes) = (0, 0);
    for _ in 0..HITS {
        cache.clear_local();
        let info = measure(|| assert_eq!(runtime.block_on(shared(&cache, 7)), 7));
        count += info.count_total;
        bytes += info.bytes_total;
    }
    assert_eq!(cache.stats().hits_l2, HITS);
    println!("{count} allocations of {bytes} bytes in {HITS} hits");
    assert!(count <= MOST * HITS, "{count} allocations in {HITS} hits");
    assert!(bytes <= MOST_BYTES * HITS, "{bytes} bytes in {HITS} hits");
}

/// Each key is new, and is never asked for again. An entry that was never used again costs nothing in Moka.
#[test]
fn local_miss_stays_within_measured_allocations() {
    const MISSES: u64 = 1_000;
    let _counting = lock_counting();
    for (description, bytes, most) in [("a tier with room", 1 << 30, 7), ("a full tier", 1 << 20, 7)] {
        let cache = Cache::builder().l1_max_bytes(bytes).build().unwrap();
        (0..10_000).for_each(|n| assert_eq!(cube(&cache, n), n * n * n));
        let evictions = cache.stats().l1_entries < 10_000;
        assert_eq!(evictions, bytes < 1 << 30, "{description}");
        let count = measure(|| (10_000..10_000 + MISSES).for_each(|n| _ = cube(&cache, n))).count_total;
        println!("{description}: {count} allocations in {MISSES} misses");
        assert!(count <= most * MISSES, "{description}: {count} allocations in {MISSES} misses");
    }
}

/// The policies, the context, the flight, the load, the value and the entry. The tables grow now and then.
#[test]
fn miss_stays_within_measured_allocations() {
    const MISSES: u64 = 10_000;
    let _counting = lock_counting();
    let each = |call: &dyn Fn(u64) -> u64| {
        let first = call(u64::MAX);
        let count = measure(|| assert!((0..MISSES).all(|n| call(n) < first))).count_total;
        count / MISSES
    };
    assert_eq!(each(&missed), 6, "a function that is not async");
    assert_eq!(each(&|n| hit(inline(n))), 8, "an async one, with a box for its call and one for its body");
}

/// The entry with its key, the value, and their places in the table of the window and in the policy. A pattern can
/// select an entry of a template, so that one has a name.
#[test]
fn heap_of_an_entry_stays_within_measured_bytes() {
    // A little less than a power of two, for which the tables have room.
    const ENTRIES: u64 = 130_000;
    let _counting = lock_counting();
    let measure_heap = |description: &str, call: fn(&Cache, u64) -> u64, most| {
        let cache = Cache::builder().l1_max_bytes(1 << 30).build().unwrap();
        call(&cache, u64::MAX >> 44);
        let bytes = measure(|| (0..ENTRIES).for_each(|n| _ = call(&cache, n))).bytes_current;
        assert_eq!(cache.stats().l1_entries, ENTRIES + 1, "all are kept");
        let each = bytes / ENTRIES.cast_signed();
        println!("{description}: {each} bytes");
        assert!(each <= most, "{description}: {each} bytes");
    };
    measure_heap("a prefix", cube, 250);
    measure_heap("a template", templated, 470);
}

#[test]
fn future_of_a_call_is_small_for_any_body() {
    let client = Client { settings: Vec::new() };
    // Each future holds its arguments, one pointer, and its state.
    for (name, size, most) in [
        ("by_number", size_of_val(&by_number(7)), 40),
        ("by_name, whose body holds 8 KiB", size_of_val(&by_name(&client, "ada", 7)), 56),
        ("a method", size_of_val(&SERVICE.length("ada")), 56),
    ] {
        println!("{name}: {size} bytes");
        assert!(size <= most, "{name}: {size} bytes");
    }
}
