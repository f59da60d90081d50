//! Models of single-flight.

use std::{
    any::Any,
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use loom::sync::Mutex;

use super::{Orders, ThreadBody, block_on, explore, lock, run_concurrently};
use crate::{
    flight::{FlightResult, Flights, FollowOutcome, Leader, Role},
    key::{KeyRef, OwnedKey},
    spec::FunctionSpec,
    value::erased::{ErasedValue, Freshness, Value},
};

/// Flights, one entry of L1, and the value that its loads find.
struct Process {
    flights: Arc<Flights>,
    key: OwnedKey,
    l1: Mutex<Option<u64>>,
    source_value: Mutex<u64>,
    loads: AtomicUsize,
}

impl Process {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Arc::new(Flights::new()),
            key: KeyRef::encode(&mut Vec::new(), &FunctionSpec::prefix("x"), &()).unwrap().owned(),
            l1: Mutex::default(),
            source_value: Mutex::new(1),
            loads: AtomicUsize::new(0),
        })
    }

    /// Makes a call without a shared tier.
    fn call(&self) -> u64 {
        loop {
            if let Some(value) = self.cached_value() {
                return value;
            }
            let leader = match self.flights.join(&self.key, false) {
                Role::Lead(leader) => leader,
                Role::Recurse => panic!("no load calls itself"),
                Role::Follow(follower) => match block_on(follower) {
                    FollowOutcome::Lead(leader) => leader,
                    FollowOutcome::Superseded => continue,
                    FollowOutcome::Landed(FlightResult::Shared(erased)) => return value(&*erased),
                    FollowOutcome::Landed(_) => panic!("no load failed"),
                },
            };
            // The flight before this one may have ended between the lookup in L1 and the join.
            if let Some(value) = self.cached_value() {
                leader.land(erased(value), || ());
                return value;
            }
            return self.load(leader);
        }
    }

    fn load(&self, leader: Leader) -> u64 {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let value = *lock(&self.source_value);
        leader.begin_landing();
        leader.land(erased(value), || *lock(&self.l1) = Some(value));
        value
    }

    fn cached_value(&self) -> Option<u64> {
        *lock(&self.l1)
    }

    fn invalidate(&self) {
        self.flights.supersede(&self.key, || *lock(&self.l1) = None);
    }
}

fn erased(value: u64) -> Arc<dyn ErasedValue> {
    Arc::new(Value { freshness: Freshness::new(0, Duration::ZERO, Duration::MAX, 0), value })
}

fn value(erased: &dyn ErasedValue) -> u64 {
    let erased: &dyn Any = erased;
    erased.downcast_ref::<Value<u64>>().expect("all values are numbers").value
}

/// One of two callers loads, and both get its value.
pub fn two_callers_share_one_load() {
    explore("two callers share one load", Orders::Every, share_one_load::<2>);
}

/// One of three callers loads, and all get its value.
pub fn three_callers_share_one_load() {
    explore("three callers share one load", Orders::Preemptions(3), share_one_load::<3>);
}

fn share_one_load<const N: usize>() {
    let process = Process::new();
    run_concurrently([(); N].map(|()| {
        let process = process.clone();
        Box::new(move || assert_eq!(process.call(), 1)) as ThreadBody
    }));
    assert_eq!(process.loads.load(Ordering::Relaxed), 1);
    assert_eq!(process.flights.len(), 0);
    assert_eq!(process.cached_value(), Some(1));
}

/// No older value is in L1 after an invalidation has returned, however late its load lands.
///
/// A call after that gets the new value.
pub fn invalidation_prevents_storing_older_load() {
    explore("no load from before an invalidation is kept", Orders::Preemptions(3), || {
        let process = Process::new();
        let (one, other) = (process.clone(), process.clone());
        run_concurrently([
            Box::new(move || {
                one.call();
            }),
            Box::new(move || {
                other.call();
            }),
            {
                let process = process.clone();
                Box::new(move || {
                    *lock(&process.source_value) = 2;
                    process.invalidate();
                    assert_ne!(process.cached_value(), Some(1));
                    assert_eq!(process.call(), 2);
                })
            },
        ]);
        assert_eq!(process.cached_value(), Some(2));
        assert_eq!(process.flights.len(), 0);
    });
}

/// No older value is in L1 after all keys were invalidated at once.
pub fn clear_prevents_storing_older_load() {
    explore("no load from before a clearing is kept", Orders::Every, || {
        let process = Process::new();
        let one = process.clone();
        run_concurrently([
            Box::new(move || {
                one.call();
            }),
            {
                let process = process.clone();
                Box::new(move || {
                    *lock(&process.source_value) = 2;
                    process.flights.supersede_all(|| *lock(&process.l1) = None);
                    assert_ne!(process.cached_value(), Some(1));
                })
            },
        ]);
        assert_ne!(process.cached_value(), Some(1));
        assert_eq!(process.flights.len(), 0);
    });
}

/// Way in which a leader ends.
#[derive(Clone, Copy)]
enum End {
    Dropped,
    Failed,
    Panicked,
}

fn end_load(leader: Leader, ending: End) {
    match ending {
        End::Dropped => drop(leader),
        End::Failed => _ = leader.pass_lead(),
        End::Panicked => {
            // Not `panic!`, which would print a message each time.
            let load = leader.run(async { resume_unwind(Box::new("no")) });
            let panicked: Result<(), _> = block_on(load);
            assert!(panicked.is_err());
            leader.fail(FlightResult::Panicked);
        }
    }
}

