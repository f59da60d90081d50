//! Mixed calls: hits, loads, invalidations, tags, callers that go away, and loads that fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cached_aside::{Cache, cached};
use tokio::{
    task,
    time::{sleep, timeout},
};

/// Number of keys that are requested over and over.
const HOT_KEYS: u64 = 64;

/// Pause between two calls of a task.
const CALL_PAUSE: Duration = Duration::from_micros(500);

/// Cache that stands for one process, with the counters of its calls.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) cache: Cache,
    pub(crate) calls: Arc<Calls>,
}

/// Counters of calls and of wrong results.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    next_cold: AtomicU64,
    made: AtomicU64,
    /// Wrong values, and errors that are not the function's own.
    wrong: AtomicU64,
}

impl Calls {
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    pub(crate) fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }

    fn count(&self, is_right: bool) {
        self.made.fetch_add(1, Ordering::Relaxed);
        if !is_right {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cached("plain:{id}", ttl = "1m", jitter = 0.1, cache = process.cache, skip(process))]
async fn plain(process: &Process, id: u64) -> String {
    let _ = process;
    sleep(Duration::from_millis(1)).await;
    format!("{id:0>200}")
}

#[cached("tagged:{group}:{id}", ttl = "1m", stale = "10s", tags = ["group:{group}"], cache = process.cache, skip(process))]
async fn tagged(process: &Process, group: u64, id: u64) -> u64 {
    let _ = process;
    task::yield_now().await;
    id
}

/// Fails for every second key.
#[cached("fails:{id}", ttl = "1m", cache = process.cache, skip(process))]
async fn fails(process: &Process, id: u64) -> Result<u64, String> {
    let _ = process;
    task::yield_now().await;
    if id.is_multiple_of(2) { Ok(id) } else { Err("as it is to".to_owned()) }
}

/// Makes calls until `until`.
pub(crate) async fn call(process: Process, number: u64, until: Instant) {
    let mut random = number;
    while Instant::now() < until {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        call_once(&process, random >> 33).await;
        sleep(CALL_PAUSE).await;
    }
}

async fn call_once(process: &Process, drawn: u64) {
    let (choice, id) = (drawn % 100, drawn / 100 % HOT_KEYS);
    let cold = || HOT_KEYS + process.calls.next_cold.fetch_add(1, Ordering::Relaxed);
    let is_right = match choice {
        0..50 => plain(process, id).await.parse() == Ok(id),
        50..60 => {
            let id = cold();
            plain(process, id).await.parse() == Ok(id)
        }
        60..80 => tagged(process, id % 4, id).await == id,
        80..85 => fails(process, id).await.is_ok() == id.is_multiple_of(2),
        85..88 => {
            let id = cold();
            fails(process, id).await.is_ok() == id.is_multiple_of(2)
        }
        // The caller goes away.
        88..94 => {
            let _ = timeout(Duration::from_micros(200), plain(process, cold())).await;
            true
        }
        94..97 => is_ok_or_not_propagated(plain::invalidate(process, id).await),
        97 => is_ok_or_not_propagated(tagged::invalidate(process, id % 4, id).await),
        98 => is_ok_or_not_propagated(process.cache.invalidate_tag("group:{}", &[&(id % 4)]).await),
        _ => is_ok_or_not_propagated(process.cache.invalidate_tag("unused:{}", &[&cold()]).await),
    };
    process.calls.count(is_right);
}

/// Returns whether an invalidation succeeded, or failed in the only permitted way.
fn is_ok_or_not_propagated(outcome: Result<(), cached_aside::Error>) -> bool {
    outcome.err().is_none_or(|error| error.is_not_propagated())
}

/// Leaks memory and tasks, as a faulty cache would.
pub(crate) async fn leak(until: Instant) {
    while Instant::now() < until {
        Box::leak(vec![1u8; 256 * 1024].into_boxed_slice());
        task::spawn(std::future::pending::<()>());
        sleep(Duration::from_millis(10)).await;
    }
}
