use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Wake,
    thread,
};

use super::*;
use crate::{
    coherence::{epoch::Epochs, validity::Validity},
    key::{KeyRef, Part},
    spec::FunctionSpec,
    tier::feed::ChangeFeed,
    value::erased::{Freshness, Value},
};

/// The shortest time that is not zero.
const INSTANTLY: Duration = Duration::from_nanos(1);

fn key(name: &str) -> Key {
    KeyRef::write(&mut Vec::new(), &FunctionSpec::prefix("x"), &Part(name)).unwrap().owned()
}

fn slot() -> Arc<dyn ErasedValue> {
    Arc::new(Value { meta: Freshness::new(0, Duration::ZERO, Duration::ZERO, 0), value: () })
}

fn lead(flights: &Arc<Flights>, key: &Key) -> Leader {
    match flights.join(key, false) {
        Role::Lead(leader) => leader,
        _ => panic!("somebody leads already"),
    }
}

fn follow(flights: &Arc<Flights>, key: &Key) -> Follower {
    match flights.join(key, false) {
        Role::Follow(follower) => follower,
        _ => panic!("nobody leads"),
    }
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(bell.clone())))
}

#[test]
fn a_leader_that_waits_is_not_idle_and_one_that_could_go_on_is() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    let waker = Mutex::new(None::<Waker>);
    let mut load = pin!(leader.watch(poll_fn(|cx| {
        *lock(&waker) = Some(cx.waker().clone());
        Poll::<()>::Pending
    })));
    thread::sleep(INSTANTLY);
    assert!(follower.flight.state().pulse.idle() >= INSTANTLY, "it was never polled");
    assert!(poll(&mut load, &bell).is_pending());
    thread::sleep(INSTANTLY);
    assert!(follower.overtake(INSTANTLY).is_none(), "it waits");
    let woken = lock(&waker).take().expect("it was polled");
    woken.wake();
    assert!(bell.0.load(Ordering::SeqCst), "the wake comes through");
    thread::sleep(INSTANTLY);
    assert!(follower.overtake(INSTANTLY).is_some(), "it was woken and not polled");
}

#[test]
fn a_leader_inside_of_a_long_poll_is_not_idle() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    let mut load = pin!(leader.watch(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        thread::sleep(INSTANTLY);
        assert!(follower.overtake(INSTANTLY).is_none());
        Poll::Ready(())
    })));
    assert!(matches!(poll(&mut load, &bell), Poll::Ready(Ok(()))));
}

#[test]
fn the_first_to_land_counts_and_only_once() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let first = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    thread::sleep(INSTANTLY);
    let second = follower.overtake(INSTANTLY).expect("the first was never polled");
    assert!(second.land(slot(), || ()));
    assert!(!first.land(slot(), || panic!("it comes too late to be stored")));
    assert!(matches!(
        poll(&mut follower, &bell),
        Poll::Ready(FollowOutcome::Landed(FlightResult::Shared(_)))
    ));
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_leader_that_was_overtaken_and_goes_away_takes_nothing_from_the_other_one() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let first = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    thread::sleep(INSTANTLY);
    let second = follower.overtake(INSTANTLY).expect("the first was never polled");
    drop(first);
    assert!(poll(&mut follower, &bell).is_pending(), "there is a leader");
    assert!(second.land(slot(), || ()));
    assert!(matches!(
        poll(&mut follower, &bell),
        Poll::Ready(FollowOutcome::Landed(FlightResult::Shared(_)))
    ));
}

