//! Steady calls to both caches, and the outcome of each.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use cached_aside::{CacheControl, CacheOutcome};
use redis_harness::Pulse;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    source::{HOT_KEYS, Process, row},
    world::{BOUND, GRACE, World},
};

/// Number of calling tasks for each cache.
const CALLERS: u32 = 2;

/// One call in this many is about a key that was never requested before.
const COLD_RATIO: u32 = 5;

/// Pause between two calls of a task.
const CALL_PAUSE: Duration = Duration::from_millis(1);
/// Pause between two writes to a cache.
const WRITE_PAUSE: Duration = Duration::from_millis(40);

/// Time after which a call counts as hanging.
const HANG_TIMEOUT: Duration = Duration::from_secs(15);

/// One call of the cached function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) began: Instant,
    /// Time of the call without its load, if there was one, and without lateness of the machine.
    pub(crate) overhead: Duration,
    pub(crate) answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Right,
    /// The value is older than promised.
    Outdated,
    /// The value belongs to another key, or its version never existed.
    Wrong,
    /// The call panicked, or did not return.
    Failed,
}

/// One invalidation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InvalidationSample {
    pub(crate) began: Instant,
    /// Time of the invalidation without lateness of the machine.
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
    /// Set if Redis may have counted as slow because the machine was slow.
    pub(crate) is_excused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    NotPropagated,
    /// The invalidation failed in another way, which breaks a promise.
    Failed,
}

/// Calls and writes that continue until they are stopped.
pub(crate) struct Traffic {
    log: Arc<Log>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Log {
    stop: AtomicBool,
    samples: Mutex<Vec<Sample>>,
    invalidations: Mutex<Vec<InvalidationSample>>,
}

impl Traffic {
    /// Starts the calls, and the writes if `writes` is set.
    ///
    /// An acknowledged invalidation of another process must hold after `allowed`.
    pub(crate) fn start(world: &World, allowed: Duration, writes: bool) -> Self {
        let (log, mut tasks) = (Arc::new(Log::default()), JoinSet::new());
        for process in &world.processes {
            for number in 0..CALLERS {
                let seed = number + CALLERS * u32::from(process.number > 0);
                tasks.spawn(call(process.clone(), log.clone(), world.pulse.clone(), allowed, seed));
            }
            if writes {
                tasks.spawn(write(process.clone(), log.clone(), world.pulse.clone()));
            }
        }
        Self { log, tasks }
    }

    /// Waits for this number of further calls.
    pub(crate) async fn calls(&self, further: usize) {
        let enough = self.log.samples().len() + further;
        while self.log.samples().len() < enough {
            sleep(CALL_PAUSE).await;
        }
    }

    pub(crate) async fn stop(mut self) -> (Vec<Sample>, Vec<InvalidationSample>) {
        self.log.stop.store(true, Ordering::SeqCst);
        while let Some(task) = self.tasks.join_next().await {
            task.expect("a task that calls does not panic itself");
        }
        let samples = std::mem::take(&mut *self.log.samples());
        (samples, std::mem::take(&mut *lock(&self.log.invalidations)))
    }
}

impl Log {
    fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        lock(&self.samples)
    }

    fn is_running(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }
}

async fn call(process: Process, log: Arc<Log>, pulse: Arc<Pulse>, allowed: Duration, seed: u32) {
    let mut random = seed.wrapping_mul(0x9e37_79b9);
    while log.is_running() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let drawn = random >> 16;
        let id = if drawn.is_multiple_of(COLD_RATIO) {
            process.source.unused_key()
        } else {
            u64::from(drawn / COLD_RATIO) % HOT_KEYS
        };
        let sample = call_once(&process, id, &pulse, allowed).await;
        log.samples().push(sample);
        sleep(CALL_PAUSE).await;
    }
}

async fn call_once(process: &Process, id: u64, pulse: &Pulse, allowed: Duration) -> Sample {
    let in_outage = || process.cache.stats().served_in_outage;
    let (before, began) = (in_outage(), Instant::now());
    let reply = row::with(CacheControl::new(), process, id);
    let Ok(Some(reply)) = timeout(HANG_TIMEOUT, catch_panic(reply)).await else {
        return Sample { began, overhead: began.elapsed(), answer: Answer::Failed };
    };
    let took = began.elapsed();
    // A moment in which Redis cannot be asked is an outage, such as that of a new connection. On a machine that is
    // never late, that moment ends before the bound. On any other machine the grace counts, but only for a value that
    // the cache itself counts as served in an outage: a connection takes many steps, and each of them may be late.
    let since = began.checked_sub(BOUND).unwrap_or(began);
    let is_late = pulse.was_slow(since) || !pulse.delay_between(since, began).is_zero();
    let allowed = if is_late && in_outage() != before { BOUND + GRACE } else { allowed };
    let oldest = process.source.oldest_allowed(id, process.number, began, allowed);
    let loaded = matches!(reply.outcome, CacheOutcome::Miss | CacheOutcome::Joined);
    let load = if loaded { process.source.last_load_time(id) } else { Duration::ZERO };
    let answer = if reply.value.id != id || reply.value.version > process.source.version(id) {
        Answer::Wrong
    } else if reply.value.version < oldest {
        Answer::Outdated
    } else {
        Answer::Right
    };
    let late = pulse.delay_between(began, began + took);
    Sample { began, overhead: took.saturating_sub(load).saturating_sub(late), answer }
}

/// Writes half of the keys. The other process must be notified of these writes.
async fn write(process: Process, log: Arc<Log>, pulse: Arc<Pulse>) {
    let mut id = process.number as u64;
    while log.is_running() {
        id = (id + 2) % HOT_KEYS;
        let version = process.source.write(id);
        let began = Instant::now();
        let outcome = match row::invalidate(&process, id).await {
            Ok(()) => Outcome::Acknowledged,
            Err(error) if error.is_not_propagated() => Outcome::NotPropagated,
            Err(_) => Outcome::Failed,
        };
        process.source.record_invalidation(id, version, process.number, outcome == Outcome::Acknowledged);
        let took = pulse.elapsed_since(began);
        let is_excused = pulse.was_slow(began);
        lock(&log.invalidations).push(InvalidationSample { began, took, outcome, is_excused });
        sleep(WRITE_PAUSE).await;
    }
}

/// Returns the result of the call; `None` if it panics.
async fn catch_panic<T>(call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
        Err(_) => Poll::Ready(None),
    })
    .await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
