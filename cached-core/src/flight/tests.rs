//! Tests: each flight has one leader, an overtaken load stores nothing, and no follower waits for ever.

use std::{
    collections::VecDeque,
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    coherence::{
        epoch::{DependentLoad, Epochs},
        validity::Validity,
    },
    key::{KeyRef, Part},
    spec::FunctionSpec,
    tier::feed::ChangeFeed,
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
fn waiting_leader_is_not_idle_and_unpolled_woken_leader_is() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    let waker = Mutex::new(None::<Waker>);
    let mut load = pin!(leader.run(poll_fn(|cx| {
        *lock(&waker) = Some(cx.waker().clone());
        Poll::<()>::Pending
    })));
    thread::sleep(INSTANTLY);
    assert!(follower.flight.state().liveness.idle_time() >= INSTANTLY, "it was never polled");
    assert!(poll(&mut load, &wake_flag).is_pending());
    thread::sleep(INSTANTLY);
    assert!(follower.overtake(INSTANTLY).is_none(), "it waits");
    let woken = lock(&waker).take().expect("it was polled");
    woken.wake();
    assert!(wake_flag.0.load(Ordering::SeqCst), "the wake comes through");
    thread::sleep(INSTANTLY);
    assert!(follower.overtake(INSTANTLY).is_some(), "it was woken and not polled");
}

#[test]
fn leader_is_not_idle_during_a_long_poll() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    let mut load = pin!(leader.run(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        thread::sleep(INSTANTLY);
        assert!(follower.overtake(INSTANTLY).is_none());
        Poll::Ready(())
    })));
    assert!(matches!(poll(&mut load, &wake_flag), Poll::Ready(Ok(()))));
}

#[test]
fn only_the_first_landing_counts() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let first = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    thread::sleep(INSTANTLY);
    let second = follower.overtake(INSTANTLY).expect("the first was never polled");
    assert!(second.land(erased(), || ()));
    assert!(!first.land(erased(), || panic!("it comes too late to be stored")));
    assert!(matches!(
        poll(&mut follower, &wake_flag),
        Poll::Ready(FollowOutcome::Landed(FlightResult::Shared(_)))
    ));
    assert_eq!(flights.len(), 0);
}

#[test]
fn dropped_overtaken_leader_leaves_the_flight_to_the_new_one() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let first = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    thread::sleep(INSTANTLY);
    let second = follower.overtake(INSTANTLY).expect("the first was never polled");
    drop(first);
    assert!(poll(&mut follower, &wake_flag).is_pending(), "there is a leader");
    assert!(second.land(erased(), || ()));
    assert!(matches!(
        poll(&mut follower, &wake_flag),
        Poll::Ready(FollowOutcome::Landed(FlightResult::Shared(_)))
    ));
}

#[test]
fn flight_ends_without_leader_and_followers() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    drop(lead(&flights, &key));
    assert_eq!(flights.len(), 0);

    let leader = lead(&flights, &key);
    let mut followers = [follow(&flights, &key), follow(&flights, &key)];
    assert!(followers.iter_mut().all(|follower| poll(follower, &wake_flag).is_pending()));
    drop(leader);
    assert!(wake_flag.0.load(Ordering::SeqCst), "the followers are woken");
    assert_eq!(flights.len(), 1);
    drop(followers);
    assert_eq!(flights.len(), 0);
}

#[test]
fn new_caller_takes_a_vacant_lead() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let leader = lead(&flights, &key);
    let mut waiting = follow(&flights, &key);
    drop(leader);
    let newcomer = lead(&flights, &key);
    assert!(poll(&mut waiting, &wake_flag).is_pending());
    newcomer.land(erased(), || ());
    assert!(matches!(poll(&mut waiting, &wake_flag), Poll::Ready(FollowOutcome::Landed(_))));
}