#[test]
fn a_flight_without_leader_and_followers_is_over() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    drop(lead(&flights, &key));
    assert_eq!(flights.len(), 0);

    let leader = lead(&flights, &key);
    let mut followers = [follow(&flights, &key), follow(&flights, &key)];
    assert!(followers.iter_mut().all(|follower| poll(follower, &bell).is_pending()));
    drop(leader);
    assert!(bell.0.load(Ordering::SeqCst), "the followers are woken");
    assert_eq!(flights.len(), 1);
    drop(followers);
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_newcomer_takes_a_vacant_lead() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let leader = lead(&flights, &key);
    let mut parked = follow(&flights, &key);
    drop(leader);
    let newcomer = lead(&flights, &key);
    assert!(poll(&mut parked, &bell).is_pending());
    newcomer.land(slot(), || ());
    assert!(matches!(poll(&mut parked, &bell), Poll::Ready(FollowOutcome::Landed(_))));
}

#[test]
fn superseded_flight_stores_nothing_and_wakes_its_followers() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let old = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    let Role::Follow(mut patient) = flights.join(&key, true) else { panic!("nobody leads") };
    assert!(poll(&mut follower, &bell).is_pending() && poll(&mut patient, &bell).is_pending());
    flights.supersede(&key, || ());
    assert!(bell.0.load(Ordering::SeqCst));
    assert!(matches!(poll(&mut follower, &bell), Poll::Ready(FollowOutcome::Superseded)));
    assert!(poll(&mut patient, &bell).is_pending());
    let new = lead(&flights, &key);
    assert!(!old.land(slot(), || panic!("it is from before the invalidation")));
    assert!(matches!(poll(&mut patient, &bell), Poll::Ready(FollowOutcome::Landed(FlightResult::Shared(_)))));
    assert!(new.land(slot(), || ()));
}

#[test]
fn followers_of_a_landed_flight_get_its_value_after_invalidation() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let leader = lead(&flights, &key);
    let flight = leader.flight.clone();
    let mut followers = [follow(&flights, &key), follow(&flights, &key)];
    assert!(leader.land(slot(), || ()));
    assert!(matches!(poll(&mut followers[0], &bell), Poll::Ready(FollowOutcome::Landed(_))));
    flight.fall();
    assert!(matches!(poll(&mut followers[1], &bell), Poll::Ready(FollowOutcome::Landed(_))));
}

#[test]
fn the_lead_goes_to_the_follower_that_has_waited_longest() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let mut leader = lead(&flights, &key);
    let mut waiting: VecDeque<_> = (0..3).map(|_| follow(&flights, &key)).collect();
    for follower in &mut waiting {
        assert!(poll(follower, &bell).is_pending());
    }
    for _ in 0..10 {
        assert!(leader.hand_on());
        // Newcomers follow. The lead stays with the follower that was woken, whichever is polled first.
        let mut newcomer = follow(&flights, &key);
        assert!(poll(&mut newcomer, &bell).is_pending());
        let mut heir = waiting.pop_front().unwrap();
        for follower in &mut waiting {
            assert!(poll(follower, &bell).is_pending());
        }
        let Poll::Ready(FollowOutcome::Lead(next)) = poll(&mut heir, &bell) else {
            panic!("it does not lead")
        };
        leader = next;
        waiting.push_back(newcomer);
    }
    // An heir that is dropped hands the lead on, and an heir that is not polled is passed over.
    assert!(leader.hand_on());
    drop(waiting.pop_front());
    let mut heir = waiting.pop_front().unwrap();
    assert!(poll(&mut waiting[0], &bell).is_pending());
    let Poll::Ready(FollowOutcome::Lead(leader)) = poll(&mut heir, &bell) else { panic!("it does not lead") };
    waiting.push_back(follow(&flights, &key));
    assert!(poll(&mut waiting[1], &bell).is_pending());
    assert!(leader.hand_on());
    let leader = waiting[1].overtake(INSTANTLY).expect("the lead is vacant");
    assert!(leader.land(slot(), || ()));
}

#[test]
fn everything_can_be_superseded_at_once() {
    let flights = Arc::new(Flights::new());
    let leaders: Vec<_> = (0..200).map(|n| lead(&flights, &key(&n.to_string()))).collect();
    flights.supersede_all(|| ());
    assert_eq!(flights.len(), 0);
    for leader in leaders {
        assert!(!leader.land(slot(), || panic!("it is from before")));
    }
}

