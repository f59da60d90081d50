//! Cost that a cache adds to a function that takes no time.
//!
//! Each call has a key of its own, and evicts another entry.

use std::{cell::Cell, convert::Infallible, mem, ops::Range, sync::Arc, time::Instant};

use cached_aside::{Cache, cached};

use crate::{
    options::Options,
    peers::{Cachet, Foyer, Lfu, MokaFuture, MultiTier, Peer, Quick},
    race::{Arm, race},
    report::{Group, Report},
    work::{TTL, load, loads, runtime},
};

pub const GROUP: Group = Group { name: "miss", long: false, crates: super::PEERS, run };

/// Capacity in entries. The attributes of `cached` take it as a literal.
const CAPACITY: u32 = 10_000;

/// Number of calls in the first turn of an arm.
///
/// That turn only warms up, and leaves the cache full for the turns after it.
const FILL: u32 = 2 * CAPACITY;

#[cached("task", ttl = "1h", cache = cache, skip(cache))]
async fn in_a_task(cache: &Cache, id: u64) -> u64 {
    load(id)
}

#[cached("caller", ttl = "1h", cache = cache, skip(cache), detach = false)]
async fn in_the_caller(cache: &Cache, id: u64) -> u64 {
    load(id)
}

#[cached("local", ttl = "1h", local, cache = cache, skip(cache))]
fn local(cache: &Cache, id: u64) -> u64 {
    load(id)
}

#[cached::macros::concurrent_cached(max_size = 10_000, ttl_secs = 3600)]
fn concurrent(id: u64) -> u64 {
    load(id)
}

#[cached::macros::cached(max_size = 10_000, ttl_secs = 3600, sync_writes = "by_key")]
#[allow(clippy::unused_async, reason = "as the others")]
async fn by_key(id: u64) -> u64 {
    load(id)
}

