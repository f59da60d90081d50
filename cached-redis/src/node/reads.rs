//! Coalescing of concurrent reads: many callers share one round trip.
//!
//! A request of its own costs each read a channel and a message to the task of the connection, which is more
//! than the read itself. So a read that finds enough others waiting takes a seat in an open [`ReadBatch`], and
//! one task (`ride`) sends all reads of the round. A single read is sent by its own caller.
//!
//! * A round is sent when it is full; or when all tasks that were runnable at its creation have run, and at
//!   most one other round is under way. A round that is closed early does not wait.
//! * The task is detached: dropping a caller leaves its seat empty and affects no other caller.
//! * Lock order: the traffic, then the state of a round. Wakers are woken under neither.

use std::{
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use cached_core::{ChangeFeed, TierError};
use redis::{Pipeline, Value};
use tokio::runtime::{Handle, Id};

use crate::{
    node::session::Session,
    protocol::{
        commands::{filled, whole},
        failure::{Failure, Verdict},
    },
};

/// Number of waiting reads from which on a further one joins a round. With fewer, the task costs more than it
/// saves.
const CROWD: usize = 8;

/// Maximum number of reads in a round.
const MOST: usize = 64;

/// Maximum expected size of a round in bytes, since even its first reply is delivered only with the last one.
const MOST_BYTES: usize = 256 * 1024;

/// Number of rounds under way from which on a further one waits until it is full.
const UNDER_WAY: usize = 2;

/// Rounds over the successive connections of a link.
#[derive(Debug, Default)]
pub(crate) struct ReadBatcher {
    traffic: Mutex<Traffic>,
    /// Average size of a reply, in bytes.
    mean: AtomicUsize,
    /// Number of rounds sent; `seats` counts the reads in them.
    pub(crate) rounds: AtomicU64,
    pub(crate) seats: AtomicU64,
}

#[derive(Debug, Default)]
struct Traffic {
    /// Round that accepts further reads.
    open: Option<Arc<ReadBatch>>,
    /// Rounds that were sent and are not answered yet.
    under_way: Vec<Arc<ReadBatch>>,
}

/// The value that was read under a key, if any.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) bytes: Option<Vec<u8>>,
    /// Upper limit of the server's clock when it replied.
    pub(crate) clock: Option<u64>,
    /// Change feed of the connection that was read over.
    pub(crate) line: Arc<ChangeFeed>,
}

impl Got {
    /// Interprets the reply to a read that arrived at `now`.
    pub(crate) fn read(answer: Value, session: &Session, now: Instant) -> Result<Self, Failure> {
        let (clock, line) = (session.clock.at(now), session.line.clone());
        Ok(Self { bytes: bytes(answer)?, clock, line })
    }
}

pub(super) fn bytes(answer: Value) -> Result<Option<Vec<u8>>, Failure> {
    match answer {
        // The cache stores no empty string, so an empty reply means no value.
        Value::BulkString(bytes) => Ok(filled(bytes)),
        Value::Nil => Ok(None),
        Value::ServerError(refusal) => Err(Failure::from(redis::RedisError::from(refusal))),
        other => Ok(redis::from_redis_value(other).map_err(redis::RedisError::from)?),
    }
}

/// Some reads, and the callers that wait for them.
#[derive(Debug)]
pub(super) struct ReadBatch {
    /// Runtime of the task. A caller on another runtime must not depend on it.
    runtime: Id,
    /// Budget of each read.
    pub(super) budget: Duration,
    pub(super) session: Arc<Session>,
    most: usize,
    state: Mutex<BatchState>,
}

#[derive(Debug)]
pub(super) struct BatchState {
    pub(super) ask: Pipeline,
    seats: Vec<BatchSlot>,
    clock: Option<u64>,
    /// Waker of the task, while it waits to send the round.
    driver: Option<Waker>,
}

#[derive(Debug)]
enum BatchSlot {
    Waiting(Option<Waker>),
    Answered(Result<Option<Vec<u8>>, TierError>),
    Empty,
}

