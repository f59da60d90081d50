//! One server: its connection, and the operations over it.
//!
//! A read passes the gate (breaker and limit), takes the current session, and sends its batch within its
//! budget. If there is no usable session, it waits for one within the rest of that budget. The outcome goes
//! to the breaker, and failures of the connection or the server to the supervisor.
//!
//! * `supervisor` connects (`establish`) and publishes each `session` in the [`Link`].
//! * `heartbeat` checks the connection, advances the watermark of its change feed, and registers this
//!   process.
//! * `reads` and `round` send the reads of many callers in one round trip.
//! * `transfers` accounts for large values. They have a connection of their own, which is a second [`Node`].

pub(crate) mod establish;
mod health;
pub(crate) mod heartbeat;
pub(crate) mod link;
pub(crate) mod reads;
mod round;
pub(crate) mod session;
pub(crate) mod supervisor;
pub(crate) mod transfers;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::Poll,
    time::{Duration, Instant},
};

use cached_core::{Attachment, ChangeFeed, TierCause, TierError, planted};
use tokio::{
    runtime::Handle,
    time::{timeout, timeout_at},
};

use crate::{
    availability::{
        breaker::{Breaker, Waited},
        gate::{AdmissionGate, Permit},
        status::{Condition, RedisState},
        wait::{WaitRecord, within},
    },
    connect::{cause, settings::Settings},
    node::{
        heartbeat::Member,
        link::Link,
        reads::{Got, PendingRead},
        session::Session,
        supervisor::Supervision,
        transfers::{MAX_EXTENSION, OperationBudget, Transfer},
    },
    protocol::{
        batch::{Batch, Replies},
        commands::value_command,
        failure::{Failure, Verdict},
    },
    tracking::push::PushRouter,
};

/// One server, with its connection and its background task.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) settings: Arc<Settings>,
    pub(crate) router: Arc<PushRouter>,
    pub(crate) member: Arc<Member>,
    pub(crate) link: Arc<Link>,
    supervision: Supervision,
    /// Node for large values, created for the first of them. It has its own breaker and gets no pushes.
    pub(crate) large: OnceLock<Box<Self>>,
}

/// Replies to a batch.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) replies: Replies,
    /// Change feed of the connection that was used.
    pub(crate) feed: Arc<ChangeFeed>,
}

impl Node {
    pub(crate) fn new(settings: Arc<Settings>, member: Member, router: PushRouter) -> Self {
        let Settings { read_timeout, retry_min, retry_max, max_in_flight, .. } = *settings;
        let breaker = Breaker::new(read_timeout, retry_min, retry_max, Instant::now());
        let link = Arc::new(Link::new(AdmissionGate::new(breaker, max_in_flight)));
        let (router, member) = (Arc::new(router), Arc::new(member));
        let supervision =
            Supervision::new(settings.clone(), link.clone(), Arc::clone(&router), member.clone());
        Self { settings, router, member, link, supervision, large: OnceLock::new() }
    }

    /// Returns the node for large values, or the main one while the former has no connection.
    fn large_node(&self) -> Result<&Self, TierError> {
        let large = self.large.get_or_init(|| {
            let settings = Arc::new(large_settings(&self.settings));
            Box::new(Self::new(settings, Member::new(String::new()), PushRouter::without_pushes()))
        });
        // Checked after the creation. `close` sets the flag before it looks for this node, so one of the two
        // sees the other.
        if self.supervision.is_closed() {
            return Err(TierError::Unavailable);
        }
        if !large.link.is_down() {
            return Ok(large);
        }
        // The server may accept no more connections. A later attempt may succeed.
        large.ensure_running()?;
        Ok(self)
    }

    /// Replaces the connection for large values, if there is one: it may lead to another server.
    pub(crate) fn replace_large_connection(&self) {
        if let Some(large) = self.large.get() {
            large.link.replace_connection();
        }
    }

    pub(crate) fn gate(&self) -> &AdmissionGate {
        &self.link.gate
    }

    pub(crate) fn condition(&self) -> &Condition {
        &self.link.condition
    }

    /// Attaches the cache.
    pub(crate) fn attach(&self, attachment: Attachment) {
        if self.router.attach(attachment) {
            // An existing connection was made without registering this process.
            self.link.replace_connection();
        }
    }

