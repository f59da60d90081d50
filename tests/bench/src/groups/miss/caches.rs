//! The caches of the arms, which all races of the group share, and their calls.

use std::{cell::Cell, convert::Infallible, sync::Arc};

use cached_aside::{Cache, cached};
use multi_tier_cache::{CacheManager, CacheStrategy};

use super::{CAPACITY, turns::Turns};
use crate::{
    groups::hitbox::{ProtectedCache, get, with_stampede_protection},
    options::Options,
    peers::{Cachet, Foyer, Lfu, MokaFuture, MultiTier, Peer, Quick, Ufo},
    race::Arm,
    work::{TTL, load, runtime},
};

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

#[cachelito::cache(limit = 10_000, ttl = 3600, policy = "fifo")]
fn fifo(id: u64) -> u64 {
    load::<u64>(id)
}

/// All arms, and whether an arm is asynchronous.
pub(super) const ARMS: [(&str, bool); 14] = [
    ("ours, async", true),
    ("ours, async, detach = false", true),
    ("ours, sync local", false),
    ("cached, concurrent, bounded, ttl", false),
    ("cached, sync_writes by key", true),
    ("cachelito, fifo", false),
    ("hitbox", true),
    ("moka future, get_with", true),
    ("moka sync, get_with", false),
    ("cachet, get_or_insert", true),
    ("multi-tier-cache, get_or_compute", true),
    ("quick_cache, get_or_insert_with", false),
    ("foyer lfu, get_or_fetch", true),
    ("tinyufo, get and put", false),
];

/// Caches for `CAPACITY` entries.
pub(super) struct Caches {
    tasks: Cache,
    callers: Cache,
    locals: Cache,
    moka: moka::sync::Cache<u64, u64>,
    future: moka::future::Cache<u64, u64>,
    quick: quick_cache::sync::Cache<u64, u64>,
    foyer: foyer::Cache<u64, u64>,
    ufo: Ufo<u64, u64>,
    cachet: Arc<cachet::Cache<u64, u64>>,
    tiers: Arc<CacheManager>,
    hitbox: ProtectedCache,
    next: Cell<u64>,
    /// Loads per key in the last turn of each arm.
    loads: [Cell<f64>; ARMS.len()],
}

impl Caches {
    pub(super) fn new() -> Self {
        let bytes = bytes();
        let [tasks, callers, locals] =
            [(); 3].map(|()| Cache::builder().l1_max_bytes(bytes).build().expect("valid settings"));
        Self {
            tasks,
            callers,
            locals,
            moka: moka::sync::Cache::builder().max_capacity(CAPACITY.into()).time_to_live(TTL).build(),
            future: <MokaFuture<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0,
            quick: <Quick<u64, u64> as Peer<u64, u64>>::new(CAPACITY).0,
            foyer: <Foyer<u64, u64, Lfu> as Peer<u64, u64>>::new(CAPACITY).0,
            ufo: Ufo::new(CAPACITY),
            cachet: Arc::new(Cachet::<u64, u64>::with_stampede_protection(CAPACITY).0),
            tiers: Arc::new(<MultiTier as Peer<u64, u64>>::new(CAPACITY).0),
            hitbox: with_stampede_protection(CAPACITY),
            next: Cell::new(0),
            loads: Default::default(),
        }
    }

