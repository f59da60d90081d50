//! Functions that call themselves through a cache. Each level is a miss.

use std::{
    convert::Infallible,
    hint::black_box,
    pin::Pin,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use multi_tier_cache::{CacheManager, CacheStrategy};
use tokio::runtime::Builder;

use crate::{
    groups::hitbox::{ProtectedCache, with_stampede_protection},
    peers::{Cachet, Foyer, Lfu, MokaFuture, MultiTier, Peer, Quick, Ufo},
    work::TTL,
};

/// Capacity in entries, more than there are levels.
const CAPACITY: u32 = 100_000;

/// Levels whose frames are recorded, counted from the last one.
const RECORDED: [u64; 2] = [10, 30];

/// Addresses in the frames of the recorded levels.
static FRAMES: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

type Called = Pin<Box<dyn Future<Output = u64> + Send>>;

/// Function that calls a function with a number of levels below it.
pub enum Recursion {
    /// Runs on the caller's stack.
    Sync(fn(u64) -> u64),
    /// Runs on the stack of a thread of the runtime.
    Async(fn(u64) -> Called),
}

/// Defines a cache of one arm.
macro_rules! cache {
    ($name:ident: $cache:ty = $new:expr) => {
        static $name: LazyLock<$cache> = LazyLock::new(|| $new);
    };
}

cache!(MOKA: moka::sync::Cache<u64, u64> = moka::sync::Cache::builder().max_capacity(CAPACITY.into()).time_to_live(TTL).build());
cache!(FUTURE: moka::future::Cache<u64, u64> = <MokaFuture<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0);
cache!(QUICK: quick_cache::sync::Cache<u64, u64> = <Quick<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0);
cache!(FOYER: foyer::Cache<u64, u64> = <Foyer<u64, u64, Lfu> as Peer<u64, u64>>::new(CAPACITY).0);
cache!(UFO: Ufo<u64, u64> = Ufo::new(CAPACITY));
cache!(CACHET: cachet::Cache<u64, u64> = Cachet::<u64, u64>::with_stampede_protection(CAPACITY).0);
cache!(TIERS: CacheManager = <MultiTier as Peer<u64, u64>>::new(CAPACITY).0);
cache!(HITBOX: ProtectedCache = with_stampede_protection(CAPACITY));

/// Arms by name.
pub static ARMS: [(&str, Recursion); 14] = [
    ("ours, sync local", Recursion::Sync(ours_local)),
    ("ours, async", Recursion::Async(|level| Box::pin(ours(level)))),
    ("ours, async, detach = false", Recursion::Async(|level| Box::pin(ours_in_the_caller(level)))),
    ("cached, bounded, ttl", Recursion::Sync(locked)),
    ("cached, concurrent, bounded, ttl", Recursion::Sync(concurrent)),
    ("cachelito, fifo", Recursion::Sync(fifo)),
    ("hitbox", Recursion::Async(hitbox)),
    ("moka sync, get_with", Recursion::Sync(moka_sync)),
    ("moka future, get_with", Recursion::Async(moka_future)),
    ("cachet, get_or_insert", Recursion::Async(cachet)),
    ("multi-tier-cache, get_or_compute", Recursion::Async(multi_tier)),
    ("quick_cache, get_or_insert_with", Recursion::Sync(quick)),
    ("foyer lfu, get_or_fetch", Recursion::Async(foyer)),
    ("tinyufo, get and put", Recursion::Sync(tinyufo)),
];

/// Runs an arm in a thread with `stack` bytes of stack. Returns the bytes of stack per level.
///
/// The process ends if the stack is too small. The result means nothing if the levels are in several tasks.
pub fn run(arm: &str, levels: u64, stack: usize) -> usize {
    let (_, recursion) = ARMS.iter().find(|(name, _)| *name == arm).expect("an arm of this name");
    let value = match *recursion {
        Recursion::Sync(call) => {
            let thread = thread::Builder::new().stack_size(stack).spawn(move || call(levels));
            thread.expect("a thread can be started").join().expect("no level panics")
        }
        Recursion::Async(call) => {
            let builder = &mut Builder::new_multi_thread();
            let runtime = builder.worker_threads(1).thread_stack_size(stack).enable_all().build();
            let runtime = runtime.expect("threads can be started");
            runtime.block_on(runtime.spawn(async move { call(levels).await })).expect("no level panics")
        }
    };
    assert_eq!(value, levels, "each level adds one");
    let [low, high] = FRAMES.each_ref().map(|frame| frame.load(Ordering::SeqCst));
    low.abs_diff(high) / usize::try_from(RECORDED[1] - RECORDED[0]).unwrap_or(1)
}

/// Records the frame of a level.
fn record(level: u64) {
    if let Some(place) = RECORDED.iter().position(|recorded| *recorded == level) {
        let here = 0_u8;
        FRAMES[place].store(std::ptr::from_ref(black_box(&here)).addr(), Ordering::SeqCst);
    }
}

/// Defines the function of a peer that is not asynchronous.
macro_rules! synchronous {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        fn $name(level: u64) -> u64 {
            record(level);
            if level == 0 { 0 } else { $name(level - 1) + 1 }
        }
    };
}

