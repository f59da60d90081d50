//! One server: its connection, and the operations over it.
//!
//! A read passes the gate (breaker and limit), takes the current session, and sends its batch within its
//! budget. If there is no usable session, it waits for one within the rest of that budget. The outcome goes
//! to the breaker, and failures of the connection or the server to the supervisor.
//!
//! * `supervisor` connects (`establish`) and publishes each `session` in the [`Link`].
//! * `heartbeat` checks the connection, advances the watermark of its change feed, and registers this
//!   process.
//! * `reads` and `ride` send the reads of many callers in one round trip.
//! * `transfers` accounts for large values. They have a connection of their own, which is a second [`Node`].

pub(crate) mod establish;
mod health;
pub(crate) mod heartbeat;
pub(crate) mod link;
pub(crate) mod reads;
mod ride;
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
        awaited::{WaitRecord, within},
        breaker::{Breaker, Waited},
        gate::{AdmissionGate, Permit},
        status::{Condition, RedisState},
    },
    connect::{cause, settings::Settings},
    node::{
        heartbeat::Member,
        link::Link,
        reads::{Got, PendingRead},
        session::Session,
        supervisor::Supervision,
        transfers::{LONGEST_TRANSFER, OperationBudget, Transfer},
    },
    protocol::{
        batch::{Batch, Replies},
        commands::whole,
        failure::{Failure, Verdict},
    },
    tracking::push::PushRouter,
};

/// One server, with its connection and its background task.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) settings: Arc<Settings>,
    pub(crate) watch: Arc<PushRouter>,
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
    pub(crate) line: Arc<ChangeFeed>,
}

impl Node {
    pub(crate) fn new(settings: Arc<Settings>, member: Member, watch: PushRouter) -> Self {
        let Settings { read_timeout, retry_min, retry_max, max_in_flight, .. } = *settings;
        let breaker = Breaker::new(read_timeout, retry_min, retry_max, Instant::now());
        let link = Arc::new(Link::new(AdmissionGate::new(breaker, max_in_flight)));
        let (watch, member) = (Arc::new(watch), Arc::new(member));
        let supervision =
            Supervision::new(settings.clone(), link.clone(), Arc::clone(&watch), member.clone());
        Self { settings, watch, member, link, supervision, large: OnceLock::new() }
    }

