//! The task that sends the reads of one round and distributes the replies.
//!
//! A round opens in `reads`. Its task yields once and waits until `ReadBatcher::set_off` permits it to start; then
//! it sends all reads in one pipeline. The task is detached: dropping a caller leaves its seat empty and
//! affects no other.

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
        awaited::{WaitRecord, within},
        breaker::Waited,
    },
    node::{
        link::Link,
        reads::{PendingRead, ReadBatch, bytes},
        session::Session,
    },
    protocol::failure::{Failure, Verdict},
    tracking::push::PushRouter,
};

/// Takes a seat in a new round over this connection, or in one that another thread has just opened.
pub(super) fn begin(
    link: &Arc<Link>,
    watch: &Arc<PushRouter>,
    key: &str,
    session: Arc<Session>,
    budget: Duration,
    runtime: &Handle,
) -> Option<PendingRead> {
    let (reading, new) = link.reads.begin(key, session, budget, runtime)?;
    if let Some(round) = new {
        let ride = BatchTask { round, link: link.clone(), watch: watch.clone() };
        runtime.spawn(ride.run());
        // Tokio keeps the last task that a thread has spawned in a slot of its own, where no other thread
        // takes it. The empty task displaces this one: if the thread blocks now, reads of other threads must
        // not wait for it.
        runtime.spawn(async {});
    }
    Some(reading)
}

/// The task that sends a round.
struct BatchTask {
    round: Arc<ReadBatch>,
    link: Arc<Link>,
    watch: Arc<PushRouter>,
}

impl BatchTask {
    async fn run(self) {
        // Not the time of creation: a stalled runtime may start this late, and the round admits more reads
        // until then.
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
            // Go to the end of the run queue, from which any idle thread may take the task.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let ask = mem::replace(&mut self.round.state().ask, Pipeline::with_capacity(0));
        self.ask(ask).await
    }

    /// Sends the reads and returns the replies, each of which may be a refusal.
    async fn ask(&self, ask: Pipeline) -> Result<Vec<Value>, Failure> {
        let mut connection = self.round.session.connection.clone();
        let count = ask.len();
        self.link.reads.rounds.fetch_add(1, Ordering::Relaxed);
        self.link.reads.seats.fetch_add(count as u64, Ordering::Relaxed);
        let answers = connection.send_packed_commands(&ask, 0, count).await?;
        if answers.len() != count {
            // The replies match no requests: the connection is out of step.
            return Err(Failure { error: TierError::Unavailable, verdict: Verdict::Broken });
        }
        Ok(answers)
    }

    fn settle(&self, answers: Result<Vec<Value>, Failure>, vigil: &WaitRecord) {
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
        // Each read of the round counts as one wait.
        for _ in 0..waited {
            has_opened |= link.waited(&wait);
        }
        if has_opened || is_late && link.is_unchecked(vigil.began(), now) {
            watch.pulse.notify_one();
        }
    }
}

/// Ends the round even if its runtime ends or the task panics: no read waits forever.
impl Drop for BatchTask {
    fn drop(&mut self) {
        self.link.reads.end(&self.round);
        self.round.answer(None, |_| Err(TierError::Unavailable));
    }
}
