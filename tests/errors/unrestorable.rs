//! A cached error that the user's code cannot restore for a caller.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
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
