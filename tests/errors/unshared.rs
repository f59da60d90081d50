//! Errors that cannot be shared: each caller gets its own.

use std::time::Duration;

use cached_aside::{Cache, LoadTimeout, cached};
use redis_harness::eventually_async;

use crate::support::{Source, cache, call_concurrently};

const CALLERS: usize = 100;

/// Error that can be neither cloned nor made from a text.
#[derive(Debug, PartialEq)]
enum UnsharedError {
    Run(usize),
    TimedOut(Duration),
}

impl From<LoadTimeout> for UnsharedError {
    fn from(timeout: LoadTimeout) -> Self {
        Self::TimedOut(timeout.limit)
    }
}

/// Fails until the load with the number `heal`.
#[cached("alone:{heal}", ttl = "1h", cache = cache, skip(cache, source))]
async fn alone(cache: Cache, source: Source, heal: usize) -> Result<usize, UnsharedError> {
    let run = source.run().await;
    if run >= heal { Ok(run) } else { Err(UnsharedError::Run(run)) }
}

#[tokio::test]
async fn unshareable_errors_are_loaded_one_at_a_time() {
    let (cache, source) = (cache(), Source::gated());
    let call = || alone(cache.clone(), source.clone(), usize::MAX);
    let results = call_concurrently(&cache, &source, CALLERS, call).await;
    let mut runs: Vec<_> = results.iter().map(|result| result.as_ref().unwrap_err()).collect();
    runs.sort_by_key(|error| match error {
        UnsharedError::Run(run) => *run,
        UnsharedError::TimedOut(_) => usize::MAX,
    });
    let expected: Vec<_> = (1..=CALLERS).map(UnsharedError::Run).collect();
    assert!(runs.into_iter().eq(&expected));
    assert_eq!((source.runs(), source.max_running()), (CALLERS, 1));
    assert_eq!((cache.stats().in_flight, cache.stats().waiting), (0, 0));
}

#[tokio::test]
async fn callers_share_the_first_successful_load() {
    for heal in [2, 3, 50] {
        let (cache, source) = (cache(), Source::gated());
        let results =
            call_concurrently(&cache, &source, CALLERS, || alone(cache.clone(), source.clone(), heal)).await;
        assert_eq!((source.runs(), source.max_running()), (heal, 1));
        let found = results.iter().filter(|result| **result == Ok(heal)).count();
        assert_eq!(found, CALLERS - (heal - 1));
    }
}

#[tokio::test]
async fn aborted_callers_pass_the_lead_on() {
    let (cache, source) = (cache(), Source::gated());
    let call = || tokio::spawn(alone(cache.clone(), source.clone(), usize::MAX));
    let calls: Vec<_> = (0..CALLERS).map(|_| call()).collect();
    while cache.stats().waiting < CALLERS as u64 - 1 {
        tokio::task::yield_now().await;
    }
    source.release_all();
    // Most callers go away, including those that have waited longest.
    for call in &calls[1..CALLERS - 10] {
        call.abort();
    }
    for call in calls.into_iter().skip(CALLERS - 10) {
        assert!(call.await.unwrap().is_err());
    }
    assert_eq!((source.max_running(), cache.stats().in_flight), (1, 0));
}

const LIMIT: Duration = Duration::from_millis(50);

#[cached("late", ttl = "1h", load_timeout = "50ms", cache = cache, skip(cache, source))]
async fn late(cache: Cache, source: Source) -> Result<usize, UnsharedError> {
    Ok(source.run().await)
}

/// The loads of all callers, one after the other, would take the limit times the number of callers.
#[tokio::test]
async fn call_waits_at_most_its_load_timeout_for_other_loads() {
    let (cache, source) = (cache(), Source::gated());
    let calls: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(late(cache.clone(), source.clone()))).collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Err(UnsharedError::TimedOut(LIMIT)));
    }
    // When the first load has taken too long, the calls that began meanwhile have waited as long.
    assert!(source.runs() <= 3, "{} loads", source.runs());
}
#[tokio::test]
async fn log_names_the_function_once_and_suggests_share_err() {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let lines = Lines::default();
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || written.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // If a thread-local subscriber is the only one, it is not asked about callsites that another thread
    // reaches first. So there is a second subscriber.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let waves = async |cache: Cache| {
        for heal in [usize::MAX, usize::MAX - 1] {
            let source = Source::gated();
            call_concurrently(&cache, &source, 3, || alone(cache.clone(), source.clone(), heal)).await;
        }
    };
    eventually_async("the subscriber is asked", async || {
        tracing::callsite::rebuild_interest_cache();
        waves(cache()).await;
        !lines.0.lock().unwrap().is_empty()
    })
    .await;
    lines.0.lock().unwrap().clear();
    waves(cache()).await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("share_err")).collect();
    assert_eq!(warnings.len(), 1, "{text}");
    assert!(warnings[0].contains("WARN") && warnings[0].contains("alone"), "{text}");
}