#[test]
fn superseded_flight_stores_nothing_and_wakes_its_followers() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let old = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    let Role::Follow(mut staying) = flights.join(&key, true) else { panic!("nobody leads") };
    assert!(poll(&mut follower, &wake_flag).is_pending() && poll(&mut staying, &wake_flag).is_pending());
    flights.supersede(&key, || ());
    assert!(wake_flag.0.load(Ordering::SeqCst));
    assert!(matches!(poll(&mut follower, &wake_flag), Poll::Ready(FollowOutcome::Superseded)));
    assert!(poll(&mut staying, &wake_flag).is_pending());
    let new = lead(&flights, &key);
    assert!(!old.land(erased(), || panic!("it is from before the invalidation")));
    assert!(matches!(
        poll(&mut staying, &wake_flag),
        Poll::Ready(FollowOutcome::Landed(FlightResult::Shared(_)))
    ));
    assert!(new.land(erased(), || ()));
}

#[test]
fn followers_of_a_landed_flight_get_its_value_after_invalidation() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let leader = lead(&flights, &key);
    let flight = leader.flight.clone();
    let mut followers = [follow(&flights, &key), follow(&flights, &key)];
    assert!(leader.land(erased(), || ()));
    assert!(matches!(poll(&mut followers[0], &wake_flag), Poll::Ready(FollowOutcome::Landed(_))));
    flight.invalidate();
    assert!(matches!(poll(&mut followers[1], &wake_flag), Poll::Ready(FollowOutcome::Landed(_))));
}

#[test]
fn lead_passes_to_the_longest_waiting_follower() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let mut leader = lead(&flights, &key);
    let mut waiting: VecDeque<_> = (0..3).map(|_| follow(&flights, &key)).collect();
    for follower in &mut waiting {
        assert!(poll(follower, &wake_flag).is_pending());
    }
    for _ in 0..10 {
        assert!(leader.pass_lead());
        // Newcomers follow. The lead stays with the follower that was woken, whichever is polled first.
        let mut newcomer = follow(&flights, &key);
        assert!(poll(&mut newcomer, &wake_flag).is_pending());
        let mut next_leader = waiting.pop_front().unwrap();
        for follower in &mut waiting {
            assert!(poll(follower, &wake_flag).is_pending());
        }
        let Poll::Ready(FollowOutcome::Lead(next)) = poll(&mut next_leader, &wake_flag) else {
            panic!("it does not lead")
        };
        leader = next;
        waiting.push_back(newcomer);
    }
    // A next leader that is dropped passes the lead on, and one that is not polled is overtaken.
    assert!(leader.pass_lead());
    drop(waiting.pop_front());
    let mut next_leader = waiting.pop_front().unwrap();
    assert!(poll(&mut waiting[0], &wake_flag).is_pending());
    let Poll::Ready(FollowOutcome::Lead(leader)) = poll(&mut next_leader, &wake_flag) else {
        panic!("it does not lead")
    };
    waiting.push_back(follow(&flights, &key));
    assert!(poll(&mut waiting[1], &wake_flag).is_pending());
    assert!(leader.pass_lead());
    let leader = waiting[1].overtake(INSTANTLY).expect("the lead is vacant");
    assert!(leader.land(erased(), || ()));
}