impl ReadBatcher {
    /// Returns whether a read joins a round if `others` reads wait.
    pub(crate) fn are_many(&self, others: usize) -> bool {
        others >= CROWD && self.most() > 1
    }

    fn most(&self) -> usize {
        (MOST_BYTES / self.mean.load(Ordering::Relaxed).max(1)).min(MOST)
    }

    /// Takes a seat in the open round, if there is one that fits.
    pub(crate) fn join(&self, key: &str, budget: Duration, runtime: &Handle) -> Option<PendingRead> {
        let seated = lock(&self.traffic).seat(key, budget, runtime)?;
        Some(seated.go())
    }

    /// Takes a seat in a new round over this connection.
    ///
    /// Also returns the round if its task must be spawned. It is omitted if another thread has opened a round
    /// in the meantime, which then provides the seat.
    pub(super) fn begin(
        &self,
        key: &str,
        session: Arc<Session>,
        budget: Duration,
        runtime: &Handle,
    ) -> Option<(PendingRead, Option<Arc<ReadBatch>>)> {
        let most = self.most();
        let ask = Pipeline::with_capacity(most);
        let state = BatchState { ask, seats: Vec::with_capacity(most), clock: None, driver: None };
        let state = Mutex::new(state);
        let round = Arc::new(ReadBatch { runtime: runtime.id(), budget, session, most, state });
        let mut traffic = lock(&self.traffic);
        // Another thread may have opened a round in the meantime.
        if let Some(seated) = traffic.seat(key, budget, runtime) {
            drop(traffic);
            return Some((seated.go(), None));
        }
        let seated = round.seat(key)?;
        // The round that was open before accepts no more reads, so it need not wait for any.
        let before = traffic.open.replace(round.clone());
        let waiting = before.and_then(|before| before.state().driver.take());
        drop(traffic);
        if let Some(waker) = waiting {
            waker.wake();
        }
        Some((seated.go(), Some(round)))
    }

