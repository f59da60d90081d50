//! Tests: no load waits for itself, or for a load that waits for it.

use std::future::poll_fn;

use super::*;

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
fn lead_that_is_passed_on_is_in_the_chain_of_its_new_leader() {
    let flights = Arc::new(Flights::new());
    let (outer, first) = (lead(&flights, &key("outer")), lead(&flights, &key("x")));
    let mut follower = follow(&flights, &key("x"));
    thread::sleep(INSTANTLY);
    let later = run_inside(&outer, || follower.overtake(INSTANTLY)).expect("the first was never polled");
    assert!(later.is_nested() && !first.is_nested());
    run_inside(&later, || {
        assert!(matches!(flights.join(&key("x"), false), Role::Recurse));
        let inner = lead(&flights, &key("y"));
        run_inside(&inner, || assert!(matches!(flights.join(&key("outer"), false), Role::Recurse)));
    });
    assert!(!is_inside_load());
}

#[test]
fn panic_inside_a_load_restores_its_chain() {
    let flights = Arc::new(Flights::new());
    let mut leader = lead(&flights, &key("x"));
    assert!(leader.enter(|| panic!("no")).is_err());
    assert!(!is_inside_load());
    assert!(leader.enter(is_inside_load).unwrap());
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
fn is_inside_load_holds_only_inside_a_load() {
    let flights = Arc::new(Flights::new());
    let mut leader = lead(&flights, &key("x"));
    assert!(!is_inside_load());
    assert!(run_inside(&leader, is_inside_load));
    assert!(!is_inside_load());
    assert!(leader.enter(is_inside_load).unwrap());
    assert!(!is_inside_load());
}