/// Makes three calls, each of which ends its load as `endings` defines.
///
/// Returns the number of followers that took the lead.
fn promoted_followers(endings: [Option<End>; 3]) -> usize {
    let process = Process::new();
    let (failed, promoted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    run_concurrently(endings.map(|ending| {
        let (process, failed, promoted) = (process.clone(), failed.clone(), promoted.clone());
        Box::new(move || {
            let leader = match process.flights.join(&process.key, false) {
                Role::Lead(leader) => leader,
                Role::Recurse => panic!("no load calls itself"),
                Role::Follow(follower) => match block_on(follower) {
                    FollowOutcome::Lead(leader) => {
                        promoted.fetch_add(1, Ordering::Relaxed);
                        leader
                    }
                    FollowOutcome::Superseded => panic!("no call invalidates"),
                    FollowOutcome::Landed(FlightResult::Shared(_)) => return,
                    FollowOutcome::Landed(_) => {
                        assert_eq!(failed.load(Ordering::Relaxed), 2, "there is a second try, and no third");
                        return;
                    }
                },
            };
            match ending {
                Some(ending) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    end_load(leader, ending);
                }
                None => {
                    process.load(leader);
                }
            }
        }) as ThreadBody
    }));
    assert_eq!(process.flights.len(), 0);
    promoted.load(Ordering::Relaxed)
}

/// No caller hangs when a leader is dropped, and a follower loads.
pub fn follower_leads_after_dropped_leader() {
    explore("a dropped leader is followed by another", Orders::Preemptions(4), || {
        promoted_followers([Some(End::Dropped), None, Some(End::Dropped)]);
    });
}

/// The followers of a load with an error that is not shared load one after the other, and none is forgotten.
pub fn followers_lead_in_turn_after_failed_load() {
    explore("after a failed load each follower has its turn", Orders::Preemptions(4), || {
        promoted_followers([Some(End::Failed); 3]);
    });
}

/// A follower may go away just when it gets the lead: the next one still loads.
pub fn new_leader_may_be_dropped() {
    explore("a follower that has its turn may go away", Orders::Preemptions(4), || {
        let process = Process::new();
        let (leading, going, staying) = (process.clone(), process.clone(), process.clone());
        run_concurrently([
            Box::new(move || {
                if let Role::Lead(leader) = leading.flights.join(&leading.key, false) {
                    leader.pass_lead();
                }
            }),
            Box::new(move || {
                if let Role::Follow(follower) = going.flights.join(&going.key, false) {
                    let mut follower = follower;
                    let _ = Pin::new(&mut follower).poll(&mut Context::from_waker(Waker::noop()));
                }
            }),
            Box::new(move || assert_eq!(staying.call(), 1)),
        ]);
        assert_eq!(process.flights.len(), 0);
    });
}

/// At most one follower loads again after a load that panicked.
pub fn panicked_load_is_retried_once() {
    explore("a load that panicked is tried once more", Orders::Preemptions(3), || {
        assert!(promoted_followers([Some(End::Panicked); 3]) <= 1);
    });
}

/// A follower that goes away leaves nothing behind, in any state of its leader.
pub fn dropped_follower_leaves_nothing_behind() {
    explore("a follower may go away at any time", Orders::Preemptions(4), || {
        let process = Process::new();
        let (leading, going, staying) = (process.clone(), process.clone(), process.clone());
        run_concurrently([
            Box::new(move || {
                if let Role::Lead(leader) = leading.flights.join(&leading.key, false) {
                    drop(leader);
                }
            }),
            // This caller neither leads nor waits.
            Box::new(move || drop(going.flights.join(&going.key, false))),
            Box::new(move || assert_eq!(staying.call(), 1)),
        ]);
        assert_eq!(process.flights.len(), 0);
    });
}

/// Two loads, of two caches, cannot wait for each other: one of them is refused the wait, and none hangs.
pub fn circular_wait_of_loads_is_refused() {
    explore("loads do not wait in a circle", Orders::Every, || {
        let (x, y) = (Process::new(), Process::new());
        let recursions = Arc::new(AtomicUsize::new(0));
        let run = |own: &Arc<Process>, other: &Arc<Process>| -> ThreadBody {
            let (own, other, recursions) = (own.clone(), other.clone(), recursions.clone());
            Box::new(move || {
                let Role::Lead(leader) = own.flights.join(&own.key, false) else { return };
                let inner = async {
                    match other.flights.join(&other.key, false) {
                        Role::Lead(leader) => _ = leader.land(erased(2), || ()),
                        Role::Follow(follower) => _ = follower.await,
                        Role::Recurse => _ = recursions.fetch_add(1, Ordering::Relaxed),
                    }
                };
                assert!(block_on(leader.run(inner)).is_ok());
                leader.land(erased(1), || ());
            })
        };
        run_concurrently([run(&x, &y), run(&y, &x)]);
        assert!(recursions.load(Ordering::Relaxed) <= 1, "it is enough that one does not wait");
        assert_eq!((x.flights.len(), y.flights.len()), (0, 0));
    });
}
