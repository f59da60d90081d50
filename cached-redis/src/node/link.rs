//! The state that operations share with the supervisor of a connection.
//!
//! Operations find the current [`Session`] here and report failures of it. The supervisor publishes sessions
//! and waits for the reports. Several threads race here, so these invariants matter:
//!
//! * Only the newest supervisor may set the state ([`Link::new_supervisor`] numbers them).
//! * A connection that is replaced ends its change feed under the lock of the state. So the change feed of
//!   the current session has not ended.
//! * Lock order: `published`, then the locks of the other fields. Observers are notified by `Condition::notify`
//!   under no lock.
//! * An operation starts only while the link is *usable*: a recent heartbeat has registered this process, or
//!   has found that it need not or cannot.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cached_core::{ChangeFeed, TierCause, TierError};
use tokio::sync::{Notify, watch};

use crate::{
    availability::{
        breaker::Waited,
        gate::{AdmissionGate, Permit},
        status::Condition,
    },
    connect::connection::Connection,
    node::{reads::ReadBatcher, session::Session, transfers::Transfers},
    protocol::{failure::Verdict, server_clock::ServerClock},
};

/// State shared by operations and the supervisor.
#[derive(Debug)]
pub(crate) struct Link {
    published: watch::Sender<Published>,
    session_count: AtomicU64,
    reports: Mutex<Reports>,
    report_added: Notify,
    /// Time of the supervisor's last sign of life, in microseconds after `began`.
    last_liveness: AtomicU64,
    began: Instant,
    /// Time until which operations need not wait for a heartbeat, in microseconds after `began`.
    usable_until: AtomicU64,
    usability_changed: Notify,
    usage: Use,
    previous_end: Mutex<Option<Instant>>,
    /// Ended change feeds, while entries read over them may still be served in an outage.
    ended_feeds: Mutex<Vec<Weak<ChangeFeed>>>,
    pub(crate) gate: AdmissionGate,
    pub(crate) reads: ReadBatcher,
    pub(crate) transfers: Transfers,
    pub(crate) condition: Condition,
}

/// Use of the connection, as seen by the heartbeat.
#[derive(Debug, Default)]
struct Use {
    /// Set by operations since the heartbeat last looked.
    is_used: AtomicBool,
    /// Set if the next use must wake the heartbeat at once.
    is_calm: AtomicBool,
}

/// State of the connection, and the supervisor that last had the right to set it.
#[derive(Debug)]
struct Published {
    supervisor: u64,
    state: LinkState,
}

/// State of the connection.
#[derive(Clone)]
pub(crate) enum LinkState {
    /// The outcome of an attempt is awaited, usually the first: an operation waits for it, within its budget.
    Connecting,
    /// Connected.
    Up(Arc<Session>),
    /// Not connected, for this reason: an operation fails at once.
    Down(TierCause),
}

/// Newest sessions that operations have reported as broken or refusing.
#[derive(Debug, Default)]
struct Reports {
    broken: u64,
    refusing: u64,
}

impl Link {
    pub(crate) fn new(gate: AdmissionGate) -> Self {
        Self {
            published: watch::Sender::new(Published { supervisor: 0, state: LinkState::Connecting }),
            session_count: AtomicU64::new(0),
            reports: Mutex::default(),
            report_added: Notify::new(),
            last_liveness: AtomicU64::new(0),
            began: Instant::now(),
            usable_until: AtomicU64::new(0),
            usability_changed: Notify::new(),
            usage: Use::default(),
            previous_end: Mutex::new(None),
            ended_feeds: Mutex::default(),
            gate,
            reads: ReadBatcher::default(),
            transfers: Transfers::default(),
            condition: Condition::new(),
        }
    }

