//! Reads that many callers ask for at the same time, in one round trip.
//!
//! A request of its own costs each read a channel and a message to the connection's task: more than the read itself. So whoever
//! reads while others wait takes a seat in a [`Round`] that has not set off yet, and one task asks for all of them. It sets off when it is full, or when whatever could run when it was made has run and no more than one
//! other one is under way. Who is alone asks for himself.
//!
//! The task is nobody's: a caller that goes away leaves his seat empty, and no other one notices.

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

/// So many others must wait for a read to go along with them. With fewer, the task costs more than it saves.
const CROWD: usize = 8;

/// The most reads of a round.
const MOST: usize = 64;

/// The most bytes that a round may be expected to bring, since the first answer is there with the last one only.
const MOST_BYTES: usize = 256 * 1024;

/// So many are under way before one waits until it is full.
const UNDER_WAY: usize = 2;

/// The rounds of one connection after the other.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    traffic: Mutex<Traffic>,
    /// The bytes of an answer, on average.
    mean: AtomicUsize,
    /// How many rounds have set off, and with how many reads.
    pub(crate) rounds: AtomicU64,
    pub(crate) seats: AtomicU64,
}

#[derive(Debug, Default)]
struct Traffic {
    /// The one that takes in more.
    open: Option<Arc<Round>>,
    /// Those that have set off, and have not been answered.
    under_way: Vec<Arc<Round>>,
}

/// What was under a key.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) bytes: Option<Vec<u8>>,
    /// What the clock of the server showed at most when it had answered.
    pub(crate) clock: Option<u64>,
    /// Over which it was asked.
    pub(crate) line: Arc<ChangeFeed>,
}

impl Got {
    /// The answer to a `GET` that came at this moment.
    pub(crate) fn read(answer: Value, session: &Session, now: Instant) -> Result<Self, Failure> {
        let (clock, line) = (session.clock.at(now), session.line.clone());
        Ok(Self { bytes: bytes(answer)?, clock, line })
    }
}

pub(super) fn bytes(answer: Value) -> Result<Option<Vec<u8>>, Failure> {
    match answer {
        // No string of ours is empty.
        Value::BulkString(bytes) => Ok(filled(bytes)),
        Value::Nil => Ok(None),
        Value::ServerError(refusal) => Err(Failure::from(redis::RedisError::from(refusal))),
        other => Ok(redis::from_redis_value(other).map_err(redis::RedisError::from)?),
    }
}

/// Some reads, and those who wait for them.
#[derive(Debug)]
pub(super) struct Round {
    /// Who waits in another runtime must not depend on this one.
    runtime: Id,
    /// Of each of them.
    pub(super) budget: Duration,
    pub(super) session: Arc<Session>,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) ask: Pipeline,
    seats: Vec<Seat>,
    clock: Option<u64>,
    /// Of the task, while it waits to set off.
    driver: Option<Waker>,
}

#[derive(Debug)]
enum Seat {
    Waiting(Option<Waker>),
    Answered(Result<Option<Vec<u8>>, TierError>),
    Empty,
}

impl Reads {
    /// Whether to go along, if so many others wait.
    pub(crate) fn are_many(&self, others: usize) -> bool {
        others >= CROWD && self.most() > 1
    }

    fn most(&self) -> usize {
        (MOST_BYTES / self.mean.load(Ordering::Relaxed).max(1)).min(MOST)
    }

    /// A seat in the next round, if there is one to go with.
    pub(crate) fn join(&self, key: &str, budget: Duration, runtime: &Handle) -> Option<Reading> {
        let seated = lock(&self.traffic).seat(key, budget, runtime)?;
        Some(seated.go())
    }

    /// The same in a new round over this connection, for which a task is to be spawned; or in one that another thread has begun
    /// meanwhile.
    pub(super) fn begin(
        &self,
        key: &str,
        session: Arc<Session>,
        budget: Duration,
        runtime: &Handle,
    ) -> Option<(Reading, Option<Arc<Round>>)> {
        let most = self.most();
        let ask = Pipeline::with_capacity(most);
        let state = State { ask, seats: Vec::with_capacity(most), clock: None, driver: None };
        let state = Mutex::new(state);
        let round = Arc::new(Round { runtime: runtime.id(), budget, session, most, state });
        let mut traffic = lock(&self.traffic);
        // Another thread may have been faster.
        if let Some(seated) = traffic.seat(key, budget, runtime) {
            drop(traffic);
            return Some((seated.go(), None));
        }
        let seated = round.seat(key)?;
        // One that was there takes in nobody any more, and need not wait for more.
        let before = traffic.open.replace(round.clone());
        let waiting = before.and_then(|before| before.state().driver.take());
        drop(traffic);
        if let Some(waker) = waiting {
            waker.wake();
        }
        Some((seated.go(), Some(round)))
    }