    /// Returns whether the server is worth asking.
    pub(crate) fn ready(&self) -> bool {
        let is_useful = !self.link.gate.is_open() && !self.condition().runs_no_scripts();
        let is_worth_asking = !self.link.is_down() && is_useful;
        // If the task has ended with its runtime, only an operation can restart it.
        !self.supervision.is_closed() && (is_worth_asking || !self.supervision.is_running())
    }

    /// Starts the background task on the current runtime, unless it runs.
    pub(crate) fn ensure_running(&self) -> Result<(), TierError> {
        self.supervision.ensure_running()
    }

    /// Returns the current connection, if it is reliable.
    fn usable_session(&self, began: Instant) -> Option<Arc<Session>> {
        if self.link.note_use() {
            self.router.heartbeat_due.notify_one();
        }
        // A supervisor that ends removes the connection, and one on a stalled runtime gives no signs of life.
        // During a pause without requests, the registration of this process may have expired.
        let is_driven = self.link.time_since_liveness_at(began) < self.settings.liveness_timeout();
        self.link.current_session().filter(|_| is_driven && self.link.is_usable_at(began))
    }

    /// Returns the current connection, or the next one if it comes within the budget.
    async fn session(&self, wait: &mut WaitRecord) -> Result<Arc<Session>, TierError> {
        match self.usable_session(wait.began()) {
            Some(session) => {
                Handle::try_current().map_err(|_| TierError::Unavailable)?;
                Ok(session)
            }
            None => Box::pin(self.next_session(wait)).await,
        }
    }

    /// Waits for the next connection.
    async fn next_session(&self, wait: &mut WaitRecord) -> Result<Arc<Session>, TierError> {
        // A process that asks at once, or only once, must get existing values, however far away the server
        // is. So the first connection may take its full time, and the operation gets the rest of it.
        let is_first = self.condition().is_untried();
        self.ensure_running()?;
        if is_first {
            let first = self.settings.connect_timeout;
            // The attempt times out by itself; waiting longer than that makes its outcome known.
            let time_limit = wait.budget().max(first.saturating_mul(2));
            let _ = timeout(time_limit, self.link.session()).await;
            wait.restart_after_first_connection(first);
        }
        let request_heartbeat = || self.router.heartbeat_due.notify_one();
        let session = timeout_at(wait.deadline().into(), self.link.usable_session(request_heartbeat)).await;
        let session = session.ok().flatten().ok_or(TierError::Unavailable)?;
        if !is_first && !self.settings.has_substitute {
            wait.restart_after_pause();
        }
        Ok(session)
    }

    /// Connects, and waits for the outcome of the first attempt.
    pub(crate) async fn connected(&self) -> Result<(), TierCause> {
        self.ensure_running().map_err(|_| TierCause::NoRuntime)?;
        // Longer than the attempt itself may take.
        let time_limit = self.settings.connect_timeout.saturating_mul(2);
        let _ = timeout(time_limit, self.link.session()).await;
        match self.condition().state() {
            RedisState::Up | RedisState::Degraded => Ok(()),
            RedisState::Untried => Err(TierCause::Timeout),
            RedisState::Down => Err(self.condition().facts().cause().unwrap_or(TierCause::Lost)),
        }
    }

