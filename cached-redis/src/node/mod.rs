//! One server, and the connection to it.

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
        awaited::{Vigil, within},
        breaker::{Breaker, Waited},
        gate::{Gate, Place},
        status::{Condition, RedisState},
    },
    connect::{cause, settings::Settings},
    node::{
        heartbeat::Member,
        link::Link,
        reads::{Got, Reading},
        session::Session,
        supervisor::Supervision,
        transfers::{LONGEST_TRANSFER, Patience, Transfer},
    },
    protocol::{
        batch::{Batch, Replies},
        commands::whole,
        failure::{Failure, Verdict},
    },
    tracking::push::Watch,
};

/// A server.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) settings: Arc<Settings>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) member: Arc<Member>,
    pub(crate) link: Arc<Link>,
    supervision: Supervision,
    /// The connection for large values, from the first one on. It has a breaker of its own, and nothing is told over it.
    pub(crate) large: OnceLock<Box<Self>>,
}

/// What was answered to a batch.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) replies: Replies,
    /// Over which it was asked.
    pub(crate) line: Arc<ChangeFeed>,
}

impl Node {
    pub(crate) fn new(settings: Arc<Settings>, member: Member, watch: Watch) -> Self {
        let Settings { read_timeout, retry_min, retry_max, max_in_flight, .. } = *settings;
        let breaker = Breaker::new(read_timeout, retry_min, retry_max, Instant::now());
        let link = Arc::new(Link::new(Gate::new(breaker, max_in_flight)));
        let (watch, member) = (Arc::new(watch), Arc::new(member));
        let supervision =
            Supervision::new(settings.clone(), link.clone(), Arc::clone(&watch), member.clone());
        Self { settings, watch, member, link, supervision, large: OnceLock::new() }
    }

    /// The connection for large values; the main one, if there can be no other.
    fn large(&self) -> Result<&Self, TierError> {
        let large = self.large.get_or_init(|| {
            let settings = Arc::new(large_settings(&self.settings));
            Box::new(Self::new(settings, Member::new(String::new()), Watch::mute()))
        });
        // Asked after it was made: what closes this one looks after it has said so.
        if self.supervision.is_closed() {
            return Err(TierError::Unavailable);
        }
        if !large.link.is_down() {
            return Ok(large);
        }
        // Such as where a server takes no more connections. It may take one later.
        large.ensure()?;
        Ok(self)
    }

    /// Has the connection for large values made anew, if there is one: it may lead to another server.
    pub(crate) fn renew_large(&self) {
        if let Some(large) = self.large.get() {
            large.link.abandon();
        }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.link.gate
    }

    pub(crate) fn condition(&self) -> &Condition {
        &self.link.condition
    }

    /// Tells it of its cache.
    pub(crate) fn attach(&self, attachment: Attachment) {
        if self.watch.attach(attachment) {
            // A connection from before was made without registering this process with the others.
            self.link.abandon();
        }
    }

    /// Whether it is worth asking.
    pub(crate) fn ready(&self) -> bool {
        let is_of_use = !self.link.gate.is_open() && !self.condition().runs_no_scripts();
        let is_worth_asking = !self.link.is_down() && is_of_use;
        // When the task has ended with its runtime, only an operation can start it again.
        !self.supervision.is_closed() && (is_worth_asking || !self.supervision.is_running())
    }

    /// Has the background task run on the current runtime.
    pub(crate) fn ensure(&self) -> Result<(), TierError> {
        self.supervision.ensure()
    }

    /// The current connection, if it can be counted on.
    fn current(&self, began: Instant) -> Option<Arc<Session>> {
        if self.link.note_use() {
            self.watch.pulse.notify_one();
        }
        // A background task that ends leaves no connection behind; one whose runtime stands still is silent. And while nothing is
        // asked, the others may have forgotten this process.
        let is_driven = self.link.silence_at(began) < self.settings.sign_of_life();
        self.link.current().filter(|_| is_driven && self.link.is_tended(began))
    }

    /// The current connection, within what is left of the budget.
    async fn session(&self, vigil: &mut Vigil) -> Result<Arc<Session>, TierError> {
        match self.current(vigil.began()) {
            Some(session) => {
                Handle::try_current().map_err(|_| TierError::Unavailable)?;
                Ok(session)
            }
            None => Box::pin(self.next_session(vigil)).await,
        }
    }