    /// Returns the arms of a race in which each key is requested `times` times in a row.
    pub(super) fn arms(&self, options: &Options, times: u32) -> Vec<Arm<'_>> {
        let mut arms = Vec::new();
        // The calls run on a thread of the runtime, as in an application.
        macro_rules! asynchronous {
            ($shared:ident, $key:ident => $call:expr) => {{
                let mut turns = Turns::new(options, &self.next, times, &self.loads[arms.len()]);
                let shared = &self.$shared;
                arms.push(Arm::new(ARMS[arms.len()].0, move || {
                    let $shared = shared.clone();
                    turns.run(|keys| {
                        let work = async move {
                            for $key in keys {
                                for _ in 0..times {
                                    assert_eq!($call, $key, "the value of its key");
                                }
                            }
                        };
                        runtime().block_on(runtime().spawn(work)).expect("no arm panics");
                    })
                }));
            }};
        }
        macro_rules! synchronous {
            ($shared:ident, $key:ident => $call:expr) => {{
                let mut turns = Turns::new(options, &self.next, times, &self.loads[arms.len()]);
                let $shared = &self.$shared;
                arms.push(Arm::new(ARMS[arms.len()].0, move || {
                    turns.run(|keys| {
                        for $key in keys {
                            for _ in 0..times {
                                assert_eq!($call, $key, "the value of its key");
                            }
                        }
                    })
                }));
            }};
        }
        // The caches of these functions are static, so the field is not used.
        macro_rules! function {
            ($key:ident => $call:expr) => {
                synchronous!(next, $key => { let _ = next; $call })
            };
        }
        asynchronous!(tasks, key => in_a_task(&tasks, key).await);
        asynchronous!(callers, key => in_the_caller(&callers, key).await);
        synchronous!(locals, key => local(locals, key));
        function!(key => concurrent(key));
        asynchronous!(tasks, key => { let _ = &tasks; by_key(key).await });
        function!(key => fifo(key));
        asynchronous!(hitbox, key => get(&hitbox, key).await);
        asynchronous!(future, key => future.get_with(key, async { load(key) }).await);
        synchronous!(moka, key => moka.get_with(key, || load(key)));
        asynchronous!(cachet, key => {
            *cachet.get_or_insert(&key, || async { load(key) }).await.expect("it does not fail").value()
        });
        asynchronous!(tiers, key => {
            let (name, load) = (format!("user:{key}"), || async { Ok(load::<u64>(key)) });
            tiers.get_or_compute_typed(&name, CacheStrategy::Custom(TTL), load).await.expect("it does not fail")
        });
        synchronous!(quick, key => {
            let Ok(value) = quick.get_or_insert_with(&key, || Ok::<_, Infallible>(load(key)));
            value
        });
        asynchronous!(foyer, key => {
            let entry = foyer.get_or_fetch(&key, || async move { Ok::<u64, Infallible>(load(key)) }).await;
            *entry.expect("it does not fail").value()
        });
        synchronous!(ufo, key => ufo.call(&key));
        assert_eq!(arms.len(), ARMS.len(), "each arm has a name");
        arms
    }

    /// Returns the loads per key in the last turn of an arm.
    pub(super) fn loads_per_key(&self, name: &str) -> f64 {
        let place = ARMS.iter().position(|(arm, _)| *arm == name).expect("an arm of this name");
        self.loads[place].get()
    }

    /// Checks that all caches that report their number of entries have as many.
    pub(super) fn check_entries(&self, options: &Options) {
        self.moka.run_pending_tasks();
        runtime().block_on(self.future.run_pending_tasks());
        let counts = [
            ("ours, async", self.tasks.stats().l1_entries),
            ("ours, async, detach = false", self.callers.stats().l1_entries),
            ("ours, sync local", self.locals.stats().l1_entries),
            ("cached, concurrent, bounded, ttl", CONCURRENT.len() as u64),
            ("moka future, get_with", self.future.entry_count()),
            ("moka sync, get_with", self.moka.entry_count()),
            ("quick_cache, get_or_insert_with", self.quick.len() as u64),
            ("foyer lfu, get_or_fetch", self.foyer.usage() as u64),
        ];
        for (name, entries) in counts.iter().filter(|(name, _)| options.wants(name)) {
            // Pending evictions may leave a cache slightly above or below its capacity.
            let is_full = entries.abs_diff(CAPACITY.into()) * 100 <= u64::from(CAPACITY);
            assert!(is_full, "{name}: {entries} entries");
        }
    }
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