    /// Sends a batch within its budget, and returns the replies and the time of their arrival.
    ///
    /// Records in `wait` how the process has waited.
    async fn run(&self, batch: &Batch, wait: &mut WaitRecord) -> Result<(Answers, Instant), TierError> {
        let session = self.session(wait).await?;
        let mut connection = session.connection.clone();
        let outcome;
        (outcome, *wait) = within(batch.send(&mut connection), wait.began(), wait.budget()).await;
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
    fn admit(&self) -> Result<Permit<'_>, TierError> {
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

    async fn read_admitted(
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

    /// Runs a [`read`](Self::read) of large values, `bytes` in total, over the connection for those.
    pub(crate) async fn read_large(
        &self,
        batch: &Batch,
        bytes: usize,
        operation_budget: OperationBudget,
    ) -> Result<Answers, TierError> {
        let node = self.large_node()?;
        let permit = node.admit()?;
        node.in_order(bytes, operation_budget, |budget| node.read_admitted(batch, budget, permit)).await
    }

    /// Runs a [`write`](Self::write) of large values, `bytes` in total, over the connection for those.
    pub(crate) async fn write_large(
        &self,
        batch: &Batch,
        bytes: usize,
        operation_budget: OperationBudget,
    ) -> Result<Answers, TierError> {
        let node = self.large_node()?;
        node.in_order(bytes, operation_budget, |budget| node.write(batch, budget)).await
    }

    /// Runs a transfer of `bytes` in turn.
    ///
    /// If there is a connection, transfers are sent in the order in which they are counted, since one that
    /// overtakes another would use up the other's time.
    async fn in_order<F: Future<Output = Result<Answers, TierError>>>(
        &self,
        bytes: usize,
        operation_budget: OperationBudget,
        run: impl FnOnce(Duration) -> F,
    ) -> Result<Answers, TierError> {
        let (mut run, mut running) = (Some(run), None::<(Transfer<'_>, Pin<Box<F>>)>);
        // An abandoned transfer still arrives. Without a connection it was never requested, or is lost.
        let is_in_flight = |polled: &Poll<_>| {
            let may_come = matches!(polled, Poll::Pending | Poll::Ready(Err(TierError::Timeout)));
            may_come && self.link.current_session().is_some()
        };
        poll_fn(|cx| {
            if let Some((transfer, running)) = &mut running {
                let polled = running.as_mut().poll(cx);
                transfer.is_in_flight = is_in_flight(&polled);
                return polled;
            }
            let Some(run) = run.take() else { return Poll::Ready(Err(TierError::Unavailable)) };
            // Not without a connection: an attempt at one may notify observers, which is done under no lock.
            let order = self.link.current_session().map(|_| self.link.transfers.lock_order());
            let transfer = self.link.transfers.begin(bytes);
            let Some(budget) = operation_budget.remaining_with(transfer.estimated_time()) else {
                return Poll::Ready(Err(TierError::Timeout));
            };
            let (transfer, running) = running.insert((transfer, Box::pin(run(budget))));
            // The first poll hands the command to the connection.
            let polled = running.as_mut().poll(cx);
            drop(order);
            transfer.is_in_flight = is_in_flight(&polled);
            polled
        })
        .await
    }

    /// Reads one key like [`read`](Self::read), together with other reads if there are many.
    pub(crate) async fn get(&self, key: &str, budget: Duration) -> Result<Got, TierError> {
        let permit = self.admit()?;
        if self.link.reads.joins_round(permit.others)
            && let Some(reading) = self.join(key, budget)
        {
            return reading.await;
        }
        let mut wait = WaitRecord::new(Instant::now(), budget);
        let (outcome, ended) = match Box::pin(self.get_single(key, &mut wait)).await {
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
        let reply;
        (reply, *wait) = within(connection.send_packed_command(&command), wait.began(), wait.budget()).await;
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

    /// Ends the connection for good, and deregisters this process so that no other waits for it.
    pub(crate) async fn close(&self) {
        let deregistration = self.deregister();
        // Everything starts before the first await, since the caller may give up while it waits.
        let ending = self.supervision.close();
        // Only after the flag is set: a node for large values that is created later sees it.
        let ending_large = self.large.get().map(|large| {
            let ending = large.supervision.close();
            large.link.close();
            ending
        });
        self.link.close();
        // Before the deregistration, since the background task registers this process.
        ending.await;
        if let Some(ending) = ending_large {
            ending.await;
        }
        if let Some(deregistration) = deregistration {
            deregistration.await;
        }
    }

    /// Returns a future that deregisters this process, which serves no entries any more.
    fn deregister(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        if planted!("member-stays") {
            return None;
        }
        let session = self.link.current_session()?;
        let command = self.member.deregister()?;
        let limit = self.settings.connect_timeout;
        Some(async move {
            let mut connection = session.connection.clone();
            let _ = timeout(limit, connection.send_packed_command(&command)).await;
        })
    }

    /// Replaces the connection of this change feed, if it is current: its replies match no requests.
    pub(crate) fn report_broken(&self, feed: &ChangeFeed) {
        self.link.report_broken(feed);
        if let Some(large) = self.large.get() {
            large.link.report_broken(feed);
        }
    }
}

/// Deregisters a process that ends in an orderly way.
///
/// Otherwise the others would wait until its right to serve expires.
impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(runtime) = Handle::try_current()
            && let Some(deregistration) = self.deregister()
        {
            runtime.spawn(deregistration);
        }
    }
}

/// Returns the settings of the connection for large values.
fn large_settings(main: &Settings) -> Settings {
    Settings {
        // A check may have to wait for earlier transfers.
        check_timeout: main.check_timeout.saturating_add(2 * MAX_EXTENSION),
        has_substitute: true,
        ..main.clone()
    }
}