    /// The next connection, once there is one.
    async fn next_session(&self, vigil: &mut Vigil) -> Result<Arc<Session>, TierError> {
        // A process that asks at once, or asks only once, is to get what is there, however far away that is. So the first
        // connection is waited for as long as it may take, and what is left of that time belongs to the operation.
        let is_first = self.condition().is_untried();
        self.ensure()?;
        if is_first {
            let first = self.settings.connect_timeout;
            // The attempt ends by itself, and its outcome is to be known when it does.
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

    /// Has the connection made, and waits for the outcome of the first attempt.
    pub(crate) async fn connected(&self) -> Result<(), TierCause> {
        self.ensure().map_err(|_| TierCause::NoRuntime)?;
        // The attempt itself takes no longer.
        let patience = self.settings.connect_timeout.saturating_mul(2);
        let _ = timeout(patience, self.link.session()).await;
        match self.condition().state() {
            RedisState::Up | RedisState::Degraded => Ok(()),
            RedisState::Untried => Err(TierCause::Timeout),
            RedisState::Down => Err(self.condition().facts().cause().unwrap_or(TierCause::Lost)),
        }
    }

    /// Sends a batch and returns the answers, within its budget; and when they came. `vigil` is how they were waited for.
    async fn run(&self, batch: &Batch, vigil: &mut Vigil) -> Result<(Answers, Instant), TierError> {
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

    /// A place among those who wait, unless that would be in vain.
    fn admit(&self) -> Result<Place<'_>, TierError> {
        if self.link.gate.is_open() {
            // Without the background task, nobody would find out that it need not be.
            self.ensure()?;
        }
        self.link.admit()
    }

    /// Runs what somebody waits for before he has a value, unless he would wait in vain.
    pub(crate) async fn read(&self, batch: &Batch, budget: Duration) -> Result<Answers, TierError> {
        let place = self.admit()?;
        self.read_admitted(batch, budget, place).await
    }

    async fn read_admitted(
        &self,
        batch: &Batch,
        budget: Duration,
        _place: Place<'_>,
    ) -> Result<Answers, TierError> {
        let mut vigil = Vigil::new(Instant::now(), budget);
        let (outcome, ended) = match self.run(batch, &mut vigil).await {
            Ok((answers, now)) => (Ok(answers), now),
            Err(error) => (Err(error), Instant::now()),
        };
        self.waited(&outcome, &vigil, ended);
        outcome
    }

    /// The server has refused something.
    fn refused(&self, session: &Session, cause: TierCause, verdict: Verdict) {
        if cause == TierCause::IsCluster && self.watch.cluster.is_none() {
            self.link.misled(session);
        }
        self.link.refused(session, cause, verdict);
    }

    /// A read has ended.
    fn waited<T>(&self, outcome: &Result<T, TierError>, vigil: &Vigil, ended: Instant) {
        if self.settings.has_substitute && self.link.current().is_none() {
            // It has waited for a connection, and not for an answer.
            return;
        }
        let is_answered = matches!(outcome, Ok(_) | Err(TierError::Refused(_)));
        let has_opened = self.link.waited(&Waited::new(is_answered, vigil, ended));
        // A connection that has become mute is found out at once, and not when its next heartbeat is due.
        let is_late = matches!(outcome, Err(TierError::Timeout));
        if has_opened || is_late && self.link.is_unchecked(vigil.began(), ended) {
            self.watch.pulse.notify_one();
        }
    }

    /// As [`read`](Self::read), of large values that have so many bytes together, over the connection for those.
    pub(crate) async fn read_large(
        &self,
        batch: &Batch,
        bytes: usize,
        patience: Patience,
    ) -> Result<Answers, TierError> {
        let node = self.large()?;
        let place = node.admit()?;
        node.in_turn(bytes, patience, |budget| node.read_admitted(batch, budget, place)).await
    }

    /// As [`change`](Self::change), of large values that have so many bytes together, over the connection for those.
    pub(crate) async fn change_large(
        &self,
        batch: &Batch,
        bytes: usize,
        patience: Patience,
    ) -> Result<Answers, TierError> {
        let node = self.large()?;
        node.in_turn(bytes, patience, |budget| node.change(batch, budget)).await
    }

    /// Runs what transfers so many bytes. Where there is a connection, what was counted before it is also sent before it: what overtakes it
    /// would take its time.
    async fn in_turn<F: Future<Output = Result<Answers, TierError>>>(
        &self,
        bytes: usize,
        patience: Patience,
        run: impl FnOnce(Duration) -> F,
    ) -> Result<Answers, TierError> {
        let (mut run, mut running) = (Some(run), None::<(Transfer<'_>, Pin<Box<F>>)>);
        // What was given up still comes. Without a connection, it was not asked for, or does not come any more.
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
            // Without a connection, observers may be told of the attempt at one, which is done under no lock.
            let turn = self.link.current().map(|_| self.link.transfers.turn());
            let transfer = self.link.transfers.begin(bytes);
            let Some(budget) = patience.left_of(transfer.time()) else {
                return Poll::Ready(Err(TierError::Timeout));
            };
            let (transfer, running) = running.insert((transfer, Box::pin(run(budget))));
            // The connection has the question after this.
            let polled = running.as_mut().poll(cx);
            drop(turn);
            transfer.is_on_its_way = is_on_its_way(&polled);
            polled
        })
        .await
    }

    /// What is under one key: as [`read`](Self::read), with others if many ask.
    pub(crate) async fn get(&self, key: &str, budget: Duration) -> Result<Got, TierError> {
        let place = self.admit()?;
        if self.link.reads.are_many(place.others)
            && let Some(reading) = self.join(key, budget)
        {
            return reading.await;
        }
        let mut vigil = Vigil::new(Instant::now(), budget);
        let (outcome, ended) = match Box::pin(self.get_alone(key, &mut vigil)).await {
            Ok((got, now)) => (Ok(got), now),
            Err(error) => (Err(error), Instant::now()),
        };
        self.waited(&outcome, &vigil, ended);
        outcome
    }

    /// A seat beside others.
    fn join(&self, key: &str, budget: Duration) -> Option<Reading> {
        let runtime = Handle::try_current().ok()?;
        self.link.reads.join(key, budget, &runtime).or_else(|| {
            let session = self.current(Instant::now())?;
            ride::begin(&self.link, &self.watch, key, session, budget, &runtime)
        })
    }

    async fn get_alone(&self, key: &str, vigil: &mut Vigil) -> Result<(Got, Instant), TierError> {
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

    /// Runs what writes.
    pub(crate) async fn change(&self, batch: &Batch, budget: Duration) -> Result<Answers, TierError> {
        let _place = self.link.gate.write()?;
        self.run(batch, &mut Vigil::new(Instant::now(), budget)).await.map(|(answers, _)| answers)
    }

    /// Ends the connection for ever. The others need not wait for this process any more.
    pub(crate) async fn close(&self) {
        let leave = self.leave();
        // All of it first: what is waited for may take too long for the caller, which then goes away.
        let ending = self.supervision.close();
        // Only now: a connection for large values that is made later finds that this one is closed.
        let ending_large = self.large.get().map(|large| {
            let ending = large.supervision.close();
            large.link.close();
            ending
        });
        self.link.close();
        // Before it takes leave: the background task registers this process.
        ending.await;
        if let Some(ending) = ending_large {
            ending.await;
        }
        if let Some(leave) = leave {
            leave.await;
        }
    }

    /// Removes this process from the register: nothing that it holds is served any more.
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

    /// What came over this line does not fit the questions: if it is the current one, the connection is replaced.
    pub(crate) fn distrust(&self, line: &ChangeFeed) {
        self.link.distrust(line);
        if let Some(large) = self.large.get() {
            large.link.distrust(line);
        }
    }
}

/// A process that ends in an orderly way does not have the others wait until it may not serve any more.
impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(runtime) = Handle::try_current()
            && let Some(leave) = self.leave()
        {
            runtime.spawn(leave);
        }
    }
}

/// The settings of a connection for large values.
fn large_settings(main: &Settings) -> Settings {
    Settings {
        // A check may have to wait for what was asked before.
        check_timeout: main.check_timeout.saturating_add(2 * LONGEST_TRANSFER),
        has_substitute: true,
        ..main.clone()
    }
}
