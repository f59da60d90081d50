//! Invalidation of one existing entry, in this process.

use std::{cell::Cell, time::Instant};

use cached::ConcurrentCached;
use cached_aside::cached;

use crate::{
    options::Options,
    peers::{Cachet, Foyer, Lfu, MokaFuture, MokaSync, MultiTier, Peer, Quick},
    race::{Arm, race},
    report::{Group, Report},
    work::{load, loads, runtime},
};

pub const GROUP: Group = Group { name: "invalidate", long: false, crates: super::PEERS, run };

const CAPACITY: u32 = 10_000;

#[cached("invalidate", ttl = "1h")]
async fn ours(id: u64) -> u64 {
    load(id)
}

#[cached("invalidate-local", ttl = "1h", local)]
fn ours_local(id: u64) -> u64 {
    load(id)
}

#[cached::macros::concurrent_cached(max_size = 10_000, ttl_secs = 3600, name = "STORE")]
fn concurrent(id: u64) -> u64 {
    load(id)
}

fn run(options: &Options) -> Report {
    let count = options.pick(100, 1_000);
    let next = Cell::new(0);
    let keys = || {
        let first = next.get();
        next.set(first + count);
        first..first + count
    };
    let mut arms = vec![
        Arm::new("ours, async", || {
            let keys = keys();
            runtime().block_on(async {
                for key in keys.clone() {
                    ours(key).await;
                }
                let began = Instant::now();
                for key in keys.clone() {
                    ours::invalidate(key).await.expect("there is no other process");
                }
                let nanos = began.elapsed().as_nanos() as f64 / count as f64;
                let before = loads();
                ours(keys.start).await;
                assert_eq!(loads(), before + 1, "it is gone");
                nanos
            })
        }),
        Arm::new("ours, sync local", || {
            dropped(keys(), ours_local, |key| ours_local::invalidate(key).expect("there is no other process"))
        }),
        Arm::new("cached, concurrent, bounded, ttl", || {
            dropped(keys(), concurrent, |key| assert_eq!(STORE.cache_remove(&key), Ok(Some(key))))
        }),
    ];
    macro_rules! peers {
        ($($peer:ty),+ $(,)?) => {
            $({
                let peer = <$peer as Peer<u64, u64>>::new(CAPACITY);
                let keys = &keys;
                arms.push(Arm::new(<$peer as Peer<u64, u64>>::NAME, move || {
                    let call = |key| Peer::<u64, u64>::call(&peer, &key);
                    dropped(keys(), call, |key| Peer::<u64, u64>::remove(&peer, &key))
                }));
            })+
        };
    }
    peers! {
        MokaFuture<u64, u64>, MokaSync<u64, u64>, Quick<u64, u64>, Foyer<u64, u64, Lfu>, Cachet<u64, u64>, MultiTier,
    }
    let rounds = race(options, options.rounds(), arms);
    Report::default().race("Invalidate one entry", "ns", &rounds, &["ours, async", "ours, sync local"])
}

/// Fills entries and drops them with `drop`. Returns the nanoseconds per drop.
fn dropped(keys: std::ops::Range<u64>, call: impl Fn(u64) -> u64, drop: impl Fn(u64)) -> f64 {
    for key in keys.clone() {
        assert_eq!(call(key), key, "the value of its key");
    }
    let began = Instant::now();
    for key in keys.clone() {
        drop(key);
    }
    let nanos = began.elapsed().as_nanos() as f64 / (keys.end - keys.start) as f64;
    let before = loads();
    call(keys.start);
    assert_eq!(loads(), before + 1, "it is gone");
    nanos
}
