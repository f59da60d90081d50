//! Coalescing of concurrent reads: many callers share one round trip.
//!
//! A request of its own costs each read a channel and a message to the task of the connection, which is more
//! than the read itself. So a read that finds enough others waiting joins an open [`ReadBatch`], and
//! one task (`round`) sends all reads of the round. A single read is sent by its own caller.
//!
//! * A round is sent when it is full; or when all tasks that were runnable at its creation have run, and at
//!   most one other round is under way. A round that is closed early does not wait.
//! * The task is detached: dropping a caller leaves its slot empty and affects no other caller.
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

use cached_core::{TierError, tier::ChangeFeed};
use redis::{Pipeline, Value};
use tokio::runtime::{Handle, Id};

use crate::{
    node::session::Session,
    protocol::{
        commands::{non_empty, value_command},
        failure::{Failure, Verdict},
    },
};

/// Number of waiting reads from which on a further one joins a round. With fewer, the task costs more than it
/// saves.
const MIN_WAITING: usize = 8;

/// Maximum number of reads in a round.
const MAX_READS: usize = 64;

/// Maximum expected size of a round in bytes, since even its first reply is delivered only with the last one.
const MAX_BYTES: usize = 256 * 1024;

/// Number of rounds under way from which on a further one waits until it is full.
const MAX_UNDER_WAY: usize = 2;

/// Rounds over the successive connections of a link.
#[derive(Debug, Default)]
pub(crate) struct ReadBatcher {
    traffic: Mutex<Traffic>,
    /// Average size of a reply, in bytes.
    mean_reply_size: AtomicUsize,
    /// Number of rounds sent; `reads_in_rounds` counts the reads in them.
    pub(crate) rounds: AtomicU64,
    pub(crate) reads_in_rounds: AtomicU64,
}

#[derive(Debug, Default)]
struct Traffic {
    /// Round that accepts further reads.
    open_round: Option<Arc<ReadBatch>>,
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
    pub(crate) feed: Arc<ChangeFeed>,
}

impl Got {
    /// Interprets the reply to a read that arrived at `now`.
    pub(crate) fn from_reply(reply: Value, session: &Session, now: Instant) -> Result<Self, Failure> {
        let (clock, feed) = (session.clock.latest_at(now), session.feed.clone());
        Ok(Self { bytes: parse_bytes(reply)?, clock, feed })
    }
}