#[test]
fn a_panic_inside_of_a_load_comes_out_as_an_error() {
    let (flights, bell) = (Arc::new(Flights::new()), Arc::new(Bell::default()));
    let leader = lead(&flights, &key("x"));
    let mut load = pin!(leader.watch(async {
        if bell.0.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        panic!("no")
    }));
    assert!(matches!(poll(&mut load, &bell), Poll::Ready(Err(_))));
}

#[test]
fn threads_lead_one_after_the_other_and_never_together() {
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
                                leader.land(slot(), || ());
                            }
                        }
                        Role::Follow(follower) => match pollster::block_on(follower) {
                            FollowOutcome::Lead(leader) => {
                                assert!(!inside.swap(true, Ordering::SeqCst), "two lead");
                                inside.store(false, Ordering::SeqCst);
                                leader.hand_on();
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
fn inside<T>(leader: &Leader, run: impl FnOnce() -> T) -> T {
    let mut run = Some(run);
    let bell = Arc::new(Bell::default());
    let mut load = pin!(leader.watch(poll_fn(move |_| Poll::Ready(run.take().expect("once")()))));
    match poll(&mut load, &bell) {
        Poll::Ready(Ok(out)) => out,
        _ => panic!("it ends at once"),
    }
}

#[test]
fn a_load_that_asks_for_its_own_key_recurses_also_after_it_was_superseded() {
    let (flights, others, own) = (Arc::new(Flights::new()), Arc::new(Flights::new()), key("x"));
    let leader = lead(&flights, &own);
    for _ in 0..2 {
        inside(&leader, || {
            assert!(matches!(flights.join(&own, false), Role::Recurse));
            assert!(matches!(flights.join(&key("y"), false), Role::Lead(_)));
            assert!(matches!(others.join(&own, false), Role::Lead(_)), "that is another cache's");
        });
        flights.supersede(&own, || ());
    }
    assert!(matches!(flights.join(&own, false), Role::Lead(_)), "outside it is nobody's own");
}

#[test]
fn loads_never_wait_for_each_other_in_a_circle() {
    let (flights, keys) = (Arc::new(Flights::new()), ["a", "b", "c"].map(key));
    let leaders = keys.each_ref().map(|key| lead(&flights, key));
    assert!(leaders.iter().all(|leader| !leader.is_nested()));
    let follow_in = |leader: usize, key: usize| inside(&leaders[leader], || flights.join(&keys[key], false));
    let Role::Follow(first) = follow_in(0, 1) else { panic!("nobody waits yet") };
    let Role::Follow(second) = follow_in(1, 2) else { panic!("that is no circle yet") };
    assert!(matches!(follow_in(1, 0), Role::Recurse));
    assert!(matches!(follow_in(2, 0), Role::Recurse), "over two of them");
    assert!(matches!(follow_in(0, 2), Role::Follow(_)), "the same way twice is no circle");
    drop(second);
    assert!(matches!(follow_in(2, 1), Role::Follow(_)), "it waits no more");
    assert!(matches!(follow_in(2, 0), Role::Follow(_)));
    drop(first);
    let nested = inside(&leaders[0], || lead(&flights, &key("d")));
    assert!(nested.is_nested());
}

#[test]
fn leader_is_notified_only_of_followers_inside_another_load() {
    let (flights, keys, bell) = (Arc::new(Flights::new()), ["a", "b"].map(key), Arc::new(Bell::default()));
    let leaders = keys.each_ref().map(|key| lead(&flights, key));
    let mut wanted = pin!(leaders[0].wanted());
    assert!(poll(&mut wanted, &bell).is_pending());
    let caller = follow(&flights, &keys[0]);
    assert!(poll(&mut wanted, &bell).is_pending(), "it is inside of no load");
    let load = inside(&leaders[1], || follow(&flights, &keys[0]));
    assert!(poll(&mut wanted, &bell).is_ready());
    let mut later = pin!(leaders[0].wanted());
    assert!(poll(&mut later, &bell).is_ready(), "it was before");
    drop((caller, load));
}

#[test]
fn a_load_that_has_ended_is_followed_until_it_has_landed() {
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
fn loads_and_followers_are_counted() {
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
fn claim() -> (Arc<Epochs>, Validity) {
    let marks = Epochs::new();
    let claim =
        Validity { mark: marks.of("x"), tags: Box::default(), line: ChangeFeed::silent(), checked: 0 };
    (marks, claim)
}

#[test]
fn value_invalidated_before_landing_is_neither_stored_nor_shared() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    for is_said in [false, true] {
        let (marks, claim) = claim();
        let leader = lead(&flights, &key);
        let mut follower = follow(&flights, &key);
        if is_said {
            marks.end("x");
        }
        let mut is_stored = false;
        assert_eq!(leader.land_on(claim, slot(), |_| is_stored = true), !is_said);
        assert_eq!(is_stored, !is_said);
        let arrival = poll(&mut follower, &bell);
        assert_eq!(matches!(arrival, Poll::Ready(FollowOutcome::Superseded)), is_said);
        assert_eq!(matches!(arrival, Poll::Ready(FollowOutcome::Landed(FlightResult::Shared(_)))), !is_said);
        assert_eq!(flights.len(), 0);
    }
}

#[test]
fn superseded_flight_stores_nothing_when_landing_with_validity() {
    let (flights, key) = (Arc::new(Flights::new()), key("x"));
    let leader = lead(&flights, &key);
    flights.supersede(&key, || ());
    let newer = lead(&flights, &key);
    assert!(!leader.land_on(claim().1, slot(), |_| panic!("it is from before the invalidation")));
    assert_eq!(flights.len(), 1, "the newer one goes on");
    assert!(newer.land(slot(), || ()));
}

#[test]
fn land_unfollowed_ends_a_flight_only_without_followers() {
    let (flights, key) = (Arc::new(Flights::new()), key("x"));
    let leader = lead(&flights, &key);
    let follower = follow(&flights, &key);
    let leader = leader.land_unfollowed(&slot()).expect("it is followed");
    assert_eq!(flights.len(), 1);
    drop(follower);
    assert!(leader.land_unfollowed(&slot()).is_none());
    assert_eq!(flights.len(), 0);

    let leader = lead(&flights, &key);
    flights.supersede(&key, || ());
    let newer = lead(&flights, &key);
    assert!(leader.land_unfollowed(&slot()).is_none());
    assert_eq!(flights.len(), 1, "the newer one goes on");
    drop(newer);
}

#[test]
fn followers_start_over_when_the_load_is_rejected() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    leader.reject(slot());
    assert!(matches!(poll(&mut follower, &bell), Poll::Ready(FollowOutcome::Superseded)));
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_load_that_panics_is_tried_once_more_and_then_is_over_for_all() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let leader = lead(&flights, &key);
    let mut followers = [follow(&flights, &key), follow(&flights, &key), follow(&flights, &key)];
    assert!(followers.iter_mut().all(|follower| poll(follower, &bell).is_pending()));
    leader.fail(FlightResult::Panicked);
    assert!(bell.0.swap(false, Ordering::SeqCst));
    let [first, second, third] = &mut followers;
    let Poll::Ready(FollowOutcome::Lead(leader)) = poll(first, &bell) else { panic!("it does not lead") };
    assert!(poll(second, &bell).is_pending() && poll(third, &bell).is_pending());
    leader.fail(FlightResult::Panicked);
    assert!(bell.0.load(Ordering::SeqCst));
    for follower in [second, third] {
        assert!(matches!(poll(follower, &bell), Poll::Ready(FollowOutcome::Landed(FlightResult::Panicked))));
    }
    assert_eq!(flights.len(), 0);

    // The flight of a load without followers ends at once.
    lead(&flights, &key).fail(FlightResult::Panicked);
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_load_falls_with_what_it_stands_on_and_with_nothing_else() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let ((before, old), (now, new)) = (claim(), claim());
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    assert!(leader.stand_on(&old) && leader.stand_on(&new));
    before.end("x");
    assert!(poll(&mut follower, &bell).is_pending(), "it stands on something else by now");
    assert!(!leader.stand_on(&old));
    assert!(leader.stand_on(&new));
    leader.stand_down();
    let (later, last) = claim();
    now.end("x");
    assert!(poll(&mut follower, &bell).is_pending(), "it stands on nothing");
    leader.standing()(&last);
    later.end("x");
    assert!(bell.0.load(Ordering::SeqCst));
    assert!(matches!(poll(&mut follower, &bell), Poll::Ready(FollowOutcome::Superseded)));
    assert_eq!(flights.len(), 0);
    let newer = lead(&flights, &key);
    leader.fall();
    assert_eq!(flights.len(), 1, "it takes nothing from the newer one");
    assert!(!leader.land(slot(), || panic!("it has fallen")));
    let mut follower = follow(&flights, &key);
    newer.fall();
    assert!(matches!(poll(&mut follower, &bell), Poll::Ready(FollowOutcome::Superseded)));
    assert!(!newer.land(slot(), || panic!("it has fallen as well")));
}

#[test]
fn a_lead_is_handed_on_if_there_is_anybody_to_take_it() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    assert!(!lead(&flights, &key).hand_on());
    assert_eq!(flights.len(), 0);
    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    let loads_fail = follower.loads_fail();
    assert!(poll(&mut follower, &bell).is_pending() && !loads_fail());
    assert!(leader.hand_on());
    assert!(bell.0.load(Ordering::SeqCst) && loads_fail());
    let Poll::Ready(FollowOutcome::Lead(leader)) = poll(&mut follower, &bell) else {
        panic!("it does not lead")
    };
    drop(follower);
    assert!(!leader.hand_on(), "it was the last one");
    assert_eq!(flights.len(), 0);
}

#[test]
fn the_lead_stays_with_the_heir_when_another_follower_goes_away() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let leader = lead(&flights, &key);
    let [mut heir, other, mut last] = [(); 3].map(|()| follow(&flights, &key));
    let mut other = Some(other);
    for follower in [Some(&mut heir), other.as_mut(), Some(&mut last)].into_iter().flatten() {
        assert!(poll(follower, &bell).is_pending());
    }
    assert!(leader.hand_on());
    other = None;
    assert!(other.is_none() && poll(&mut last, &bell).is_pending());
    assert!(matches!(poll(&mut heir, &bell), Poll::Ready(FollowOutcome::Lead(_))));
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
    assert!(newer.land(slot(), || ()));
}

#[test]
fn code_knows_whether_it_is_inside_of_a_load() {
    let flights = Arc::new(Flights::new());
    let leader = lead(&flights, &key("x"));
    assert!(!is_inside());
    let inner = inside(&leader, || {
        assert!(is_inside());
        Inside::here()
    });
    assert!(!is_inside());
    assert!(inner.run(is_inside));
    assert!(!Inside::here().run(is_inside));
}

#[test]
fn a_leader_is_at_work_until_it_could_go_on_for_too_long() {
    let (flights, bell) = (Arc::new(Flights::new()), Arc::new(Bell::default()));
    let leader = lead(&flights, &key("x"));
    let (soon, later) = (leader.is_at_work(INSTANTLY), leader.is_at_work(Duration::MAX));
    thread::sleep(INSTANTLY);
    assert!(!soon() && later(), "it was never polled");
    let mut load = pin!(leader.watch(pending::<()>()));
    assert!(poll(&mut load, &bell).is_pending());
    thread::sleep(INSTANTLY);
    assert!(soon(), "it waits");
    leader.expect_poll();
    thread::sleep(INSTANTLY);
    assert!(!soon());
}
