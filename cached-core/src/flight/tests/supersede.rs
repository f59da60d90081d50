//! Tests: a flight that an invalidation overtakes stores nothing, and its followers start over.

use super::*;
use crate::{
    coherence::{
        epoch::{DependentLoad, Epochs},
        validity::Validity,
    },
    tier::feed::ChangeFeed,
};

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
    let flight = leader.flight().clone();
    let mut followers = [follow(&flights, &key), follow(&flights, &key)];
    assert!(leader.land(erased(), || ()));
    assert!(matches!(poll(&mut followers[0], &wake_flag), Poll::Ready(FollowOutcome::Landed(_))));
    flight.invalidate();
    assert!(matches!(poll(&mut followers[1], &wake_flag), Poll::Ready(FollowOutcome::Landed(_))));
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

/// Returns the validity of a name, and the epochs that can end it.
pub(super) fn epochs_and_validity() -> (Arc<Epochs>, Validity) {
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
        assert_eq!(leader.land_if_valid(validity, erased(), |_, _| is_stored = true), !is_invalidated);
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
    assert!(!leader.land_if_valid(epochs_and_validity().1, erased(), |_, _| panic!(
        "it is from before the invalidation"
    )));
    assert_eq!(flights.len(), 1, "the newer one goes on");
    assert!(newer.land(erased(), || ()));
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
