//! What a cache adds to a function that costs nothing: each call has a key of its own, and evicts another.

use std::{cell::Cell, convert::Infallible, sync::Arc, time::Instant};

use cached_aside::{Cache, cached};

use crate::{
    options::Options,
    peers::{Cachet, Foyer, Lfu, MokaFuture, MultiTier, Peer, Quick},
    race::{Arm, race},
    report::{Group, Report},
    work::{TTL, load, loads, runtime},
};

pub const GROUP: Group = Group { name: "miss", long: false, crates: super::PEERS, run };

/// In entries. The attributes of `cached` want it as a literal.
const CAPACITY: u32 = 10_000;

/// Of ours in bytes, which is about as many entries.
const BYTES: u64 = 4 << 20;

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
    let cache = Cache::builder().l1_max_bytes(BYTES).build().expect("valid settings");
    let calls = options.pick(500, 5_000);
    let moka =
        moka::sync::Cache::<u64, u64>::builder().max_capacity(CAPACITY.into()).time_to_live(TTL).build();
    let future = <MokaFuture<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0;
    let quick = <Quick<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0;
    let foyer = <Foyer<u64, u64, Lfu> as Peer<u64, u64>>::new(CAPACITY).0;
    let cachet = Arc::new(Cachet::<u64, u64>::shielded(CAPACITY).0);
    let tiers = Arc::new(<MultiTier as Peer<u64, u64>>::new(CAPACITY).0);
    let next = Cell::new(0);
    let keys = || {
        let first = next.get();
        next.set(first + u64::from(calls));
        first..first + u64::from(calls)
    };
    // On a thread of the runtime, as in an application.
    macro_rules! asynchronous {
        ($name:expr, $shared:ident, $key:ident => $call:expr) => {
            Arm::new($name, || {
                let ($shared, keys) = ($shared.clone(), keys());
                timed(calls, || {
                    let work = async move {
                        for $key in keys {
                            assert_eq!($call, $key, "the value of its key");
                        }
                    };
                    runtime().block_on(runtime().spawn(work)).expect("no arm panics");
                })
            })
        };
    }
    let none = ();
    let hitbox = super::hitbox::shielded(CAPACITY);
    let arms = vec![
        asynchronous!("ours, async", cache, key => in_a_task(&cache, key).await),
        asynchronous!("ours, async, detach = false", cache, key => in_the_caller(&cache, key).await),
        Arm::new("ours, sync local", || {
            let keys = keys();
            timed(calls, || keys.for_each(|key| assert_eq!(local(&cache, key), key, "the value of its key")))
        }),
        Arm::new("cached, concurrent, bounded, ttl", || {
            let keys = keys();
            timed(calls, || keys.for_each(|key| assert_eq!(concurrent(key), key, "the value of its key")))
        }),
        asynchronous!("cached, sync_writes by key", none, key => { let () = none; by_key(key).await }),
        asynchronous!("hitbox", hitbox, key => super::hitbox::get(&hitbox, key).await),
        asynchronous!("moka future, get_with", future, key => future.get_with(key, async { load(key) }).await),
        Arm::new("moka sync, get_with", || {
            let keys = keys();
            timed(calls, || {
                keys.for_each(|key| {
                    assert_eq!(moka.get_with(key, || load(key)), key, "the value of its key");
                });
            })
        }),
        Arm::new("quick_cache, get_or_insert_with", || {
            let keys = keys();
            timed(calls, || {
                keys.for_each(|key| {
                    assert_eq!(quick.get_or_insert_with(&key, || Ok::<_, Infallible>(load(key))), Ok(key));
                });
            })
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
    Report::default().race(
        "A call whose function takes no time, with a key that is new",
        "ns per call",
        &rounds,
        &["ours, async", "ours, sync local"],
    )
}

/// Nanoseconds per call; each ran the function once.
fn timed(calls: u32, work: impl FnOnce()) -> f64 {
    let (before, began) = (loads(), Instant::now());
    work();
    let nanos = began.elapsed().as_nanos() as f64 / f64::from(calls);
    assert_eq!(loads() - before, calls as usize, "as many loads as calls");
    nanos
}
