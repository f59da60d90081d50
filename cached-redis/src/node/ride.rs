//! The task that asks for the reads of a round.

use std::{
    future::poll_fn,
    mem,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use cached_core::TierError;
use redis::{Pipeline, Value};
use tokio::runtime::Handle;

use crate::{
    availability::{
        awaited::{Vigil, within},
        breaker::Waited,
    },
    node::{
        link::Link,
        reads::{Reading, Round, bytes},
        session::Session,
    },
    protocol::failure::{Failure, Verdict},
    tracking::push::Watch,
};

/// A seat in a new round over this connection.
pub(super) fn begin(
    link: &Arc<Link>,
    watch: &Arc<Watch>,
    key: &str,
    session: Arc<Session>,
    budget: Duration,
    runtime: &Handle,
) -> Option<Reading> {
    let (reading, new) = link.reads.begin(key, session, budget, runtime)?;
    if let Some(round) = new {
        let ride = Ride { round, link: link.clone(), watch: watch.clone() };
        runtime.spawn(ride.run());
        // The task that a thread has spawned last is its own, and no other thread takes it. If this one is blocked from now on,
        // reads of other threads in the same round must not wait for it.
        runtime.spawn(async {});
    }
    Some(reading)
}

/// The task that asks.
struct Ride {
    round: Arc<Round>,
    link: Arc<Link>,
    watch: Arc<Watch>,
}

impl Ride {
    async fn run(self) {
        // Not when it was made: a runtime may stand still before it runs this, and then take in others.
        let began = Instant::now();
        let (answers, vigil) = within(self.go(), began, self.round.budget).await;
        self.settle(answers.unwrap_or_else(|| Err(TierError::Timeout.into())), &vigil);
    }

    async fn go(&self) -> Result<Vec<Value>, Failure> {
        let (round, reads) = (&self.round, &self.link.reads);
        let mut has_waited = false;
        poll_fn(|cx| {
            if mem::replace(&mut has_waited, true) {
                return if reads.set_off(round, cx.waker()) { Poll::Ready(()) } else { Poll::Pending };
            }
            // To the end of the queue, from where any thread that has nothing else to do may take it.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let ask = mem::replace(&mut self.round.state().ask, Pipeline::with_capacity(0));
        self.ask(ask).await
    }

    /// The answers, of which each may be a refusal.
    async fn ask(&self, ask: Pipeline) -> Result<Vec<Value>, Failure> {
        let mut connection = self.round.session.connection.clone();
        let count = ask.len();
        self.link.reads.rounds.fetch_add(1, Ordering::Relaxed);
        self.link.reads.seats.fetch_add(count as u64, Ordering::Relaxed);
        let answers = connection.send_packed_commands(&ask, 0, count).await?;
        if answers.len() != count {
            // It fits no question: the connection is out of step.
            return Err(Failure { error: TierError::Unavailable, verdict: Verdict::Broken });
        }
        Ok(answers)
    }

    fn settle(&self, answers: Result<Vec<Value>, Failure>, vigil: &Vigil) {
        let Self { round, link, watch } = self;
        link.reads.end(round);
        let now = Instant::now();
        let (is_answered, is_late) = match &answers {
            Ok(_) => (true, false),
            Err(failure) => (false, failure.error == TierError::Timeout),
        };
        let waited = match answers {
            Ok(answers) => {
                link.condition.answered_at(now);
                let mut answers: Vec<_> = answers.into_iter().map(bytes).map(Some).collect();
                let sizes = answers.iter().flatten().flatten().flatten().map(Vec::len);
                link.reads.learn(sizes.sum(), answers.len());
                round.answer(round.session.clock.at(now), |number| {
                    let answer = answers.get_mut(number).and_then(Option::take);
                    answer.unwrap_or(Err(TierError::Unavailable.into())).map_err(|failure| {
                        link.report(&round.session, failure.verdict);
                        failure.error
                    })
                })
            }
            Err(failure) => {
                link.report(&round.session, failure.verdict);
                round.answer(None, |_| Err(failure.error.clone()))
            }
        };
        let mut has_opened = false;
        let wait = Waited::new(is_answered, vigil, now);
        // Each has waited for it.
        for _ in 0..waited {
            has_opened |= link.waited(&wait);
        }
        if has_opened || is_late && link.is_unchecked(vigil.began(), now) {
            watch.pulse.notify_one();
        }
    }
}

/// Also if its runtime ends, or something panics: no read waits in vain.
impl Drop for Ride {
    fn drop(&mut self) {
        self.link.reads.end(&self.round);
        self.round.answer(None, |_| Err(TierError::Unavailable));
    }
}