    /// Closes the open round, since its connection is replaced.
    pub(crate) fn replaced(&self) {
        let round = lock(&self.traffic).open.take();
        let waiting = round.as_ref().and_then(|round| round.state().driver.take());
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Returns whether the round may be sent.
    ///
    /// If so, it accepts no more reads. Otherwise its task is woken when it has to ask again.
    pub(super) fn set_off(&self, round: &Arc<ReadBatch>, waker: &Waker) -> bool {
        let mut traffic = lock(&self.traffic);
        let mut state = round.state();
        let may =
            traffic.before(round) < UNDER_WAY || state.seats.len() >= round.most || !traffic.is_open(round);
        if may {
            traffic.under_way.push(round.clone());
            traffic.close(round);
        } else {
            state.driver = Some(waker.clone());
        }
        may
    }

    /// Removes a round, whether it was under way or not, and wakes the open one.
    pub(super) fn end(&self, round: &Arc<ReadBatch>) {
        let mut traffic = lock(&self.traffic);
        traffic.close(round);
        traffic.under_way.retain(|other| !Arc::ptr_eq(other, round));
        let waiting = traffic.open.as_ref().and_then(|round| round.state().driver.take());
        drop(traffic);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Records the size of a reply to a read outside of rounds.
    ///
    /// Where replies are so large that no rounds are formed, this detects that they have become smaller.
    pub(crate) fn got(&self, bytes: usize) {
        if self.mean.load(Ordering::Relaxed) > MOST_BYTES / 2 {
            self.learn(bytes, 1);
        }
    }

    pub(super) fn learn(&self, bytes: usize, answers: usize) {
        let before = self.mean.load(Ordering::Relaxed);
        let now = (7 * before + bytes / answers.max(1)) / 8;
        if now != before {
            self.mean.store(now, Ordering::Relaxed);
        }
    }
}

impl Traffic {
    /// Takes a seat in the open round, which cannot be sent meanwhile since the traffic is locked.
    fn seat(&self, key: &str, budget: Duration, runtime: &Handle) -> Option<Seated> {
        let open = self.open.as_ref()?;
        if open.runtime == runtime.id() && open.budget == budget { open.seat(key) } else { None }
    }

    /// Returns the number of rounds under way that this one waits for.
    ///
    /// Rounds of a previous connection do not count, nor do those of another runtime, which may stand still.
    fn before(&self, round: &ReadBatch) -> usize {
        let is_before = |other: &&Arc<ReadBatch>| {
            other.runtime == round.runtime && Arc::ptr_eq(&other.session, &round.session)
        };
        self.under_way.iter().filter(is_before).count()
    }

    fn is_open(&self, round: &Arc<ReadBatch>) -> bool {
        self.open.as_ref().is_some_and(|open| Arc::ptr_eq(open, round))
    }

    fn close(&mut self, round: &Arc<ReadBatch>) {
        if self.is_open(round) {
            self.open = None;
        }
    }
}

impl ReadBatch {
    fn seat(self: &Arc<Self>, key: &str) -> Option<Seated> {
        let mut state = self.state();
        if state.seats.len() >= self.most {
            return None;
        }
        state.ask.add_command(whole(key));
        state.seats.push(BatchSlot::Waiting(None));
        let number = state.seats.len() - 1;
        let driver = if number + 1 == self.most { state.driver.take() } else { None };
        Some(Seated { reading: PendingRead { round: self.clone(), number, is_over: false }, driver })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, BatchState> {
        lock(&self.state)
    }

    /// Distributes the replies, and returns the number of reads that waited for one.
    pub(super) fn answer(
        &self,
        clock: Option<u64>,
        mut answers: impl FnMut(usize) -> Result<Option<Vec<u8>>, TierError>,
    ) -> usize {
        let mut state = self.state();
        // Keep the clock of an earlier call: its reads may not have taken their replies yet.
        state.clock = state.clock.or(clock);
        let mut wakers = Vec::with_capacity(state.seats.len());
        for (number, seat) in state.seats.iter_mut().enumerate() {
            if let BatchSlot::Waiting(waker) = seat {
                wakers.push(waker.take());
                *seat = BatchSlot::Answered(answers(number));
            }
        }
        drop(state);
        let count = wakers.len();
        wakers.into_iter().flatten().for_each(Waker::wake);
        count
    }
}

/// A seat that was just taken.
struct Seated {
    reading: PendingRead,
    /// Waker of the round's task, if this seat was the last one.
    driver: Option<Waker>,
}

impl Seated {
    /// Wakes the task if required. Must be called under no lock, since a waker is code of the runtime.
    fn go(self) -> PendingRead {
        if let Some(waker) = self.driver {
            waker.wake();
        }
        self.reading
    }
}

/// Future of the read in one seat.
#[derive(Debug)]
pub(crate) struct PendingRead {
    round: Arc<ReadBatch>,
    number: usize,
    is_over: bool,
}

impl Future for PendingRead {
    type Output = Result<Got, TierError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.round.state();
        let seat = &mut state.seats[self.number];
        if let BatchSlot::Waiting(waker) = seat {
            let is_known = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            let before = if is_known { None } else { waker.replace(cx.waker().clone()) };
            drop(state);
            // Dropping a waker may drop a task that holds another seat of this round, which needs the lock.
            drop(before);
            return Poll::Pending;
        }
        let BatchSlot::Answered(bytes) = mem::replace(seat, BatchSlot::Empty) else {
            return Poll::Ready(Err(TierError::Unavailable));
        };
        let clock = state.clock;
        drop(state);
        self.is_over = true;
        Poll::Ready(bytes.map(|bytes| Got { bytes, clock, line: self.round.session.line.clone() }))
    }
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        if !self.is_over {
            let left = mem::replace(&mut self.round.state().seats[self.number], BatchSlot::Empty);
            // Outside of the lock, since a waker is code of the runtime.
            drop(left);
        }
    }
}

/// Converts an error that is not the fault of the connection.
impl From<TierError> for Failure {
    fn from(error: TierError) -> Self {
        Self { error, verdict: Verdict::Sound }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
