//! The state that operations share with the supervisor of a connection.
//!
//! Operations find the current [`Session`] here and report failures of it. The supervisor publishes sessions
//! and waits for the reports. Several threads race here, so these invariants matter:
//!
//! * Only the newest supervisor may set the state ([`Link::begin`] numbers them).
//! * A connection that is replaced ends its change feed under the lock of the state. So the change feed of
//!   the current session has not ended.
//! * Lock order: `current`, then the locks of the other fields. Observers are notified by `Condition::tell`
//!   under no lock.
//! * An operation starts only while the link is *tended*: a recent heartbeat has registered this process, or
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
    current: watch::Sender<Published>,
    sessions: AtomicU64,
    reports: Mutex<Reports>,
    reported: Notify,
    /// Time of the supervisor's last sign of life, in microseconds after `began`.
    last_sign: AtomicU64,
    began: Instant,
    /// Time until which operations need not wait for a heartbeat, in microseconds after `began`.
    tended: AtomicU64,
    has_tended: Notify,
    use_of: Use,
    last_end: Mutex<Option<Instant>>,
    /// Ended change feeds, while entries read over them may still be served in an outage.
    graced: Mutex<Vec<Weak<ChangeFeed>>>,
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
            current: watch::Sender::new(Published { supervisor: 0, state: LinkState::Connecting }),
            sessions: AtomicU64::new(0),
            reports: Mutex::default(),
            reported: Notify::new(),
            last_sign: AtomicU64::new(0),
            began: Instant::now(),
            tended: AtomicU64::new(0),
            has_tended: Notify::new(),
            use_of: Use::default(),
            last_end: Mutex::new(None),
            graced: Mutex::default(),
            gate,
            reads: ReadBatcher::default(),
            transfers: Transfers::default(),
            condition: Condition::new(),
        }
    }

    pub(crate) fn state(&self) -> LinkState {
        self.current.borrow().state.clone()
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.current.borrow().state, LinkState::Down(_))
    }

    /// Returns the current connection; waits only while the state is `Connecting`.
    pub(crate) async fn session(&self) -> Option<Arc<Session>> {
        match self.state() {
            LinkState::Up(session) => return Some(session),
            LinkState::Down(_) => return None,
            LinkState::Connecting => {}
        }
        let mut current = self.current.subscribe();
        let settled =
            current.wait_for(|published| !matches!(published.state, LinkState::Connecting)).await.ok()?;
        match &settled.state {
            LinkState::Up(session) => Some(session.clone()),
            LinkState::Connecting | LinkState::Down(_) => None,
        }
    }

    /// Records a refusal, and notifies the supervisor if the server's state is the cause.
    pub(crate) fn refused(&self, session: &Session, cause: TierCause, verdict: Verdict) {
        if verdict == Verdict::Refusing && self.is_current(session) {
            self.condition.update(|facts| {
                facts.refusing = true;
                facts.why.refusing = Some(cause);
            });
        }
        self.note(session, verdict);
    }

    /// Records that a server used as a standalone one redirects some keys to another server.
    pub(crate) fn misled(&self, session: &Session) {
        if self.is_current(session) {
            self.condition.update(|facts| facts.why.moved = true);
        }
    }

    /// Reports the verdict of an operation on its connection to the supervisor.
    pub(crate) fn report(&self, session: &Session, verdict: Verdict) {
        self.note(session, verdict);
        if verdict == Verdict::Refusing && self.is_current(session) {
            self.condition.update(|facts| facts.refusing = true);
        }
    }

    /// Reports like [`report`](Self::report), but leaves the condition as it is: another connection may be
    /// better.
    pub(crate) fn note(&self, session: &Session, verdict: Verdict) {
        {
            let mut reports = lock(&self.reports);
            let newest = match verdict {
                Verdict::Sound => return,
                Verdict::Refusing => &mut reports.refusing,
                Verdict::Broken => &mut reports.broken,
            };
            *newest = session.id.max(*newest);
        }
        self.reported.notify_one();
    }

    /// Has the connection of this change feed replaced, if it is the current one.
    pub(crate) fn distrust(&self, line: &ChangeFeed) {
        if let LinkState::Up(session) = self.state()
            && line.covers(&session.line)
        {
            self.report(&session, Verdict::Broken);
        }
    }

    fn is_current(&self, session: &Session) -> bool {
        matches!(&self.current.borrow().state, LinkState::Up(current) if current.id == session.id)
    }

    /// Admits a read, which holds the permit until it has ended, or rejects it at once.
    pub(crate) fn admit(&self) -> Result<Permit<'_>, TierError> {
        self.gate.read().map_err(|turned| {
            if turned.opened {
                self.show_breaker();
            }
            TierError::Unavailable
        })
    }

    /// Records the end of a read, answered or not, and returns whether this opened the breaker.
    pub(crate) fn waited(&self, waited: &Waited) -> bool {
        let has_opened = self.gate.waited(waited);
        if has_opened {
            self.show_breaker();
        }
        has_opened
    }

    /// Returns whether the supervisor has given no sign of life since `began`.
    ///
    /// A heartbeat that was sent in the meantime checks the connection as well.
    pub(crate) fn is_unchecked(&self, began: Instant, now: Instant) -> bool {
        self.silence_at(now) >= now.saturating_duration_since(began)
    }

    /// Records the reply to a heartbeat, and returns whether this closed the breaker.
    ///
    /// `was_late` is set if this process itself was late.
    pub(crate) fn beaten(&self, sent: Instant, was_late: bool) -> bool {
        self.condition.answered();
        self.condition.round_trip(sent.elapsed());
        let has_closed = self.gate.probed(sent, was_late);
        if has_closed {
            self.show_breaker();
        }
        has_closed
    }

    fn show_breaker(&self) {
        // Read under the lock, since the breaker may have changed again.
        self.condition.update(|facts| facts.breaker_open = self.gate.is_open());
    }

    /// Grants the right to set the state to a new supervisor, and returns its number.
    ///
    /// The previous supervisor loses the right, but may still run for a moment.
    pub(crate) fn begin(&self) -> u64 {
        let supervisor = self.hand_over(LinkState::Connecting);
        self.give_sign();
        supervisor
    }

    /// Revokes the right to set the state from every supervisor: the connection is gone for good.
    pub(crate) fn close(&self) {
        self.hand_over(LinkState::Down(TierCause::Lost));
        self.condition.tell();
    }

    /// Has the connection replaced, if there is one; operations wait for the next.
    pub(crate) fn abandon(&self) {
        let mut abandoned = None;
        self.current.send_if_modified(|published| {
            if let LinkState::Up(session) = &published.state {
                abandoned = Some(session.clone());
                self.replace(published, LinkState::Connecting);
            }
            abandoned.is_some()
        });
        self.condition.tell();
        if let Some(session) = abandoned {
            self.report(&session, Verdict::Broken);
        }
    }

    fn hand_over(&self, state: LinkState) -> u64 {
        let mut supervisor = 0;
        self.current.send_modify(|published| {
            supervisor = published.supervisor + 1;
            self.replace(published, state);
            published.supervisor = supervisor;
        });
        supervisor
    }

    /// Sets the state, unless another supervisor has taken over.
    ///
    /// Returns whether there is a connection now and was none before.
    pub(crate) fn publish(&self, supervisor: u64, state: LinkState) -> bool {
        let mut is_restored = false;
        self.current.send_if_modified(|published| {
            let allowed = published.supervisor == supervisor;
            if allowed {
                is_restored = !published.state.is_up() && state.is_up();
                self.replace(published, state);
            }
            allowed
        });
        self.condition.tell();
        is_restored
    }

    /// Sets the state, and ends the change feed of the connection that it replaces.
    fn replace(&self, published: &mut Published, state: LinkState) {
        if let LinkState::Up(session) = std::mem::replace(&mut published.state, state) {
            *lock(&self.last_end) = Some(Instant::now());
            session.line.end();
            self.reads.replaced();
            self.has_tended.notify_waiters();
            let mut graced = lock(&self.graced);
            graced.retain(|line| line.strong_count() > 0);
            graced.push(Arc::downgrade(&session.line));
        }
        match &published.state {
            LinkState::Up(session) if session.is_renewed => {}
            LinkState::Up(session) => self.condition.connected(session.deaf.clone()),
            LinkState::Connecting => self.condition.disconnected(None),
            LinkState::Down(cause) => self.condition.disconnected(Some(cause.clone())),
        }
    }

    /// Revokes the outage grace of earlier connections.
    ///
    /// This process is about to acknowledge changes that were never pushed over them. So entries read over
    /// them must not be served in an outage any more.
    pub(crate) fn withdraw_grace(&self) {
        for line in lock(&self.graced).drain(..).filter_map(|line| line.upgrade()) {
            line.allow_grace(false);
        }
    }

    /// Returns when the last connection was given up. Entries read over it may be served for a while after
    /// that.
    pub(crate) fn last_end(&self) -> Option<Instant> {
        *lock(&self.last_end)
    }

    /// Creates the numbered session of a new connection. With a cause, no changes are pushed over it.
    pub(crate) fn open(&self, connection: Connection, deaf: Option<TierCause>) -> Session {
        let is_tracking = deaf.is_none();
        let line = if is_tracking { ChangeFeed::watching() } else { ChangeFeed::deaf() };
        let id = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let clock = Arc::new(ServerClock::new());
        Session { connection, line, is_tracking, deaf, clock, is_renewed: false, id }
    }

    /// Creates a session of the same connection with another number and another change feed.
    pub(crate) fn renew(&self, session: &Session) -> Session {
        let renewed = self.open(session.connection.clone(), session.deaf.clone());
        Session { is_renewed: true, clock: session.clock.clone(), ..renewed }
    }

    /// Waits until an operation reports a problem of this session.
    pub(crate) async fn trouble(&self, session: &Session) -> Verdict {
        loop {
            let verdict = self.verdict(session);
            if verdict != Verdict::Sound {
                return verdict;
            }
            self.reported.notified().await;
        }
    }

    /// Returns the verdict that operations have reported about this session so far.
    fn verdict(&self, session: &Session) -> Verdict {
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
        let Use { is_used, is_calm } = &self.use_of;
        // Only the first of many callers writes.
        if is_used.load(Ordering::SeqCst) {
            return false;
        }
        is_used.store(true, Ordering::SeqCst);
        is_calm.load(Ordering::SeqCst)
    }

    /// Returns whether the connection was used since the last call.
    pub(crate) fn take_use(&self) -> bool {
        self.use_of.is_used.swap(false, Ordering::SeqCst)
    }

    /// Sets whether the next use must wake the heartbeat.
    ///
    /// The heartbeat calls [`take_use`](Self::take_use) after this, and an operation reads the flag after it
    /// has recorded its use. So one of the two sees the other (`SeqCst`).
    pub(crate) fn set_calm(&self, is_calm: bool) {
        self.use_of.is_calm.store(is_calm, Ordering::SeqCst);
    }

    /// Lets operations start without a heartbeat until `until`.
    pub(crate) fn tend(&self, until: Instant) {
        self.tended.store(self.passed(until), Ordering::Release);
        self.has_tended.notify_waiters();
    }

    /// Makes operations wait for a heartbeat from now on.
    pub(crate) fn untend(&self) {
        self.tended.store(0, Ordering::Release);
    }

    /// Returns whether the others know that this process may read at `now`, and serve the entries.
    pub(crate) fn is_tended(&self, now: Instant) -> bool {
        self.passed(now) < self.tended.load(Ordering::Acquire)
    }

    /// Returns the current connection once operations may start; `None` if there is no connection.
    pub(crate) async fn tended_session(&self, ask: impl Fn()) -> Option<Arc<Session>> {
        loop {
            let mut tended = std::pin::pin!(self.has_tended.notified());
            tended.as_mut().enable();
            let session = self.session().await?;
            if self.is_tended(Instant::now()) {
                return Some(session);
            }
            ask();
            tended.await;
        }
    }

    /// Records a sign of life of the supervisor.
    pub(crate) fn give_sign(&self) {
        self.last_sign.store(self.passed(Instant::now()), Ordering::Release);
    }

    /// Returns the time since the supervisor's last sign of life.
    pub(crate) fn silence(&self) -> Duration {
        self.silence_at(Instant::now())
    }

    pub(crate) fn silence_at(&self, now: Instant) -> Duration {
        Duration::from_micros(self.passed(now).saturating_sub(self.last_sign.load(Ordering::Acquire)))
    }

    fn passed(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.began).as_micros();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// Returns the current connection, if there is one.
    pub(crate) fn current(&self) -> Option<Arc<Session>> {
        match &self.current.borrow().state {
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
    fn a_supervisor_that_was_replaced_cannot_set_the_state() {
        let second = Duration::from_secs(1);
        let breaker = Breaker::new(second, second, second, Instant::now());
        let link = Link::new(AdmissionGate::new(breaker, 1));
        let (old, new) = (link.begin(), link.begin());
        link.publish(old, LinkState::Down(TierCause::Lost));
        assert!(!link.is_down());
        link.publish(new, LinkState::Down(TierCause::Lost));
        assert!(link.is_down());
        link.begin();
        assert!(!link.is_down(), "operations wait for the first attempt of each supervisor");
    }
}
