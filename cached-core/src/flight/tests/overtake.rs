//! Tests: a leader that could go on and is not polled is overtaken, and the first to end the flight counts.

use std::future::poll_fn;

use super::*;

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
    assert!(follower.flight.idle_time(&follower.flight.state()) >= INSTANTLY, "it was never polled");
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
fn leader_at_work_is_not_idle_until_it_expects_a_poll() {
    let (flights, key) = (Arc::new(Flights::new()), key("x"));
    let Role::Lead(mut leader) = flights.join_at_work(&key, false) else { panic!("there is no other one") };
    let mut follower = follow(&flights, &key);
    thread::sleep(INSTANTLY);
    assert!(follower.overtake(INSTANTLY).is_none(), "its caller goes on");
    leader.expect_poll();
    thread::sleep(INSTANTLY);
    leader.enter(|| ()).unwrap();
    thread::sleep(INSTANTLY);
    assert!(follower.overtake(INSTANTLY).is_none(), "it blocks its thread");
    leader.expect_poll();
    thread::sleep(INSTANTLY);
    assert!(follower.overtake(INSTANTLY).is_some(), "it is not polled");
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