fn run(options: &Options) -> Report {
    let bytes = bytes();
    let [tasks, callers, locals] =
        [(); 3].map(|()| Cache::builder().l1_max_bytes(bytes).build().expect("valid settings"));
    let calls = options.pick(500, 5_000);
    let moka =
        moka::sync::Cache::<u64, u64>::builder().max_capacity(CAPACITY.into()).time_to_live(TTL).build();
    let future = <MokaFuture<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0;
    let quick = <Quick<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0;
    let foyer = <Foyer<u64, u64, Lfu> as Peer<u64, u64>>::new(CAPACITY).0;
    let cachet = Arc::new(Cachet::<u64, u64>::with_stampede_protection(CAPACITY).0);
    let tiers = Arc::new(<MultiTier as Peer<u64, u64>>::new(CAPACITY).0);
    let next = Cell::new(0);
    let keys = |is_first: &mut bool| {
        let count = if mem::take(is_first) { FILL } else { calls };
        let first = next.get();
        next.set(first + u64::from(count));
        first..first + u64::from(count)
    };
    // The calls run on a thread of the runtime, as in an application.
    macro_rules! asynchronous {
        ($name:expr, $shared:ident, $key:ident => $call:expr) => {{
            let mut is_first = true;
            let ($shared, keys) = (&$shared, &keys);
            Arm::new($name, move || {
                let ($shared, keys) = ($shared.clone(), keys(&mut is_first));
                timed(keys, |keys| {
                    let work = async move {
                        for $key in keys {
                            assert_eq!($call, $key, "the value of its key");
                        }
                    };
                    runtime().block_on(runtime().spawn(work)).expect("no arm panics");
                })
            })
        }};
    }
    macro_rules! synchronous {
        ($name:expr, $shared:ident, $key:ident => $call:expr) => {{
            let mut is_first = true;
            let ($shared, keys) = (&$shared, &keys);
            Arm::new($name, move || {
                timed(keys(&mut is_first), |keys| {
                    for $key in keys {
                        assert_eq!($call, $key, "the value of its key");
                    }
                })
            })
        }};
    }
    let none = ();
    let hitbox = super::hitbox::with_stampede_protection(CAPACITY);
    let arms = vec![
        asynchronous!("ours, async", tasks, key => in_a_task(&tasks, key).await),
        asynchronous!("ours, async, detach = false", callers, key => in_the_caller(&callers, key).await),
        synchronous!("ours, sync local", locals, key => local(locals, key)),
        synchronous!("cached, concurrent, bounded, ttl", none, key => { let () = none; concurrent(key) }),
        asynchronous!("cached, sync_writes by key", none, key => { let () = none; by_key(key).await }),
        asynchronous!("hitbox", hitbox, key => super::hitbox::get(&hitbox, key).await),
        asynchronous!("moka future, get_with", future, key => future.get_with(key, async { load(key) }).await),
        synchronous!("moka sync, get_with", moka, key => moka.get_with(key, || load(key))),
        synchronous!("quick_cache, get_or_insert_with", quick, key => {
            let Ok(value) = quick.get_or_insert_with(&key, || Ok::<_, Infallible>(load(key)));
            value
        }),
        asynchronous!("foyer lfu, get_or_fetch", foyer, key => {
            let entry = foyer.get_or_fetch(&key, || async move { Ok::<u64, Infallible>(load(key)) }).await;
            *entry.expect("it does not fail").value()
        }),
        asynchronous!("cachet, get_or_insert", cachet, key => {
            *cachet.get_or_insert(&key, || async { load(key) }).await.expect("it does not fail").value()
        }),
        asynchronous!("multi-tier-cache, get_or_compute", tiers, key => {
            let name = format!("user:{key}");
            let strategy = multi_tier_cache::CacheStrategy::Custom(TTL);
            tiers.get_or_compute_typed(&name, strategy, || async { Ok(load::<u64>(key)) }).await.expect("it does not fail")
        }),
    ];
    let rounds = race(options, options.rounds(), arms);
    // The other caches do not report their number of entries.
    moka.run_pending_tasks();
    runtime().block_on(future.run_pending_tasks());
    let counts = [
        ("ours, async", tasks.stats().l1_entries),
        ("ours, async, detach = false", callers.stats().l1_entries),
        ("ours, sync local", locals.stats().l1_entries),
        ("cached, concurrent, bounded, ttl", CONCURRENT.len() as u64),
        ("moka future, get_with", future.entry_count()),
        ("moka sync, get_with", moka.entry_count()),
        ("quick_cache, get_or_insert_with", quick.len() as u64),
        ("foyer lfu, get_or_fetch", foyer.usage() as u64),
    ];
    for (name, entries) in counts.iter().filter(|(name, _)| options.wants(name)) {
        // Pending evictions may leave a cache slightly above or below its capacity.
        assert!(entries.abs_diff(CAPACITY.into()) * 100 <= u64::from(CAPACITY), "{name}: {entries} entries");
    }
    Report::default().race(
        &format!("A call whose function takes no time, with a key that is new; full at {CAPACITY} entries"),
        "ns per call",
        &rounds,
        &["ours, async", "ours, sync local"],
    )
}

/// Returns the bytes that `cached-aside` counts for `CAPACITY` entries.
///
/// The entries of all three functions are alike.
fn bytes() -> u64 {
    let cache = Cache::builder().l1_max_bytes(1 << 40).build().expect("valid settings");
    for key in 0..u64::from(CAPACITY) {
        local(&cache, key);
    }
    let stats = cache.stats();
    assert_eq!(stats.l1_entries, u64::from(CAPACITY), "all are kept");
    stats.l1_bytes
}

/// Returns the nanoseconds per call, and checks that there was one load per call.
fn timed(keys: Range<u64>, work: impl FnOnce(Range<u64>)) -> f64 {
    let calls = keys.end - keys.start;
    let (before, began) = (loads(), Instant::now());
    work(keys);
    let nanos = began.elapsed().as_nanos() as f64 / calls as f64;
    assert_eq!((loads() - before) as u64, calls, "as many loads as calls");
    nanos
}