#[test]
fn supersede_all_supersedes_every_flight() {
    let flights = Arc::new(Flights::new());
    let leaders: Vec<_> = (0..200).map(|n| lead(&flights, &key(&n.to_string()))).collect();
    flights.supersede_all(|| ());
    assert_eq!(flights.len(), 0);
    for leader in leaders {
        assert!(!leader.land(erased(), || panic!("it is from before")));
    }
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

/// Runs `run` as code inside the load of a leader.
fn run_inside<T>(leader: &Leader, run: impl FnOnce() -> T) -> T {
    let mut run = Some(run);
    let wake_flag = Arc::new(WakeFlag::default());
    let mut load = pin!(leader.run(poll_fn(move |_| Poll::Ready(run.take().expect("once")()))));
    match poll(&mut load, &wake_flag) {
        Poll::Ready(Ok(output)) => output,
        _ => panic!("it ends at once"),
    }
}

#[test]
fn load_recurses_on_its_own_key_even_when_superseded() {
    let (flights, others, own) = (Arc::new(Flights::new()), Arc::new(Flights::new()), key("x"));
    let leader = lead(&flights, &own);
    for _ in 0..2 {
        run_inside(&leader, || {
            assert!(matches!(flights.join(&own, false), Role::Recurse));
            assert!(matches!(flights.join(&key("y"), false), Role::Lead(_)));
            assert!(matches!(others.join(&own, false), Role::Lead(_)), "that is another cache's");
        });
        flights.supersede(&own, || ());
    }
    assert!(matches!(flights.join(&own, false), Role::Lead(_)), "outside it is nobody's own");
}

#[test]
fn join_recurses_when_the_wait_would_close_a_cycle() {
    let (flights, keys) = (Arc::new(Flights::new()), ["a", "b", "c"].map(key));
    let leaders = keys.each_ref().map(|key| lead(&flights, key));
    assert!(leaders.iter().all(|leader| !leader.is_nested()));
    let follow_in =
        |leader: usize, key: usize| run_inside(&leaders[leader], || flights.join(&keys[key], false));
    let Role::Follow(first) = follow_in(0, 1) else { panic!("nobody waits yet") };
    let Role::Follow(second) = follow_in(1, 2) else { panic!("that is no cycle yet") };
    assert!(matches!(follow_in(1, 0), Role::Recurse));
    assert!(matches!(follow_in(2, 0), Role::Recurse), "over two of them");
    assert!(matches!(follow_in(0, 2), Role::Follow(_)), "the same way twice is no cycle");
    drop(second);
    assert!(matches!(follow_in(2, 1), Role::Follow(_)), "it waits no more");
    assert!(matches!(follow_in(2, 0), Role::Follow(_)));
    drop(first);
    let nested = run_inside(&leaders[0], || lead(&flights, &key("d")));
    assert!(nested.is_nested());
}

#[test]
fn leader_is_notified_only_of_followers_inside_another_load() {
    let (flights, keys, wake_flag) =
        (Arc::new(Flights::new()), ["a", "b"].map(key), Arc::new(WakeFlag::default()));
    let leaders = keys.each_ref().map(|key| lead(&flights, key));
    let mut awaited = pin!(leaders[0].awaited_by_load());
    assert!(poll(&mut awaited, &wake_flag).is_pending());
    let caller = follow(&flights, &keys[0]);
    assert!(poll(&mut awaited, &wake_flag).is_pending(), "it is inside of no load");
    let load = run_inside(&leaders[1], || follow(&flights, &keys[0]));
    assert!(poll(&mut awaited, &wake_flag).is_ready());
    let mut later = pin!(leaders[0].awaited_by_load());
    assert!(poll(&mut later, &wake_flag).is_ready(), "it was before");
    drop((caller, load));
}

#[test]
fn join_landing_follows_only_an_ended_load() {
    let (flights, key) = (Arc::new(Flights::new()), key("x"));
    assert!(flights.join_landing(&key).is_none(), "there is none");
    let overtaken = lead(&flights, &key);
    assert!(flights.join_landing(&key).is_none(), "it goes on");
    let mut follower = follow(&flights, &key);
    thread::sleep(INSTANTLY);
    let leader = follower.overtake(INSTANTLY).expect("it was never polled");
    overtaken.begin_landing();
    assert!(flights.join_landing(&key).is_none(), "another one loads");
    leader.begin_landing();
    let landing = flights.join_landing(&key).expect("it has ended");
    assert!(landing.landing_since.is_some() && follower.landing_since.is_none());
    assert!(follower.overtake(Duration::MAX).is_none());
    thread::sleep(INSTANTLY);
    assert!(follower.overtake(INSTANTLY).is_some(), "nobody drives it any more");
    drop(leader);
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
    assert!(flights.shards.iter().all(|shard| !lock(shard).is_empty()));
    drop(leaders);
}

/// Returns the validity of a name, and the epochs that can end it.
fn epochs_and_validity() -> (Arc<Epochs>, Validity) {
    let epochs = Epochs::new();
    let validity = Validity {
        epoch: epochs.current("x"),
        tags: Box::default(),
        feed: ChangeFeed::none(),
        checked_at: 0,
    };
    (epochs, validity)
}

#[test]
fn value_invalidated_before_landing_is_neither_stored_nor_shared() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    for is_invalidated in [false, true] {
        let (epochs, validity) = epochs_and_validity();
        let leader = lead(&flights, &key);
        let mut follower = follow(&flights, &key);
        if is_invalidated {
            epochs.end("x");
        }
        let mut is_stored = false;
        assert_eq!(leader.land_if_valid(validity, erased(), |_| is_stored = true), !is_invalidated);
        assert_eq!(is_stored, !is_invalidated);
        let arrival = poll(&mut follower, &wake_flag);
        assert_eq!(matches!(arrival, Poll::Ready(FollowOutcome::Superseded)), is_invalidated);
        assert_eq!(
            matches!(arrival, Poll::Ready(FollowOutcome::Landed(FlightResult::Shared(_)))),
            !is_invalidated
        );
        assert_eq!(flights.len(), 0);
    }
}

