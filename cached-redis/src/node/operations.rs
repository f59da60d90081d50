//! Reads and writes over the connection of a node.
//!
//! Each read is admitted first, and its outcome goes to the breaker. A write passes an open breaker, and has
//! no part in it. Failures and refusals are reported with the session that they concern.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use cached_core::{TierCause, TierError};
use tokio::runtime::Handle;

use crate::{
    availability::{
        breaker::Waited,
        gate::Permit,
        wait::{WaitRecord, within},
    },
    connect::cause,
    node::{
        Answers, Node,
        reads::{Got, PendingRead},
        round,
        session::Session,
    },
    protocol::{
        batch::Batch,
        commands::value_command,
        failure::{Failure, Verdict},
    },
};

impl Node {
    /// Sends a batch within its budget, and returns the replies and the time of their arrival.
    ///
    /// Records in `wait` how the process has waited.
    async fn run(&self, batch: &Batch, wait: &mut WaitRecord) -> Result<(Answers, Instant), TierError> {
        let session = self.session(wait).await?;
        let mut connection = session.connection.clone();
        let request = pin!(batch.send(&mut connection));
        let outcome;
        (outcome, *wait) = within(request, wait.began(), wait.budget()).await;
        let mut replies = outcome.ok_or(TierError::Timeout)?.map_err(|error| {
            let Failure { error, verdict } = error.into();
            self.link.report(&session, verdict);
            error
        })?;
        let now = Instant::now();
        self.condition().record_reply_at(now);
        for refusal in replies.refusals() {
            self.record_refusal(&session, cause::of_refusal(refusal), Verdict::of(refusal));
        }
        replies.set_clock(session.clock.latest_at(now));
        Ok((Answers { replies, feed: session.feed.clone() }, now))
    }

    /// Admits a read, unless it would wait in vain.
    pub(super) fn admit(&self) -> Result<Permit<'_>, TierError> {
        if self.link.gate.is_open() {
            // Only the background task can find out that the breaker may close.
            self.ensure_running()?;
        }
        self.link.admit()
    }

    /// Runs a batch that a caller waits for before it has a value, unless it would wait in vain.
    pub(crate) async fn read(&self, batch: &Batch, budget: Duration) -> Result<Answers, TierError> {
        let permit = self.admit()?;
        self.read_admitted(batch, budget, permit).await
    }

    pub(super) async fn read_admitted(
        &self,
        batch: &Batch,
        budget: Duration,
        _permit: Permit<'_>,
    ) -> Result<Answers, TierError> {
        let mut wait = WaitRecord::new(Instant::now(), budget);
        let (outcome, ended) = match self.run(batch, &mut wait).await {
            Ok((answers, now)) => (Ok(answers), now),
            Err(error) => (Err(error), Instant::now()),
        };
        self.record_wait(&outcome, &wait, ended);
        outcome
    }

    /// Reports a refusal by the server.
    fn record_refusal(&self, session: &Session, cause: TierCause, verdict: Verdict) {
        if cause == TierCause::IsCluster && self.router.cluster.is_none() {
            self.link.record_moved(session);
        }
        self.link.record_refusal(session, cause, verdict);
    }

    /// Records that a read has ended.
    fn record_wait<T>(&self, outcome: &Result<T, TierError>, wait: &WaitRecord, ended: Instant) {
        if self.settings.has_substitute && self.link.current_session().is_none() {
            // The read has waited for a connection, not for a reply.
            return;
        }
        let is_answered = matches!(outcome, Ok(_) | Err(TierError::Refused(_)));
        let has_opened = self.link.record_wait(&Waited::new(is_answered, wait, ended));
        // A connection that has become silent is checked at once, and not when its next heartbeat is due.
        let is_late = matches!(outcome, Err(TierError::Timeout));
        if has_opened || is_late && self.link.is_unchecked(wait.began(), ended) {
            self.router.heartbeat_due.notify_one();
        }
    }

    /// Reads one key like [`read`](Self::read), together with other reads if there are many.
    pub(crate) async fn get(&self, key: &str, budget: Duration) -> Result<Got, TierError> {
        let permit = self.admit()?;
        if self.link.reads.joins_round(permit.others)
            && let Some(reading) = self.join(key, budget)
        {
            return reading.await;
        }
        // Boxed, so that the future of a read in a round is small: there are many of those.
        Box::pin(self.get_alone(key, budget, permit)).await
    }

    async fn get_alone(&self, key: &str, budget: Duration, _permit: Permit<'_>) -> Result<Got, TierError> {
        let mut wait = WaitRecord::new(Instant::now(), budget);
        let (outcome, ended) = match self.get_single(key, &mut wait).await {
            Ok((got, now)) => (Ok(got), now),
            Err(error) => (Err(error), Instant::now()),
        };
        self.record_wait(&outcome, &wait, ended);
        outcome
    }

    /// Joins a round.
    fn join(&self, key: &str, budget: Duration) -> Option<PendingRead> {
        let runtime = Handle::try_current().ok()?;
        self.link.reads.join(key, budget, &runtime).or_else(|| {
            let session = self.usable_session(Instant::now())?;
            round::open_round(&self.link, &self.router, key, session, budget, &runtime)
        })
    }

    async fn get_single(&self, key: &str, wait: &mut WaitRecord) -> Result<(Got, Instant), TierError> {
        let session = self.session(wait).await?;
        let mut connection = session.connection.clone();
        let command = value_command(key);
        // Pinned here, and so there is one copy of this large future in that of the caller.
        let request = pin!(connection.send_packed_command(&command));
        let reply;
        (reply, *wait) = within(request, wait.began(), wait.budget()).await;
        let reply = reply.ok_or(TierError::Timeout)?;
        let now = Instant::now();
        let got = reply.map_err(Failure::from).and_then(|reply| {
            self.condition().record_reply_at(now);
            Got::from_reply(reply, &session, now)
        });
        if let Ok(Got { bytes: Some(bytes), .. }) = &got {
            self.link.reads.record_reply_size(bytes.len());
        }
        let got = got.map_err(|Failure { error, verdict }| {
            match &error {
                TierError::Refused(code) => self.record_refusal(&session, cause::of_code(code), verdict),
                _ => self.link.report(&session, verdict),
            }
            error
        })?;
        Ok((got, now))
    }

    /// Runs a batch that writes.
    pub(crate) async fn write(&self, batch: &Batch, budget: Duration) -> Result<Answers, TierError> {
        let _permit = self.link.gate.admit_write()?;
        self.run(batch, &mut WaitRecord::new(Instant::now(), budget)).await.map(|(answers, _)| answers)
    }
}
