//! Steady calls to both caches, and what each of them met.

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
    source::{HOT, Side, row},
    world::{BOUND, GRACE, World},
};

/// Tasks that call, for each cache.
const CALLERS: u32 = 2;

/// One call in so many is about a key that nobody has asked for yet.
const COLD: u32 = 5;

/// Between two calls of a task, and between two writes to a cache.
const CALLS_APART: Duration = Duration::from_millis(1);
const WRITES_APART: Duration = Duration::from_millis(40);

/// A call that takes longer hangs.
const HANGS: Duration = Duration::from_secs(15);

/// One call of the cached function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) began: Instant,
    /// How much longer it took than the load, if there was one, and than the machine is to blame for.
    pub(crate) added: Duration,
    pub(crate) answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Right,
    /// Older than what is promised.
    Old,
    /// Of another key, or one that never was.
    Wrong,
    /// It panicked, or did not return.
    Failed,
}

/// One invalidation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling {
    pub(crate) began: Instant,
    /// Without what the machine is to blame for.
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
    /// Redis may have counted as slow because the machine was.
    pub(crate) is_excused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    NotPropagated,
    /// Anything else would not be what is promised.
    Failed,
}

/// Calls until it is stopped.
pub(crate) struct Traffic {
    log: Arc<Log>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Log {
    stop: AtomicBool,
    samples: Mutex<Vec<Sample>>,
    tellings: Mutex<Vec<Telling>>,
}

impl Traffic {
    /// An invalidation that another process was acknowledged must hold after `allowed`.
    pub(crate) fn start(world: &World, allowed: Duration, writes: bool) -> Self {
        let (log, mut tasks) = (Arc::new(Log::default()), JoinSet::new());
        for side in &world.sides {
            for number in 0..CALLERS {
                let seed = number + CALLERS * u32::from(side.number > 0);
                tasks.spawn(call(side.clone(), log.clone(), world.pulse.clone(), allowed, seed));
            }
            if writes {
                tasks.spawn(write(side.clone(), log.clone(), world.pulse.clone()));
            }
        }
        Self { log, tasks }
    }

    /// Waits for so many further calls.
    pub(crate) async fn calls(&self, further: usize) {
        let enough = self.log.samples().len() + further;
        while self.log.samples().len() < enough {
            sleep(CALLS_APART).await;
        }
    }

    pub(crate) async fn stop(mut self) -> (Vec<Sample>, Vec<Telling>) {
        self.log.stop.store(true, Ordering::SeqCst);
        while let Some(task) = self.tasks.join_next().await {
            task.expect("a task that calls does not panic itself");
        }
        let samples = std::mem::take(&mut *self.log.samples());
        (samples, std::mem::take(&mut *lock(&self.log.tellings)))
    }
}

impl Log {
    fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        lock(&self.samples)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }
}

async fn call(side: Side, log: Arc<Log>, pulse: Arc<Pulse>, allowed: Duration, seed: u32) {
    let mut random = seed.wrapping_mul(0x9e37_79b9);
    while log.goes_on() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let drawn = random >> 16;
        let id = if drawn.is_multiple_of(COLD) { side.source.cold() } else { u64::from(drawn / COLD) % HOT };
        let sample = call_once(&side, id, &pulse, allowed).await;
        log.samples().push(sample);
        sleep(CALLS_APART).await;
    }
}

async fn call_once(side: &Side, id: u64, pulse: &Pulse, allowed: Duration) -> Sample {
    // A Redis that is too slow to be asked is an outage, whatever makes it slow.
    let allowed = |told| if pulse.was_slow(told) { BOUND + GRACE } else { allowed };
    let oldest = side.source.oldest(id, side.number, allowed);
    let began = Instant::now();
    let reply = row::with(CacheControl::new(), side, id);
    let Ok(Some(reply)) = timeout(HANGS, unpanicked(reply)).await else {
        return Sample { began, added: began.elapsed(), answer: Answer::Failed };
    };
    let took = began.elapsed();
    let loaded = matches!(reply.outcome, CacheOutcome::Miss | CacheOutcome::Joined);
    let load = if loaded { side.source.took(id) } else { Duration::ZERO };
    let answer = if reply.value.id != id || reply.value.version > side.source.version(id) {
        Answer::Wrong
    } else if reply.value.version < oldest {
        Answer::Old
    } else {
        Answer::Right
    };
    let late = pulse.late(began, began + took);
    Sample { began, added: took.saturating_sub(load).saturating_sub(late), answer }
}

/// Half of the keys: what one process writes, the other one must hear of.
async fn write(side: Side, log: Arc<Log>, pulse: Arc<Pulse>) {
    let mut id = side.number as u64;
    while log.goes_on() {
        id = (id + 2) % HOT;
        let version = side.source.write(id);
        let began = Instant::now();
        let outcome = match row::invalidate(&side, id).await {
            Ok(()) => Outcome::Acknowledged,
            Err(error) if error.is_not_propagated() => Outcome::NotPropagated,
            Err(_) => Outcome::Failed,
        };
        side.source.told(id, version, side.number, outcome == Outcome::Acknowledged);
        let took = pulse.took_since(began);
        let is_excused = pulse.was_slow(began);
        lock(&log.tellings).push(Telling { began, took, outcome, is_excused });
        sleep(WRITES_APART).await;
    }
}

/// `None` if it panics.
async fn unpanicked<T>(call: impl Future<Output = T>) -> Option<T> {
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