#[cached_aside::cached("local", ttl = "1h", local)]
fn ours_local(level: u64) -> u64 {
    record(level);
    if level == 0 { 0 } else { ours_local(level - 1) + 1 }
}

synchronous!(
    #[cached::macros::cached(max_size = 100_000, ttl_secs = 3600)]
    locked
);
synchronous!(
    #[cached::macros::concurrent_cached(max_size = 100_000, ttl_secs = 3600)]
    concurrent
);
synchronous!(
    #[cachelito::cache(limit = 100_000, ttl = 3600, policy = "fifo")]
    fifo
);

#[cached_aside::cached("task", ttl = "1h")]
async fn ours(level: u64) -> u64 {
    record(level);
    if level == 0 { 0 } else { Box::pin(ours(level - 1)).await + 1 }
}

#[cached_aside::cached("caller", ttl = "1h", detach = false)]
async fn ours_in_the_caller(level: u64) -> u64 {
    record(level);
    if level == 0 { 0 } else { Box::pin(ours_in_the_caller(level - 1)).await + 1 }
}

/// Runs the body of a level of an arm that is not asynchronous.
fn body(level: u64, call: fn(u64) -> u64) -> u64 {
    record(level);
    if level == 0 { 0 } else { call(level - 1) + 1 }
}

/// Runs the body of a level of an asynchronous arm.
async fn async_body(level: u64, call: fn(u64) -> Called) -> u64 {
    record(level);
    if level == 0 { 0 } else { call(level - 1).await + 1 }
}

fn moka_sync(level: u64) -> u64 {
    MOKA.get_with(level, || body(level, moka_sync))
}

fn quick(level: u64) -> u64 {
    let Ok(value) = QUICK.get_or_insert_with(&level, || Ok::<_, Infallible>(body(level, quick)));
    value
}

fn tinyufo(level: u64) -> u64 {
    UFO.get(&level).unwrap_or_else(|| {
        let value = body(level, tinyufo);
        UFO.insert(&level, value);
        value
    })
}

fn moka_future(level: u64) -> Called {
    Box::pin(FUTURE.get_with(level, async_body(level, moka_future)))
}

fn cachet(level: u64) -> Called {
    Box::pin(async move {
        let entry = CACHET.get_or_insert(&level, || async_body(level, cachet)).await;
        *entry.expect("it does not fail").value()
    })
}

fn multi_tier(level: u64) -> Called {
    Box::pin(async move {
        let (name, load) = (level.to_string(), || async { Ok(async_body(level, multi_tier).await) });
        let value = TIERS.get_or_compute_typed(&name, CacheStrategy::Custom(TTL), load).await;
        value.expect("it does not fail")
    })
}

fn foyer(level: u64) -> Called {
    Box::pin(async move {
        let load = move || async move { Ok::<u64, Infallible>(async_body(level, foyer).await) };
        *FOYER.get_or_fetch(&level, load).await.expect("it does not fail").value()
    })
}

#[hitbox_fn::cached(prefix = "level")]
async fn level_of_hitbox(level: u64) -> u64 {
    async_body(level, hitbox).await
}

fn hitbox(level: u64) -> Called {
    Box::pin(level_of_hitbox(level).cache(&*HITBOX).into_future())
}