    /// Nobody takes a seat over the connection of until now.
    pub(crate) fn replaced(&self) {
        let round = lock(&self.traffic).open.take();
        let waiting = round.as_ref().and_then(|round| round.state().driver.take());
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Whether this one may set off. If so, nobody comes along any more; if not, its task is woken when it has to ask again.
    pub(super) fn set_off(&self, round: &Arc<Round>, waker: &Waker) -> bool {
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

    /// This one is over, whether it was under way or not.
    pub(super) fn end(&self, round: &Arc<Round>) {
        let mut traffic = lock(&self.traffic);
        traffic.close(round);
        traffic.under_way.retain(|other| !Arc::ptr_eq(other, round));
        let waiting = traffic.open.as_ref().and_then(|round| round.state().driver.take());
        drop(traffic);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Somebody who asked for himself got so many bytes. Where answers are so large that all do, this tells when they are not
    /// any more.
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
    /// Of the open round, before that can set off.
    fn seat(&self, key: &str, budget: Duration, runtime: &Handle) -> Option<Seated> {
        let open = self.open.as_ref()?;
        if open.runtime == runtime.id() && open.budget == budget { open.seat(key) } else { None }
    }

    /// How many this one waits for: what a connection of before, or a runtime that stands still, has left under way is nothing
    /// to it.
    fn before(&self, round: &Round) -> usize {
        let is_before = |other: &&Arc<Round>| {
            other.runtime == round.runtime && Arc::ptr_eq(&other.session, &round.session)
        };
        self.under_way.iter().filter(is_before).count()
    }

    fn is_open(&self, round: &Arc<Round>) -> bool {
        self.open.as_ref().is_some_and(|open| Arc::ptr_eq(open, round))
    }

    fn close(&mut self, round: &Arc<Round>) {
        if self.is_open(round) {
            self.open = None;
        }
    }
}

impl Round {
    fn seat(self: &Arc<Self>, key: &str) -> Option<Seated> {
        let mut state = self.state();
        if state.seats.len() >= self.most {
            return None;
        }
        state.ask.add_command(whole(key));
        state.seats.push(Seat::Waiting(None));
        let number = state.seats.len() - 1;
        let driver = if number + 1 == self.most { state.driver.take() } else { None };
        Some(Seated { reading: Reading { round: self.clone(), number, is_over: false }, driver })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Hands out the answers. Says how many waited for one.
    pub(super) fn answer(
        &self,
        clock: Option<u64>,
        mut answers: impl FnMut(usize) -> Result<Option<Vec<u8>>, TierError>,
    ) -> usize {
        let mut state = self.state();
        // Those who have been answered already may not have come for it yet.
        state.clock = state.clock.or(clock);
        let mut wakers = Vec::with_capacity(state.seats.len());
        for (number, seat) in state.seats.iter_mut().enumerate() {
            if let Seat::Waiting(waker) = seat {
                wakers.push(waker.take());
                *seat = Seat::Answered(answers(number));
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
    reading: Reading,
    /// Of the round, if it was the last one.
    driver: Option<Waker>,
}

impl Seated {
    /// To be called under no lock: a waker is the runtime's code.
    fn go(self) -> Reading {
        if let Some(waker) = self.driver {
            waker.wake();
        }
        self.reading
    }
}

/// A seat.
#[derive(Debug)]
pub(crate) struct Reading {
    round: Arc<Round>,
    number: usize,
    is_over: bool,
}

impl Future for Reading {
    type Output = Result<Got, TierError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.round.state();
        let seat = &mut state.seats[self.number];
        if let Seat::Waiting(waker) = seat {
            let is_known = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            let before = if is_known { None } else { waker.replace(cx.waker().clone()) };
            drop(state);
            // It may have been what kept another seat.
            drop(before);
            return Poll::Pending;
        }
        let Seat::Answered(bytes) = mem::replace(seat, Seat::Empty) else {
            return Poll::Ready(Err(TierError::Unavailable));
        };
        let clock = state.clock;
        drop(state);
        self.is_over = true;
        Poll::Ready(bytes.map(|bytes| Got { bytes, clock, line: self.round.session.line.clone() }))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.is_over {
            let left = mem::replace(&mut self.round.state().seats[self.number], Seat::Empty);
            // Outside of the lock: a waker is the runtime's code.
            drop(left);
        }
    }
}

/// Nothing that the connection could be blamed for.
impl From<TierError> for Failure {
    fn from(error: TierError) -> Self {
        Self { error, verdict: Verdict::Sound }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
