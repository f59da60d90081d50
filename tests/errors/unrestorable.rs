//! A cached error that the user's code cannot restore for a caller.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use cached_aside::{Cache, cached};
use tokio::task::{JoinSet, LocalSet, yield_now};

use crate::support::{Source, cache};

/// Error of which a copy cannot be made while it is broken.
#[derive(Debug)]
struct Fragile(Arc<AtomicBool>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!self.0.load(SeqCst), "as planned");
        Self(self.0.clone())
    }
}

/// Fails at its first run.
#[cached("unrestorable", ttl = "1h", cache_err = "1h", cache = cache, skip(cache, source, is_broken))]
async fn quote(cache: Cache, source: Source, is_broken: Arc<AtomicBool>) -> Result<usize, Fragile> {
    let run = source.run().await;
    if run == 1 { Err(Fragile(is_broken)) } else { Ok(run) }
}

#[tokio::test]
async fn callers_that_cannot_restore_a_cached_error_share_the_next_load() {
    const CALLERS: usize = 8;
    let (cache, source, is_broken) = (cache(), Source::gated(), Arc::new(AtomicBool::new(false)));
    let call = || quote(cache.clone(), source.clone(), is_broken.clone());
    source.release(1);
    for _ in 0..3 {
        assert!(call().await.is_err());
    }
    assert_eq!(source.runs(), 1, "the error is cached");
    is_broken.store(true, SeqCst);
    assert!(quote::peek(cache.clone(), source.clone(), is_broken.clone()).await.is_none());
    let begin = async {
        let mut calls = JoinSet::new();
        for _ in 0..CALLERS {
            calls.spawn_local(call());
        }
        let waiting = || usize::try_from(cache.stats().waiting).unwrap_or(usize::MAX);
        while source.running() + waiting() < CALLERS {
            yield_now().await;
        }
        source.release_all();
        calls.join_all().await
    };
    let results = LocalSet::new().run_until(begin).await;
    assert!(results.iter().all(|result| matches!(result, Ok(2))), "{results:?}");
    assert!(matches!(call().await, Ok(2)), "the value has replaced the error");
    assert_eq!(source.runs(), 2);
}

/// State of [`nested`], and of the copies of its error.
#[derive(Debug, Default)]
struct Nesting {
    copies_call: AtomicBool,
    is_in_copy: AtomicBool,
    loads: AtomicUsize,
}

/// Error of which a copy calls the function of the error, and cannot be made either.
#[derive(Debug)]
struct Calling(Cache, Arc<Nesting>);

impl Clone for Calling {
    fn clone(&self) -> Self {
        let Self(cache, state) = self;
        if state.copies_call.load(SeqCst) {
            if !state.is_in_copy.swap(true, SeqCst) {
                assert!(nested(cache, state).is_err());
                state.is_in_copy.store(false, SeqCst);
            }
            panic!("as planned");
        }
        Self(cache.clone(), state.clone())
    }
}

/// Has a limit of loads, so a call leads its flight before it looks into L1 for the last time.
#[cached("nested", ttl = "1h", cache_err = "1h", max_loads = 1, local, cache = cache, skip(cache, state))]
fn nested(cache: &Cache, state: &Arc<Nesting>) -> Result<u64, Calling> {
    state.loads.fetch_add(1, SeqCst);
    Err(Calling(cache.clone(), state.clone()))
}

/// The call in the copy must not wait for the call that makes the copy.
#[test]
fn leader_that_restores_an_error_is_not_followed_by_a_call_in_its_copy() {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (cache, state) = (cache(), Arc::new(Nesting::default()));
        assert!(nested(&cache, &state).is_err() && nested(&cache, &state).is_err());
        assert_eq!(state.loads.load(SeqCst), 1, "the error is cached");
        state.copies_call.store(true, SeqCst);
        assert!(nested(&cache, &state).is_err());
        sender.send(state.loads.load(SeqCst)).unwrap();
    });
    let loads = receiver.recv_timeout(Duration::from_secs(60)).expect("the call ends");
    assert!(loads >= 3, "a call in a copy, and the call that makes the copy, have loaded: {loads}");
}
