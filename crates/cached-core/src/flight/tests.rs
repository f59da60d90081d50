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
    key::{KeyRef, Part},
    site::Site,
    slot::{Meta, Value},
};

/// The shortest time that is not none.
const INSTANTLY: Duration = Duration::from_nanos(1);

fn key(name: &str) -> Key {
    KeyRef::write(&mut Vec::new(), &Site::prefix("x"), &Part(name)).unwrap().owned()
}

fn slot() -> Arc<dyn Slot> {
    Arc::new(Value { meta: Meta::new(0, Duration::ZERO, Duration::ZERO, 0), value: () })
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
    assert!(matches!(poll(&mut follower, &bell), Poll::Ready(Arrival::Landed(Landing::Shared(_)))));
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
    assert!(matches!(poll(&mut follower, &bell), Poll::Ready(Arrival::Landed(Landing::Shared(_)))));
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
    assert!(matches!(poll(&mut parked, &bell), Poll::Ready(Arrival::Landed(_))));
}

#[test]
fn what_was_superseded_is_not_stored_and_wakes_its_followers() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let old = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    let Role::Follow(mut patient) = flights.join(&key, true) else { panic!("nobody leads") };
    assert!(poll(&mut follower, &bell).is_pending() && poll(&mut patient, &bell).is_pending());
    flights.supersede(&key, || ());
    assert!(bell.0.load(Ordering::SeqCst));
    assert!(matches!(poll(&mut follower, &bell), Poll::Ready(Arrival::Superseded)));
    assert!(poll(&mut patient, &bell).is_pending());
    let new = lead(&flights, &key);
    assert!(!old.land(slot(), || panic!("it is from before the invalidation")));
    assert!(matches!(poll(&mut patient, &bell), Poll::Ready(Arrival::Landed(Landing::Shared(_)))));
    assert!(new.land(slot(), || ()));
}

#[test]
fn followers_of_a_flight_that_has_landed_have_its_slot_whatever_is_said_later() {
    let (flights, key, bell) = (Arc::new(Flights::new()), key("x"), Arc::new(Bell::default()));
    let leader = lead(&flights, &key);
    let flight = leader.flight.clone();
    let mut followers = [follow(&flights, &key), follow(&flights, &key)];
    assert!(leader.land(slot(), || ()));
    assert!(matches!(poll(&mut followers[0], &bell), Poll::Ready(Arrival::Landed(_))));
    flight.fall();
    assert!(matches!(poll(&mut followers[1], &bell), Poll::Ready(Arrival::Landed(_))));
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
        // Newcomers follow, and do not take the lead from the one that was woken, whichever is polled first.
        let mut newcomer = follow(&flights, &key);
        assert!(poll(&mut newcomer, &bell).is_pending());
        let mut heir = waiting.pop_front().unwrap();
        for follower in &mut waiting {
            assert!(poll(follower, &bell).is_pending());
        }
        let Poll::Ready(Arrival::Lead(next)) = poll(&mut heir, &bell) else { panic!("it does not lead") };
        leader = next;
        waiting.push_back(newcomer);
    }
    // One that goes away instead hands it on, and one that is not polled is passed over.
    assert!(leader.hand_on());
    drop(waiting.pop_front());
    let mut heir = waiting.pop_front().unwrap();
    assert!(poll(&mut waiting[0], &bell).is_pending());
    let Poll::Ready(Arrival::Lead(leader)) = poll(&mut heir, &bell) else { panic!("it does not lead") };
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
                            Arrival::Lead(leader) => {
                                assert!(!inside.swap(true, Ordering::SeqCst), "two lead");
                                inside.store(false, Ordering::SeqCst);
                                leader.hand_on();
                            }
                            Arrival::Landed(_) => {}
                            Arrival::Superseded => panic!("nobody invalidates"),
                        },
                        Role::Recurse => panic!("nobody recurses"),
                    }
                }
            });
        }
    });
    assert_eq!(flights.len(), 0);
}
