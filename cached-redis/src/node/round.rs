//! The task that sends the reads of one round and distributes the replies.
//!
//! A round opens in `reads`. Its task yields once and waits until `ReadBatcher::try_start` permits it to start;
//! then it sends all reads in one pipeline. The task is detached: dropping a caller leaves its slot empty and
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
        breaker::Waited,
        wait::{WaitRecord, within},
    },
    node::{
        link::Link,
        reads::{PendingRead, ReadBatch, parse_bytes},
        session::Session,
    },
    protocol::failure::{Failure, Verdict},
    tracking::push::PushRouter,
};

/// Joins a new round over this connection, or one that another thread has just opened.
pub(super) fn open_round(
    link: &Arc<Link>,
    router: &Arc<PushRouter>,
    key: &str,
    session: Arc<Session>,
    budget: Duration,
    runtime: &Handle,
) -> Option<PendingRead> {
    let (read, new) = link.reads.open_round(key, session, budget, runtime)?;
    if let Some(round) = new {
        let task = BatchTask { round, link: link.clone(), router: router.clone() };
        runtime.spawn(task.run());
        // Tokio keeps the last task that a thread has spawned in a slot of its own, where no other thread
        // takes it. The empty task displaces this one: if the thread blocks now, reads of other threads must
        // not wait for it.
        runtime.spawn(async {});
    }
    Some(read)
}

/// The task that sends a round.
struct BatchTask {
    round: Arc<ReadBatch>,
    link: Arc<Link>,
    router: Arc<PushRouter>,
}

impl BatchTask {
    async fn run(self) {
        // Not the time of creation: a stalled runtime may start this late, and the round admits more reads
        // until then.
        let began = Instant::now();
        let (replies, wait) = within(self.start_and_send(), began, self.round.budget).await;
        self.finish(replies.unwrap_or_else(|| Err(TierError::Timeout.into())), &wait);
    }

    async fn start_and_send(&self) -> Result<Vec<Value>, Failure> {
        let (round, reads) = (&self.round, &self.link.reads);
        let mut has_waited = false;
        poll_fn(|cx| {
            if mem::replace(&mut has_waited, true) {
                return if reads.try_start(round, cx.waker()) { Poll::Ready(()) } else { Poll::Pending };
            }
            // Go to the end of the run queue, from which any idle thread may take the task.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let pipeline = mem::replace(&mut self.round.state().pipeline, Pipeline::with_capacity(0));
        self.send(pipeline).await
    }

    /// Sends the reads and returns the replies, each of which may be a refusal.
    async fn send(&self, pipeline: Pipeline) -> Result<Vec<Value>, Failure> {
        let mut connection = self.round.session.connection.clone();
        let count = pipeline.len();
        self.link.reads.rounds.fetch_add(1, Ordering::Relaxed);
        self.link.reads.reads_in_rounds.fetch_add(count as u64, Ordering::Relaxed);
        let replies = connection.send_packed_commands(&pipeline, 0, count).await?;
        if replies.len() != count {
            // The replies match no requests: the connection is out of step.
            return Err(Failure { error: TierError::Unavailable, verdict: Verdict::Broken });
        }
        Ok(replies)
    }

    fn finish(&self, replies: Result<Vec<Value>, Failure>, wait: &WaitRecord) {
        let Self { round, link, router } = self;
        link.reads.remove(round);
        let now = Instant::now();
        let (is_answered, is_late) = match &replies {
            Ok(_) => (true, false),
            Err(failure) => (false, failure.error == TierError::Timeout),
        };
        let waiting_reads = match replies {
            Ok(replies) => {
                link.condition.record_reply_at(now);
                let mut results: Vec<_> = replies.into_iter().map(parse_bytes).map(Some).collect();
                let sizes = results.iter().flatten().flatten().flatten().map(Vec::len);
                link.reads.update_mean(sizes.sum(), results.len());
                round.distribute(round.session.clock.latest_at(now), |number| {
                    let reply = results.get_mut(number).and_then(Option::take);
                    reply.unwrap_or(Err(TierError::Unavailable.into())).map_err(|failure| {
                        link.report(&round.session, failure.verdict);
                        failure.error
                    })
                })
            }
            Err(failure) => {
                link.report(&round.session, failure.verdict);
                round.distribute(None, |_| Err(failure.error.clone()))
            }
        };
        let mut has_opened = false;
        let waited = Waited::new(is_answered, wait, now);
        // Each read of the round counts as one wait.
        for _ in 0..waiting_reads {
            has_opened |= link.record_wait(&waited);
        }
        if has_opened || is_late && link.is_unchecked(wait.began(), now) {
            router.heartbeat_due.notify_one();
        }
    }
}

/// Ends the round even if its runtime ends or the task panics: no read waits forever.
impl Drop for BatchTask {
    fn drop(&mut self) {
        self.link.reads.remove(&self.round);
        self.round.distribute(None, |_| Err(TierError::Unavailable));
    }
}