pub(super) fn parse_bytes(reply: Value) -> Result<Option<Vec<u8>>, Failure> {
    match reply {
        // The cache stores no empty string, so an empty reply means no value.
        Value::BulkString(bytes) => Ok(non_empty(bytes)),
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
    max_reads: usize,
    state: Mutex<BatchState>,
}

#[derive(Debug)]
pub(super) struct BatchState {
    pub(super) pipeline: Pipeline,
    slots: Vec<BatchSlot>,
    clock: Option<u64>,
    /// Waker of the task, while it waits to send the round.
    task_waker: Option<Waker>,
}

#[derive(Debug)]
enum BatchSlot {
    Waiting(Option<Waker>),
    Answered(Result<Option<Vec<u8>>, TierError>),
    Empty,
}

impl ReadBatcher {
    /// Returns whether a read joins a round if `others` reads wait.
    pub(crate) fn joins_round(&self, others: usize) -> bool {
        others >= MIN_WAITING && self.max_reads() > 1
    }

    fn max_reads(&self) -> usize {
        (MAX_BYTES / self.mean_reply_size.load(Ordering::Relaxed).max(1)).min(MAX_READS)
    }

    /// Joins the open round, if there is one that fits.
    pub(crate) fn join(&self, key: &str, budget: Duration, runtime: &Handle) -> Option<PendingRead> {
        let joined = lock(&self.traffic).join(key, budget, runtime)?;
        Some(joined.wake_task())
    }

    /// Opens a round over this connection, and joins it.
    ///
    /// Also returns the round if its task must be spawned. It is omitted if another thread has opened a round
    /// in the meantime, which the read then joins.
    pub(super) fn open_round(
        &self,
        key: &str,
        session: Arc<Session>,
        budget: Duration,
        runtime: &Handle,
    ) -> Option<(PendingRead, Option<Arc<ReadBatch>>)> {
        let max_reads = self.max_reads();
        let pipeline = Pipeline::with_capacity(max_reads);
        let state =
            BatchState { pipeline, slots: Vec::with_capacity(max_reads), clock: None, task_waker: None };
        let state = Mutex::new(state);
        let round = Arc::new(ReadBatch { runtime: runtime.id(), budget, session, max_reads, state });
        let mut traffic = lock(&self.traffic);
        // Another thread may have opened a round in the meantime.
        if let Some(joined) = traffic.join(key, budget, runtime) {
            drop(traffic);
            return Some((joined.wake_task(), None));
        }
        let joined = round.add_read(key)?;
        // The round that was open before accepts no more reads, so it need not wait for any.
        let previous = traffic.open_round.replace(round.clone());
        let task_waker = previous.and_then(|round| round.state().task_waker.take());
        drop(traffic);
        if let Some(waker) = task_waker {
            waker.wake();
        }
        Some((joined.wake_task(), Some(round)))
    }

    /// Closes the open round, since its connection is replaced.
    pub(crate) fn close_open_round(&self) {
        let round = lock(&self.traffic).open_round.take();
        let task_waker = round.as_ref().and_then(|round| round.state().task_waker.take());
        if let Some(waker) = task_waker {
            waker.wake();
        }
    }

    /// Returns whether the round may be sent.
    ///
    /// If so, it accepts no more reads. Otherwise its task is woken when it has to ask again.
    pub(super) fn try_start(&self, round: &Arc<ReadBatch>, waker: &Waker) -> bool {
        let mut traffic = lock(&self.traffic);
        let mut state = round.state();
        let may_start = traffic.count_before(round) < MAX_UNDER_WAY
            || state.slots.len() >= round.max_reads
            || !traffic.is_open(round);
        if may_start {
            traffic.under_way.push(round.clone());
            traffic.close(round);
        } else {
            state.task_waker = Some(waker.clone());
        }
        may_start
    }

    /// Removes a round, whether it was under way or not, and wakes the open one.
    pub(super) fn remove(&self, round: &Arc<ReadBatch>) {
        let mut traffic = lock(&self.traffic);
        traffic.close(round);
        traffic.under_way.retain(|other| !Arc::ptr_eq(other, round));
        let task_waker = traffic.open_round.as_ref().and_then(|round| round.state().task_waker.take());
        drop(traffic);
        if let Some(waker) = task_waker {
            waker.wake();
        }
    }

    /// Records the size of a reply to a read outside of rounds.
    ///
    /// Where replies are so large that no rounds are formed, this detects that they have become smaller.
    pub(crate) fn record_reply_size(&self, bytes: usize) {
        if self.mean_reply_size.load(Ordering::Relaxed) > MAX_BYTES / 2 {
            self.update_mean(bytes, 1);
        }
    }

    pub(super) fn update_mean(&self, bytes: usize, replies: usize) {
        let before = self.mean_reply_size.load(Ordering::Relaxed);
        let now = (7 * before + bytes / replies.max(1)) / 8;
        if now != before {
            self.mean_reply_size.store(now, Ordering::Relaxed);
        }
    }
}

impl Traffic {
    /// Joins the open round, which cannot be sent meanwhile since the traffic is locked.
    fn join(&self, key: &str, budget: Duration, runtime: &Handle) -> Option<JoinedRead> {
        let open = self.open_round.as_ref()?;
        if open.runtime == runtime.id() && open.budget == budget { open.add_read(key) } else { None }
    }

    /// Returns the number of rounds under way that this one waits for.
    ///
    /// Rounds of a previous connection do not count, nor do those of another runtime, which may stand still.
    fn count_before(&self, round: &ReadBatch) -> usize {
        let is_before = |other: &&Arc<ReadBatch>| {
            other.runtime == round.runtime && Arc::ptr_eq(&other.session, &round.session)
        };
        self.under_way.iter().filter(is_before).count()
    }

    fn is_open(&self, round: &Arc<ReadBatch>) -> bool {
        self.open_round.as_ref().is_some_and(|open| Arc::ptr_eq(open, round))
    }

    fn close(&mut self, round: &Arc<ReadBatch>) {
        if self.is_open(round) {
            self.open_round = None;
        }
    }
}

impl ReadBatch {
    fn add_read(self: &Arc<Self>, key: &str) -> Option<JoinedRead> {
        let mut state = self.state();
        if state.slots.len() >= self.max_reads {
            return None;
        }
        state.pipeline.add_command(value_command(key));
        state.slots.push(BatchSlot::Waiting(None));
        let number = state.slots.len() - 1;
        let task_waker = if number + 1 == self.max_reads { state.task_waker.take() } else { None };
        Some(JoinedRead { read: PendingRead { round: self.clone(), number, is_done: false }, task_waker })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, BatchState> {
        lock(&self.state)
    }

    /// Distributes the replies, and returns the number of reads that waited for one.
    pub(super) fn distribute(
        &self,
        clock: Option<u64>,
        mut reply_of: impl FnMut(usize) -> Result<Option<Vec<u8>>, TierError>,
    ) -> usize {
        let mut state = self.state();
        // Keep the clock of an earlier call: its reads may not have taken their replies yet.
        state.clock = state.clock.or(clock);
        let mut wakers = Vec::with_capacity(state.slots.len());
        for (number, slot) in state.slots.iter_mut().enumerate() {
            if let BatchSlot::Waiting(waker) = slot {
                wakers.push(waker.take());
                *slot = BatchSlot::Answered(reply_of(number));
            }
        }
        drop(state);
        let count = wakers.len();
        wakers.into_iter().flatten().for_each(Waker::wake);
        count
    }
}

/// A read that has just joined a round.
struct JoinedRead {
    read: PendingRead,
    /// Waker of the round's task, if this read filled the last slot.
    task_waker: Option<Waker>,
}

impl JoinedRead {
    /// Wakes the task if required. Must be called under no lock, since a waker is code of the runtime.
    fn wake_task(self) -> PendingRead {
        if let Some(waker) = self.task_waker {
            waker.wake();
        }
        self.read
    }
}

/// Future of the read in one slot.
#[derive(Debug)]
pub(crate) struct PendingRead {
    round: Arc<ReadBatch>,
    number: usize,
    is_done: bool,
}

impl Future for PendingRead {
    type Output = Result<Got, TierError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.round.state();
        let slot = &mut state.slots[self.number];
        if let BatchSlot::Waiting(waker) = slot {
            let is_same = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            let replaced = if is_same { None } else { waker.replace(cx.waker().clone()) };
            drop(state);
            // Dropping a waker may drop a task that holds another slot of this round, which needs the lock.
            drop(replaced);
            return Poll::Pending;
        }
        let BatchSlot::Answered(bytes) = mem::replace(slot, BatchSlot::Empty) else {
            return Poll::Ready(Err(TierError::Unavailable));
        };
        let clock = state.clock;
        drop(state);
        self.is_done = true;
        Poll::Ready(bytes.map(|bytes| Got { bytes, clock, feed: self.round.session.feed.clone() }))
    }
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        if !self.is_done {
            let abandoned = mem::replace(&mut self.round.state().slots[self.number], BatchSlot::Empty);
            // Outside of the lock, since a waker is code of the runtime.
            drop(abandoned);
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
