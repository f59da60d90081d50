//! Tests: a vacant lead is handed on, and a flight without leader and followers ends.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{supersede::epochs_and_validity, *};

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
fn flight_is_removed_only_without_leader_and_followers() {
    let (flights, key) = (Arc::new(Flights::new()), key("x"));
    let leader = lead(&flights, &key);
    flights.remove_deserted(leader.flight());
    assert_eq!(flights.len(), 1, "it is led");
    let (flight, follower) = (leader.flight().clone(), follow(&flights, &key));
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

/// The flight leaves the map before the fill if there is no follower, and after it otherwise.
#[test]
fn fill_that_panics_leaves_the_lead_to_others() {
    let (flights, key, wake_flag) = (Arc::new(Flights::new()), key("x"), Arc::new(WakeFlag::default()));
    let fill = |leader: Leader| {
        let fill = AssertUnwindSafe(|| leader.land(erased(), || panic!("as planned")));
        assert!(catch_unwind(fill).is_err());
    };
    fill(lead(&flights, &key));
    assert_eq!(flights.len(), 0);

    let leader = lead(&flights, &key);
    let mut follower = follow(&flights, &key);
    assert!(poll(&mut follower, &wake_flag).is_pending());
    fill(leader);
    assert!(wake_flag.0.load(Ordering::SeqCst), "the follower is woken");
    assert!(matches!(poll(&mut follower, &wake_flag), Poll::Ready(FollowOutcome::Lead(_))));
}

#[test]
fn flight_that_has_ended_is_bound_to_no_epoch() {
    let (flights, key) = (Arc::new(Flights::new()), key("x"));
    let (_epochs, validity) = epochs_and_validity();
    for is_followed in [false, true] {
        let holders = Arc::strong_count(&validity.epoch);
        let leader = lead(&flights, &key);
        let _follower = is_followed.then(|| follow(&flights, &key));
        assert!(leader.bind(&validity));
        assert!(Arc::strong_count(&validity.epoch) > holders);
        // A waker of the load keeps the flight.
        let _kept = leader.flight().clone();
        assert!(leader.land(erased(), || ()));
        assert_eq!(Arc::strong_count(&validity.epoch), holders, "followed: {is_followed}");
    }
}