#[test]
fn superseded_flight_stores_nothing_when_landing_with_validity() {
    let (flights, key) = (Arc::new(Flights::new()), key("x"));
    let leader = lead(&flights, &key);
    flights.supersede(&key, || ());
    let newer = lead(&flights, &key);
    assert!(
        !leader.land_if_valid(epochs_and_validity().1, erased(), |_| panic!(
            "it is from before the invalidation"
        ))
    );
    assert_eq!(flights.len(), 1, "the newer one goes on");
    assert!(newer.land(erased(), || ()));
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

#[test]
fn panicked_load_is_retried_once_and_then_fails_for_all() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let leader = lead(&flights, &key);
    let mut followers = [follow(&flights, &key), follow(&flights, &key), follow(&flights, &key)];
    assert!(followers.iter_mut().all(|follower| poll(follower, &wake_flag).is_pending()));
    leader.fail(FlightResult::Panicked);
    assert!(wake_flag.0.swap(false, Ordering::SeqCst));
    let [first, second, third] = &mut followers;
    let Poll::Ready(FollowOutcome::Lead(leader)) = poll(first, &wake_flag) else {
        panic!("it does not lead")
    };
    assert!(poll(second, &wake_flag).is_pending() && poll(third, &wake_flag).is_pending());
    leader.fail(FlightResult::Panicked);
    assert!(wake_flag.0.load(Ordering::SeqCst));
    for follower in [second, third] {
        assert!(matches!(
            poll(follower, &wake_flag),
            Poll::Ready(FollowOutcome::Landed(FlightResult::Panicked))
        ));
    }
    assert_eq!(flights.len(), 0);

    // The flight of a load without followers ends at once.
    lead(&flights, &key).fail(FlightResult::Panicked);
    assert_eq!(flights.len(), 0);
}

#[test]
fn flight_is_superseded_only_through_its_current_validity() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let ((before, old), (now, new)) = (epochs_and_validity(), epochs_and_validity());
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    assert!(leader.bind(&old) && leader.bind(&new));
    before.end("x");
    assert!(poll(&mut follower, &wake_flag).is_pending(), "it stands on something else by now");
    assert!(!leader.bind(&old));
    assert!(leader.bind(&new));
    leader.unbind();
    let (later, last) = epochs_and_validity();
    now.end("x");
    assert!(poll(&mut follower, &wake_flag).is_pending(), "it stands on nothing");
    leader.binder()(&last);
    later.end("x");
    assert!(wake_flag.0.load(Ordering::SeqCst));
    assert!(matches!(poll(&mut follower, &wake_flag), Poll::Ready(FollowOutcome::Superseded)));
    assert_eq!(flights.len(), 0);
    let newer = lead(&flights, &key);
    leader.supersede();
    assert_eq!(flights.len(), 1, "it takes nothing from the newer one");
    assert!(!leader.land(erased(), || panic!("it has fallen")));
    let mut follower = follow(&flights, &key);
    newer.supersede();
    assert!(matches!(poll(&mut follower, &wake_flag), Poll::Ready(FollowOutcome::Superseded)));
    assert!(!newer.land(erased(), || panic!("it has fallen as well")));
}