    pub(crate) fn state(&self) -> LinkState {
        self.published.borrow().state.clone()
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.published.borrow().state, LinkState::Down(_))
    }

    /// Returns the current connection; waits only while the state is `Connecting`.
    pub(crate) async fn session(&self) -> Option<Arc<Session>> {
        match self.state() {
            LinkState::Up(session) => return Some(session),
            LinkState::Down(_) => return None,
            LinkState::Connecting => {}
        }
        let mut published = self.published.subscribe();
        let settled =
            published.wait_for(|published| !matches!(published.state, LinkState::Connecting)).await.ok()?;
        match &settled.state {
            LinkState::Up(session) => Some(session.clone()),
            LinkState::Connecting | LinkState::Down(_) => None,
        }
    }

    /// Records a refusal, and notifies the supervisor if the server's state is the cause.
    pub(crate) fn record_refusal(&self, session: &Session, cause: TierCause, verdict: Verdict) {
        if verdict == Verdict::Refusing && self.is_current(session) {
            self.condition.update(|facts| {
                facts.refusing = true;
                facts.why.refusing = Some(cause);
            });
        }
        self.report_to_supervisor(session, verdict);
    }

    /// Records that a server used as a standalone one redirects some keys to another server.
    pub(crate) fn record_moved(&self, session: &Session) {
        if self.is_current(session) {
            self.condition.update(|facts| facts.why.moved = true);
        }
    }

    /// Reports the verdict of an operation on its connection to the supervisor.
    pub(crate) fn report(&self, session: &Session, verdict: Verdict) {
        self.report_to_supervisor(session, verdict);
        if verdict == Verdict::Refusing && self.is_current(session) {
            self.condition.update(|facts| facts.refusing = true);
        }
    }

    /// Reports like [`report`](Self::report), but leaves the condition as it is: another connection may be
    /// better.
    pub(crate) fn report_to_supervisor(&self, session: &Session, verdict: Verdict) {
        {
            let mut reports = lock(&self.reports);
            let newest_reported = match verdict {
                Verdict::Sound => return,
                Verdict::Refusing => &mut reports.refusing,
                Verdict::Broken => &mut reports.broken,
            };
            *newest_reported = session.id.max(*newest_reported);
        }
        self.report_added.notify_one();
    }

    /// Has the connection of this change feed replaced, if it is the current one.
    pub(crate) fn report_broken(&self, feed: &ChangeFeed) {
        if let LinkState::Up(session) = self.state()
            && feed.covers(&session.feed)
        {
            self.report(&session, Verdict::Broken);
        }
    }

    fn is_current(&self, session: &Session) -> bool {
        matches!(&self.published.borrow().state, LinkState::Up(current) if current.id == session.id)
    }

    /// Admits a read, which holds the permit until it has ended, or rejects it at once.
    pub(crate) fn admit(&self) -> Result<Permit<'_>, TierError> {
        self.gate.admit_read().map_err(|rejected| {
            if rejected.has_opened {
                self.publish_breaker_state();
            }
            TierError::Unavailable
        })
    }

    /// Records the end of a read, answered or not, and returns whether this opened the breaker.
    pub(crate) fn record_wait(&self, waited: &Waited) -> bool {
        let has_opened = self.gate.record_wait(waited);
        if has_opened {
            self.publish_breaker_state();
        }
        has_opened
    }

    /// Returns whether the supervisor has given no sign of life since `began`.
    ///
    /// A heartbeat that was sent in the meantime checks the connection as well.
    pub(crate) fn is_unchecked(&self, began: Instant, now: Instant) -> bool {
        self.time_since_liveness_at(now) >= now.saturating_duration_since(began)
    }

    /// Records the reply to a heartbeat, and returns whether this closed the breaker.
    ///
    /// `was_late` is set if this process itself was late.
    pub(crate) fn record_beat(&self, sent: Instant, was_late: bool) -> bool {
        self.condition.record_reply();
        self.condition.record_round_trip(sent.elapsed());
        let has_closed = self.gate.record_probe(sent, was_late);
        if has_closed {
            self.publish_breaker_state();
        }
        has_closed
    }

    fn publish_breaker_state(&self) {
        // Read under the lock, since the breaker may have changed again.
        self.condition.update(|facts| facts.breaker_open = self.gate.is_open());
    }

    /// Grants the right to set the state to a new supervisor, and returns its number.
    ///
    /// The previous supervisor loses the right, but may still run for a moment.
    pub(crate) fn new_supervisor(&self) -> u64 {
        let supervisor = self.replace_supervisor(LinkState::Connecting);
        self.record_liveness();
        supervisor
    }

    /// Revokes the right to set the state from every supervisor: the connection is gone for good.
    pub(crate) fn close(&self) {
        self.replace_supervisor(LinkState::Down(TierCause::Lost));
        self.condition.notify();
    }

    /// Has the connection replaced, if there is one; operations wait for the next.
    pub(crate) fn replace_connection(&self) {
        let mut replaced = None;
        self.published.send_if_modified(|published| {
            if let LinkState::Up(session) = &published.state {
                replaced = Some(session.clone());
                self.set_state(published, LinkState::Connecting);
            }
            replaced.is_some()
        });
        self.condition.notify();
        if let Some(session) = replaced {
            self.report(&session, Verdict::Broken);
        }
    }

    fn replace_supervisor(&self, state: LinkState) -> u64 {
        let mut supervisor = 0;
        self.published.send_modify(|published| {
            supervisor = published.supervisor + 1;
            self.set_state(published, state);
            published.supervisor = supervisor;
        });
        supervisor
    }

    /// Sets the state, unless another supervisor has taken over.
    ///
    /// Returns whether there is a connection now and was none before.
    pub(crate) fn publish(&self, supervisor: u64, state: LinkState) -> bool {
        let mut is_restored = false;
        self.published.send_if_modified(|published| {
            let is_allowed = published.supervisor == supervisor;
            if is_allowed {
                is_restored = !published.state.is_up() && state.is_up();
                self.set_state(published, state);
            }
            is_allowed
        });
        self.condition.notify();
        is_restored
    }

    /// Sets the state, and ends the change feed of the connection that it replaces.
    fn set_state(&self, published: &mut Published, state: LinkState) {
        if let LinkState::Up(session) = std::mem::replace(&mut published.state, state) {
            *lock(&self.previous_end) = Some(Instant::now());
            session.feed.end();
            self.reads.close_open_round();
            self.usability_changed.notify_waiters();
            let mut ended_feeds = lock(&self.ended_feeds);
            ended_feeds.retain(|feed| feed.strong_count() > 0);
            ended_feeds.push(Arc::downgrade(&session.feed));
        }
        match &published.state {
            LinkState::Up(session) if session.is_renewed => {}
            LinkState::Up(session) => self.condition.record_connection(session.untracked.clone()),
            LinkState::Connecting => self.condition.record_disconnection(None),
            LinkState::Down(cause) => self.condition.record_disconnection(Some(cause.clone())),
        }
    }

    /// Revokes the outage grace of earlier connections.
    ///
    /// This process is about to acknowledge changes that were never pushed over them. So entries read over
    /// them must not be served in an outage any more.
    pub(crate) fn withdraw_grace(&self) {
        for feed in lock(&self.ended_feeds).drain(..).filter_map(|feed| feed.upgrade()) {
            feed.allow_grace(false);
        }
    }

    /// Returns when the last connection was given up. Entries read over it may be served for a while after
    /// that.
    pub(crate) fn previous_end(&self) -> Option<Instant> {
        *lock(&self.previous_end)
    }

    /// Creates the numbered session of a new connection. With a cause, no changes are pushed over it.
    pub(crate) fn new_session(&self, connection: Connection, untracked: Option<TierCause>) -> Session {
        let is_tracking = untracked.is_none();
        let feed = if is_tracking { ChangeFeed::tracked() } else { ChangeFeed::untracked() };
        let id = self.session_count.fetch_add(1, Ordering::Relaxed) + 1;
        let clock = Arc::new(ServerClock::new());
        Session { connection, feed, is_tracking, untracked, clock, is_renewed: false, id }
    }

    /// Creates a session of the same connection with another number and another change feed.
    pub(crate) fn renew_session(&self, session: &Session) -> Session {
        let renewed = self.new_session(session.connection.clone(), session.untracked.clone());
        Session { is_renewed: true, clock: session.clock.clone(), ..renewed }
    }

    /// Waits until an operation reports a problem of this session.
    pub(crate) async fn wait_for_problem(&self, session: &Session) -> Verdict {
        loop {
            let verdict = self.reported_verdict(session);
            if verdict != Verdict::Sound {
                return verdict;
            }
            self.report_added.notified().await;
        }
    }

    /// Returns the verdict that operations have reported about this session so far.
    fn reported_verdict(&self, session: &Session) -> Verdict {
        let mut reports = lock(&self.reports);
        if reports.broken >= session.id {
            Verdict::Broken
        } else if reports.refusing >= session.id {
            // One report leads to one attempt at another connection.
            reports.refusing = 0;
            Verdict::Refusing
        } else {
            Verdict::Sound
        }
    }

    /// Records a use of the connection, and returns whether the heartbeat must be woken.
    pub(crate) fn note_use(&self) -> bool {
        let Use { is_used, is_calm } = &self.usage;
        // Only the first of many callers writes.
        if is_used.load(Ordering::SeqCst) {
            return false;
        }
        is_used.store(true, Ordering::SeqCst);
        is_calm.load(Ordering::SeqCst)
    }

    /// Returns whether the connection was used since the last call.
    pub(crate) fn take_use(&self) -> bool {
        self.usage.is_used.swap(false, Ordering::SeqCst)
    }

    /// Sets whether the next use must wake the heartbeat.
    ///
    /// The heartbeat calls [`take_use`](Self::take_use) after this, and an operation reads the flag after it
    /// has recorded its use. So one of the two sees the other (`SeqCst`).
    pub(crate) fn set_calm(&self, is_calm: bool) {
        self.usage.is_calm.store(is_calm, Ordering::SeqCst);
    }

    /// Lets operations start without a heartbeat until `until`.
    pub(crate) fn set_usable_until(&self, until: Instant) {
        self.usable_until.store(self.micros_at(until), Ordering::Release);
        self.usability_changed.notify_waiters();
    }

    /// Makes operations wait for a heartbeat from now on.
    pub(crate) fn set_unusable(&self) {
        self.usable_until.store(0, Ordering::Release);
    }

    /// Returns whether the others know that this process may read at `now`, and serve the entries.
    pub(crate) fn is_usable_at(&self, now: Instant) -> bool {
        self.micros_at(now) < self.usable_until.load(Ordering::Acquire)
    }

    /// Returns the current connection once operations may start; `None` if there is no connection.
    pub(crate) async fn usable_session(&self, request_heartbeat: impl Fn()) -> Option<Arc<Session>> {
        loop {
            let mut usability_changed = std::pin::pin!(self.usability_changed.notified());
            usability_changed.as_mut().enable();
            let session = self.session().await?;
            if self.is_usable_at(Instant::now()) {
                return Some(session);
            }
            request_heartbeat();
            usability_changed.await;
        }
    }

    /// Records a sign of life of the supervisor.
    pub(crate) fn record_liveness(&self) {
        self.last_liveness.store(self.micros_at(Instant::now()), Ordering::Release);
    }

    /// Returns the time since the supervisor's last sign of life.
    pub(crate) fn time_since_liveness(&self) -> Duration {
        self.time_since_liveness_at(Instant::now())
    }

    pub(crate) fn time_since_liveness_at(&self, now: Instant) -> Duration {
        Duration::from_micros(self.micros_at(now).saturating_sub(self.last_liveness.load(Ordering::Acquire)))
    }

    fn micros_at(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.began).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    /// Returns the current connection, if there is one.
    pub(crate) fn current_session(&self) -> Option<Arc<Session>> {
        match &self.published.borrow().state {
            LinkState::Up(session) => Some(Arc::clone(session)),
            LinkState::Connecting | LinkState::Down(_) => None,
        }
    }
}

impl LinkState {
    fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

impl fmt::Debug for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "Connecting",
            Self::Up(_) => "Up",
            Self::Down(_) => "Down",
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::availability::breaker::Breaker;

    #[test]
    fn replaced_supervisor_cannot_set_the_state() {
        let second = Duration::from_secs(1);
        let breaker = Breaker::new(second, second, second, Instant::now());
        let link = Link::new(AdmissionGate::new(breaker, 1));
        let (old, new) = (link.new_supervisor(), link.new_supervisor());
        link.publish(old, LinkState::Down(TierCause::Lost));
        assert!(!link.is_down());
        link.publish(new, LinkState::Down(TierCause::Lost));
        assert!(link.is_down());
        link.new_supervisor();
        assert!(!link.is_down(), "operations wait for the first attempt of each supervisor");
    }
}