    /// Returns the node for large values, or the main one while the former has no connection.
    fn large(&self) -> Result<&Self, TierError> {
        let large = self.large.get_or_init(|| {
            let settings = Arc::new(large_settings(&self.settings));
            Box::new(Self::new(settings, Member::new(String::new()), PushRouter::mute()))
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
        large.ensure()?;
        Ok(self)
    }

    /// Replaces the connection for large values, if there is one: it may lead to another server.
    pub(crate) fn renew_large(&self) {
        if let Some(large) = self.large.get() {
            large.link.abandon();
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
        if self.watch.attach(attachment) {
            // An existing connection was made without registering this process.
            self.link.abandon();
        }
    }

    /// Returns whether the server is worth asking.
    pub(crate) fn ready(&self) -> bool {
        let is_of_use = !self.link.gate.is_open() && !self.condition().runs_no_scripts();
        let is_worth_asking = !self.link.is_down() && is_of_use;
        // If the task has ended with its runtime, only an operation can restart it.
        !self.supervision.is_closed() && (is_worth_asking || !self.supervision.is_running())
    }

    /// Starts the background task on the current runtime, unless it runs.
    pub(crate) fn ensure(&self) -> Result<(), TierError> {
        self.supervision.ensure()
    }

    /// Returns the current connection, if it is reliable.
    fn current(&self, began: Instant) -> Option<Arc<Session>> {
        if self.link.note_use() {
            self.watch.pulse.notify_one();
        }
        // A supervisor that ends removes the connection, and one on a stalled runtime gives no signs of life.
        // During a pause without requests, the registration of this process may have expired.
        let is_driven = self.link.silence_at(began) < self.settings.sign_of_life();
        self.link.current().filter(|_| is_driven && self.link.is_tended(began))
    }

    /// Returns the current connection, or the next one if it comes within the budget.
    async fn session(&self, vigil: &mut WaitRecord) -> Result<Arc<Session>, TierError> {
        match self.current(vigil.began()) {
            Some(session) => {
                Handle::try_current().map_err(|_| TierError::Unavailable)?;
                Ok(session)
            }
            None => Box::pin(self.next_session(vigil)).await,
        }
    }

    /// Waits for the next connection.
    async fn next_session(&self, vigil: &mut WaitRecord) -> Result<Arc<Session>, TierError> {
        // A process that asks at once, or only once, must get existing values, however far away the server
        // is. So the first connection may take its full time, and the operation gets the rest of it.
        let is_first = self.condition().is_untried();
        self.ensure()?;
        if is_first {
            let first = self.settings.connect_timeout;
            // The attempt times out by itself; waiting longer than that makes its outcome known.
            let patience = vigil.budget().max(first.saturating_mul(2));
            let _ = timeout(patience, self.link.session()).await;
            vigil.begin_after_the_first_connection(first);
        }
        let ask = || self.watch.pulse.notify_one();
        let session = timeout_at(vigil.deadline().into(), self.link.tended_session(ask)).await;
        let session = session.ok().flatten().ok_or(TierError::Unavailable)?;
        if !is_first && !self.settings.has_substitute {
            vigil.begin_after_a_pause();
        }
        Ok(session)
    }

    /// Connects, and waits for the outcome of the first attempt.
    pub(crate) async fn connected(&self) -> Result<(), TierCause> {
        self.ensure().map_err(|_| TierCause::NoRuntime)?;
        // Longer than the attempt itself may take.
        let patience = self.settings.connect_timeout.saturating_mul(2);
        let _ = timeout(patience, self.link.session()).await;
        match self.condition().state() {
            RedisState::Up | RedisState::Degraded => Ok(()),
            RedisState::Untried => Err(TierCause::Timeout),
            RedisState::Down => Err(self.condition().facts().cause().unwrap_or(TierCause::Lost)),
        }
    }

    /// Sends a batch within its budget, and returns the replies and the time of their arrival.
    ///
    /// Records in `vigil` how the process has waited.
    async fn run(&self, batch: &Batch, vigil: &mut WaitRecord) -> Result<(Answers, Instant), TierError> {
        let session = self.session(vigil).await?;
        let mut connection = session.connection.clone();
        let answers;
        (answers, *vigil) = within(batch.send(&mut connection), vigil.began(), vigil.budget()).await;
        let mut replies = answers.ok_or(TierError::Timeout)?.map_err(|error| {
            let Failure { error, verdict } = error.into();
            self.link.report(&session, verdict);
            error
        })?;
        let now = Instant::now();
        self.condition().answered_at(now);
        for refusal in replies.refusals() {
            self.refused(&session, cause::of_refusal(refusal), Verdict::of(refusal));
        }
        replies.came_at(session.clock.at(now));
        Ok((Answers { replies, line: session.line.clone() }, now))
    }

    /// Admits a read, unless it would wait in vain.
    fn admit(&self) -> Result<Permit<'_>, TierError> {
        if self.link.gate.is_open() {
            // Only the background task can find out that the breaker may close.
            self.ensure()?;
        }
        self.link.admit()
    }

    /// Runs a batch that a caller waits for before it has a value, unless it would wait in vain.
    pub(crate) async fn read(&self, batch: &Batch, budget: Duration) -> Result<Answers, TierError> {
        let place = self.admit()?;
        self.read_admitted(batch, budget, place).await
    }

    async fn read_admitted(
        &self,
        batch: &Batch,
        budget: Duration,
        _place: Permit<'_>,
    ) -> Result<Answers, TierError> {
        let mut vigil = WaitRecord::new(Instant::now(), budget);
        let (outcome, ended) = match self.run(batch, &mut vigil).await {
            Ok((answers, now)) => (Ok(answers), now),
            Err(error) => (Err(error), Instant::now()),
        };
        self.waited(&outcome, &vigil, ended);
        outcome
    }

    /// Reports a refusal by the server.
    fn refused(&self, session: &Session, cause: TierCause, verdict: Verdict) {
        if cause == TierCause::IsCluster && self.watch.cluster.is_none() {
            self.link.misled(session);
        }
        self.link.refused(session, cause, verdict);
    }

    /// Records that a read has ended.
    fn waited<T>(&self, outcome: &Result<T, TierError>, vigil: &WaitRecord, ended: Instant) {
        if self.settings.has_substitute && self.link.current().is_none() {
            // The read has waited for a connection, not for a reply.
            return;
        }
        let is_answered = matches!(outcome, Ok(_) | Err(TierError::Refused(_)));
        let has_opened = self.link.waited(&Waited::new(is_answered, vigil, ended));
        // A connection that has become silent is checked at once, and not when its next heartbeat is due.
        let is_late = matches!(outcome, Err(TierError::Timeout));
        if has_opened || is_late && self.link.is_unchecked(vigil.began(), ended) {
            self.watch.pulse.notify_one();
        }
    }

    /// Runs a [`read`](Self::read) of large values, `bytes` in total, over the connection for those.
    pub(crate) async fn read_large(
        &self,
        batch: &Batch,
        bytes: usize,
        patience: OperationBudget,
    ) -> Result<Answers, TierError> {
        let node = self.large()?;
        let place = node.admit()?;
        node.in_turn(bytes, patience, |budget| node.read_admitted(batch, budget, place)).await
    }

    /// Runs a [`change`](Self::change) of large values, `bytes` in total, over the connection for those.
    pub(crate) async fn change_large(
        &self,
        batch: &Batch,
        bytes: usize,
        patience: OperationBudget,
    ) -> Result<Answers, TierError> {
        let node = self.large()?;
        node.in_turn(bytes, patience, |budget| node.change(batch, budget)).await
    }

    /// Runs a transfer of `bytes` in turn.
    ///
    /// If there is a connection, transfers are sent in the order in which they are counted, since one that
    /// overtakes another would use up the other's time.
    async fn in_turn<F: Future<Output = Result<Answers, TierError>>>(
        &self,
        bytes: usize,
        patience: OperationBudget,
        run: impl FnOnce(Duration) -> F,
    ) -> Result<Answers, TierError> {
        let (mut run, mut running) = (Some(run), None::<(Transfer<'_>, Pin<Box<F>>)>);
        // An abandoned transfer still arrives. Without a connection it was never requested, or is lost.
        let is_on_its_way = |polled: &Poll<_>| {
            let may_come = matches!(polled, Poll::Pending | Poll::Ready(Err(TierError::Timeout)));
            may_come && self.link.current().is_some()
        };
        poll_fn(|cx| {
            if let Some((transfer, running)) = &mut running {
                let polled = running.as_mut().poll(cx);
                transfer.is_on_its_way = is_on_its_way(&polled);
                return polled;
            }
            let Some(run) = run.take() else { return Poll::Ready(Err(TierError::Unavailable)) };
            // Not without a connection: an attempt at one may notify observers, which is done under no lock.
            let turn = self.link.current().map(|_| self.link.transfers.turn());
            let transfer = self.link.transfers.begin(bytes);
            let Some(budget) = patience.left_of(transfer.time()) else {
                return Poll::Ready(Err(TierError::Timeout));
            };
            let (transfer, running) = running.insert((transfer, Box::pin(run(budget))));
            // The first poll hands the command to the connection.
            let polled = running.as_mut().poll(cx);
            drop(turn);
            transfer.is_on_its_way = is_on_its_way(&polled);
            polled
        })
        .await
    }

    /// Reads one key like [`read`](Self::read), together with other reads if there are many.
    pub(crate) async fn get(&self, key: &str, budget: Duration) -> Result<Got, TierError> {
        let place = self.admit()?;
        if self.link.reads.are_many(place.others)
            && let Some(reading) = self.join(key, budget)
        {
            return reading.await;
        }
        let mut vigil = WaitRecord::new(Instant::now(), budget);
        let (outcome, ended) = match Box::pin(self.get_alone(key, &mut vigil)).await {
            Ok((got, now)) => (Ok(got), now),
            Err(error) => (Err(error), Instant::now()),
        };
        self.waited(&outcome, &vigil, ended);
        outcome
    }

    /// Takes a seat in a round.
    fn join(&self, key: &str, budget: Duration) -> Option<PendingRead> {
        let runtime = Handle::try_current().ok()?;
        self.link.reads.join(key, budget, &runtime).or_else(|| {
            let session = self.current(Instant::now())?;
            ride::begin(&self.link, &self.watch, key, session, budget, &runtime)
        })
    }

    async fn get_alone(&self, key: &str, vigil: &mut WaitRecord) -> Result<(Got, Instant), TierError> {
        let session = self.session(vigil).await?;
        let mut connection = session.connection.clone();
        let command = whole(key);
        let answer;
        (answer, *vigil) =
            within(connection.send_packed_command(&command), vigil.began(), vigil.budget()).await;
        let answer = answer.ok_or(TierError::Timeout)?;
        let now = Instant::now();
        let got = answer.map_err(Failure::from).and_then(|answer| {
            self.condition().answered_at(now);
            Got::read(answer, &session, now)
        });
        if let Ok(Got { bytes: Some(bytes), .. }) = &got {
            self.link.reads.got(bytes.len());
        }
        let got = got.map_err(|Failure { error, verdict }| {
            match &error {
                TierError::Refused(code) => self.refused(&session, cause::of_code(code), verdict),
                _ => self.link.report(&session, verdict),
            }
            error
        })?;
        Ok((got, now))
    }

    /// Runs a batch that writes.
    pub(crate) async fn change(&self, batch: &Batch, budget: Duration) -> Result<Answers, TierError> {
        let _place = self.link.gate.write()?;
        self.run(batch, &mut WaitRecord::new(Instant::now(), budget)).await.map(|(answers, _)| answers)
    }

    /// Ends the connection for good, and deregisters this process so that no other waits for it.
    pub(crate) async fn close(&self) {
        let leave = self.leave();
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
        if let Some(leave) = leave {
            leave.await;
        }
    }

    /// Returns a future that deregisters this process, which serves no entries any more.
    fn leave(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        if planted!("member-stays") {
            return None;
        }
        let session = self.link.current()?;
        let command = self.member.leave()?;
        let limit = self.settings.connect_timeout;
        Some(async move {
            let mut connection = session.connection.clone();
            let _ = timeout(limit, connection.send_packed_command(&command)).await;
        })
    }

    /// Replaces the connection of this change feed, if it is current: its replies match no requests.
    pub(crate) fn distrust(&self, line: &ChangeFeed) {
        self.link.distrust(line);
        if let Some(large) = self.large.get() {
            large.link.distrust(line);
        }
    }
}

/// Deregisters a process that ends in an orderly way.
///
/// Otherwise the others would wait until its right to serve expires.
impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(runtime) = Handle::try_current()
            && let Some(leave) = self.leave()
        {
            runtime.spawn(leave);
        }
    }
}

/// Returns the settings of the connection for large values.
fn large_settings(main: &Settings) -> Settings {
    Settings {
        // A check may have to wait for earlier transfers.
        check_timeout: main.check_timeout.saturating_add(2 * LONGEST_TRANSFER),
        has_substitute: true,
        ..main.clone()
    }
}