#[test]
fn pass_lead_returns_whether_there_is_a_follower() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    assert!(!lead(&flights, &key).pass_lead());
    assert_eq!(flights.len(), 0);
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    let is_failing = follower.serial_failure_check();
    assert!(poll(&mut follower, &wake_flag).is_pending() && !is_failing());
    assert!(leader.pass_lead());
    assert!(wake_flag.0.load(Ordering::SeqCst) && is_failing());
    let Poll::Ready(FollowOutcome::Lead(leader)) = poll(&mut follower, &wake_flag) else {
        panic!("it does not lead")
    };
    drop(follower);
    assert!(!leader.pass_lead(), "it was the last one");
    assert_eq!(flights.len(), 0);
}

#[test]
fn next_leader_keeps_the_lead_when_another_follower_is_dropped() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let leader = lead(&flights, &key);
    let [mut next_leader, other, mut last] = [(); 3].map(|()| follow(&flights, &key));
    let mut other = Some(other);
    for follower in [Some(&mut next_leader), other.as_mut(), Some(&mut last)].into_iter().flatten() {
        assert!(poll(follower, &wake_flag).is_pending());
    }
    assert!(leader.pass_lead());
    other = None;
    assert!(other.is_none() && poll(&mut last, &wake_flag).is_pending());
    assert!(matches!(poll(&mut next_leader, &wake_flag), Poll::Ready(FollowOutcome::Lead(_))));
}

#[test]
fn flight_is_removed_only_without_leader_and_followers() {
    let (flights, key) = (Arc::new(Flights::new()), key("x"));
    let leader = lead(&flights, &key);
    flights.remove_deserted(&leader.flight);
    assert_eq!(flights.len(), 1, "it is led");
    let (flight, follower) = (leader.flight.clone(), follow(&flights, &key));
    drop(leader);
    flights.remove_deserted(&flight);
    assert_eq!(flights.len(), 1, "it is followed");
    flights.supersede(&key, || ());
    let newer = lead(&flights, &key);
    drop(follower);
    flights.remove_deserted(&flight);
    assert_eq!(flights.len(), 1, "that is another one");
    assert!(newer.land(erased(), || ()));
}

#[test]
fn is_inside_load_holds_only_inside_a_load() {
    let flights = Arc::new(Flights::new());
    let leader = lead(&flights, &key("x"));
    assert!(!is_inside_load());
    let inner = run_inside(&leader, || {
        assert!(is_inside_load());
        CapturedChain::capture()
    });
    assert!(!is_inside_load());
    assert!(inner.run(is_inside_load));
    assert!(!CapturedChain::capture().run(is_inside_load));
}

#[test]
fn progress_check_fails_beyond_the_idle_limit() {
    let (flights, wake_flag) = (Arc::new(Flights::new()), Arc::new(WakeFlag::default()));
    let leader = lead(&flights, &key("x"));
    let (soon, later) = (leader.progress_check(INSTANTLY), leader.progress_check(Duration::MAX));
    thread::sleep(INSTANTLY);
    assert!(!soon() && later(), "it was never polled");
    let mut load = pin!(leader.run(pending::<()>()));
    assert!(poll(&mut load, &wake_flag).is_pending());
    thread::sleep(INSTANTLY);
    assert!(soon(), "it waits");
    leader.expect_poll();
    thread::sleep(INSTANTLY);
    assert!(!soon());
}
