//! Tests: each flight has one leader, an overtaken load stores nothing, and no follower waits for ever.

mod handover;
mod nesting;
mod overtake;
mod supersede;

use std::{
    future::{Future, pending},
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    key::{KeyRef, Part},
    spec::FunctionSpec,
    value::erased::{ErasedValue, Freshness, Value},
};

/// The shortest time that is not zero.
const INSTANTLY: Duration = Duration::from_nanos(1);

fn key(name: &str) -> OwnedKey {
    KeyRef::encode(&mut Vec::new(), &FunctionSpec::prefix("x"), &Part(name)).unwrap().owned()
}

fn erased() -> Arc<dyn ErasedValue> {
    Arc::new(Value { freshness: Freshness::new(0, Duration::ZERO, Duration::ZERO, 0), value: () })
}

fn lead(flights: &Arc<Flights>, key: &OwnedKey) -> Leader {
    match flights.join(key, false) {
        Role::Lead(leader) => leader,
        _ => panic!("somebody leads already"),
    }
}

fn follow(flights: &Arc<Flights>, key: &OwnedKey) -> Follower {
    match flights.join(key, false) {
        Role::Follow(follower) => follower,
        _ => panic!("nobody leads"),
    }
}

#[derive(Default)]
struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, wake_flag: &Arc<WakeFlag>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(wake_flag.clone())))
}

#[test]
fn run_returns_a_panic_as_an_error() {
    let (flights, wake_flag) = (Arc::new(Flights::new()), Arc::new(WakeFlag::default()));
    let leader = lead(&flights, &key("x"));
    let mut load = pin!(leader.run(async {
        if wake_flag.0.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        panic!("no")
    }));
    assert!(matches!(poll(&mut load, &wake_flag), Poll::Ready(Err(_))));
}

#[test]
fn concurrent_threads_never_lead_together() {
    let (flights, key, inside) = (Arc::new(Flights::new()), key("x"), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..2_000 {
                    match flights.join(&key, false) {
                        Role::Lead(leader) => {
                            assert!(!inside.swap(true, Ordering::SeqCst), "two lead");
                            inside.store(false, Ordering::SeqCst);
                            if round % 2 == 0 {
                                leader.land(erased(), || ());
                            }
                        }
                        Role::Follow(follower) => match pollster::block_on(follower) {
                            FollowOutcome::Lead(leader) => {
                                assert!(!inside.swap(true, Ordering::SeqCst), "two lead");
                                inside.store(false, Ordering::SeqCst);
                                leader.pass_lead();
                            }
                            FollowOutcome::Landed(_) => {}
                            FollowOutcome::Superseded => panic!("nobody invalidates"),
                        },
                        Role::Recurse => panic!("nobody recurses"),
                    }
                }
            });
        }
    });
    assert_eq!(flights.len(), 0);
}

#[test]
fn flights_count_loads_and_followers() {
    let (flights, own) = (Arc::new(Flights::new()), key("x"));
    assert_eq!((flights.len(), flights.followers()), (0, 0));
    let (leader, other) = (lead(&flights, &own), lead(&flights, &key("y")));
    let followers = [follow(&flights, &own), follow(&flights, &own)];
    assert_eq!((flights.len(), flights.followers()), (2, 2));
    assert_eq!(format!("{flights:?}"), "Flights { len: 2 }");
    drop(followers);
    assert_eq!((flights.len(), flights.followers()), (2, 0));
    drop((leader, other));
    assert_eq!(flights.len(), 0);
}

/// A shard stays empty by chance less than once in 10¹⁵ runs.
#[test]
fn flights_are_spread_over_all_shards() {
    let flights = Arc::new(Flights::new());
    let leaders: Vec<_> = (0..SHARDS * 40).map(|n| lead(&flights, &key(&n.to_string()))).collect();
    assert!(flights.shards.iter().all(|shard| lock(shard).len() > 0));
    drop(leaders);
}

#[test]
fn land_unfollowed_ends_a_flight_only_without_followers() {
    let (flights, key) = (Arc::new(Flights::new()), key("x"));
    let leader = lead(&flights, &key);
    let follower = follow(&flights, &key);
    let leader = leader.land_unfollowed(&erased()).expect("it is followed");
    assert_eq!(flights.len(), 1);
    drop(follower);
    assert!(leader.land_unfollowed(&erased()).is_none());
    assert_eq!(flights.len(), 0);

    let leader = lead(&flights, &key);
    flights.supersede(&key, || ());
    let newer = lead(&flights, &key);
    assert!(leader.land_unfollowed(&erased()).is_none());
    assert_eq!(flights.len(), 1, "the newer one goes on");
    drop(newer);
}

#[test]
fn followers_start_over_when_the_load_is_rejected() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    leader.reject(erased());
    assert!(matches!(poll(&mut follower, &wake_flag), Poll::Ready(FollowOutcome::Superseded)));
    assert_eq!(flights.len(), 0);
}
