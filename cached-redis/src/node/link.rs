//! The way from an operation to the current connection.

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
        gate::{Gate, Place},
        status::Condition,
    },
    connect::connection::Connection,
    node::{reads::Reads, session::Session, transfers::Transfers},
    protocol::{failure::Verdict, server_clock::ServerClock},
};

/// What operations and the supervisor share.
#[derive(Debug)]
pub(crate) struct Link {
    current: watch::Sender<Published>,
    sessions: AtomicU64,
    reports: Mutex<Reports>,
    reported: Notify,
    /// When the supervisor last showed that it runs, in microseconds after `began`.
    last_sign: AtomicU64,
    began: Instant,
    /// Until when operations need not wait for a heartbeat, in microseconds after `began`.
    tended: AtomicU64,
    has_tended: Notify,
    use_of: Use,
    last_end: Mutex<Option<Instant>>,
    /// Lines that are over, while what was read over them may still be served in an outage.
    graced: Mutex<Vec<Weak<ChangeFeed>>>,
    pub(crate) gate: Gate,
    pub(crate) reads: Reads,
    pub(crate) transfers: Transfers,
    pub(crate) condition: Condition,
}

/// Whether anything is asked over the connection.
#[derive(Debug, Default)]
struct Use {
    /// Since the heartbeat last looked.
    is_used: AtomicBool,
    /// Whether the heartbeat wants to know at once.
    is_calm: AtomicBool,
}

/// The state of the connection, and the supervisor that last had the right to set it.
#[derive(Debug)]
struct Published {
    supervisor: u64,
    state: State,
}

/// The state of the connection.
#[derive(Clone)]
pub(crate) enum State {
    /// The first attempt has not ended yet: an operation waits for it, within its budget.
    Connecting,
    /// Connected.
    Up(Arc<Session>),
    /// Not connected, for this reason: an operation fails at once.
    Down(TierCause),
}

/// The newest sessions of which operations reported something.
#[derive(Debug, Default)]
struct Reports {
    broken: u64,
    refusing: u64,
}

impl Link {
    pub(crate) fn new(gate: Gate) -> Self {
        Self {
            current: watch::Sender::new(Published { supervisor: 0, state: State::Connecting }),
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
            reads: Reads::default(),
            transfers: Transfers::default(),
            condition: Condition::new(),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.current.borrow().state.clone()
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.current.borrow().state, State::Down(_))
    }

    /// The current connection; waits only while the first attempt is under way.
    pub(crate) async fn session(&self) -> Option<Arc<Session>> {
        match self.state() {
            State::Up(session) => return Some(session),
            State::Down(_) => return None,
            State::Connecting => {}
        }
        let mut current = self.current.subscribe();
        let settled =
            current.wait_for(|published| !matches!(published.state, State::Connecting)).await.ok()?;
        match &settled.state {
            State::Up(session) => Some(session.clone()),
            State::Connecting | State::Down(_) => None,
        }
    }

    /// Notes what the server refuses, and tells the supervisor if that is for a state that it is in.
    pub(crate) fn refused(&self, session: &Session, cause: TierCause, verdict: Verdict) {
        if verdict == Verdict::Refusing && self.is_current(session) {
            self.condition.update(|facts| {
                facts.refusing = true;
                facts.why.refusing = Some(cause);
            });
        }
        self.note(session, verdict);
    }

    /// The server was to have all keys, and says that another one has some.
    pub(crate) fn misled(&self, session: &Session) {
        if self.is_current(session) {
            self.condition.update(|facts| facts.why.moved = true);
        }
    }

    /// Tells the supervisor what an operation found out about its connection.
    pub(crate) fn report(&self, session: &Session, verdict: Verdict) {
        self.note(session, verdict);
        if verdict == Verdict::Refusing && self.is_current(session) {
            self.condition.update(|facts| facts.refusing = true);
        }
    }

    /// As [`report`](Self::report), and how it stands remains as it is: another connection may be better.
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

    /// Has the connection of this line replaced, if it is the current one.
    pub(crate) fn distrust(&self, line: &ChangeFeed) {
        if let State::Up(session) = self.state()
            && line.covers(&session.line)
        {
            self.report(&session, Verdict::Broken);
        }
    }

    fn is_current(&self, session: &Session) -> bool {
        matches!(&self.current.borrow().state, State::Up(current) if current.id == session.id)
    }

    /// Lets a read in, which keeps its place until it has ended; or says at once that it need not try.
    pub(crate) fn admit(&self) -> Result<Place<'_>, TierError> {
        self.gate.read().map_err(|turned| {
            if turned.opened {
                self.show_breaker();
            }
            TierError::Unavailable
        })
    }

    /// A read has ended, with an answer or without. Whether the breaker is open now, and was not before.
    pub(crate) fn waited(&self, waited: &Waited) -> bool {
        let has_opened = self.gate.waited(waited);
        if has_opened {
            self.show_breaker();
        }
        has_opened
    }

    /// Whether nothing has shown since then that the connection works: a heartbeat that was sent meanwhile will tell as well.
    pub(crate) fn is_unchecked(&self, began: Instant, now: Instant) -> bool {
        self.silence_at(now) >= now.saturating_duration_since(began)
    }

    /// A heartbeat that was sent then was answered, by a process that `was_late` itself or not. Whether the breaker is closed now,
    /// and was not before.
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
        // Asked under the lock: it may have turned again.
        self.condition.update(|facts| facts.breaker_open = self.gate.is_open());
    }

    /// Gives the right to set the state to a new supervisor and takes it from the one before, which may still
    /// be running for a moment. Returns the new supervisor's number.
    pub(crate) fn begin(&self) -> u64 {
        let supervisor = self.hand_over(State::Connecting);
        self.give_sign();
        supervisor
    }

    /// Takes the right to set the state from every supervisor: there is no connection any more.
    pub(crate) fn close(&self) {
        self.hand_over(State::Down(TierCause::Lost));
        self.condition.tell();
    }

    /// Has the connection replaced, if there is one; operations wait for the next.
    pub(crate) fn abandon(&self) {
        let mut abandoned = None;
        self.current.send_if_modified(|published| {
            if let State::Up(session) = &published.state {
                abandoned = Some(session.clone());
                self.replace(published, State::Connecting);
            }
            abandoned.is_some()
        });
        self.condition.tell();
        if let Some(session) = abandoned {
            self.report(&session, Verdict::Broken);
        }
    }

    fn hand_over(&self, state: State) -> u64 {
        let mut supervisor = 0;
        self.current.send_modify(|published| {
            supervisor = published.supervisor + 1;
            self.replace(published, state);
            published.supervisor = supervisor;
        });
        supervisor
    }

    /// Sets the state, unless another supervisor has taken over. Whether there is a connection now and was none
    /// before.
    pub(crate) fn publish(&self, supervisor: u64, state: State) -> bool {
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

    /// Whatever connection there was until now tells nothing any more.
    fn replace(&self, published: &mut Published, state: State) {
        if let State::Up(session) = std::mem::replace(&mut published.state, state) {
            *lock(&self.last_end) = Some(Instant::now());
            session.line.end();
            self.reads.replaced();
            self.has_tended.notify_waiters();
            let mut graced = lock(&self.graced);
            graced.retain(|line| line.strong_count() > 0);
            graced.push(Arc::downgrade(&session.line));
        }
        match &published.state {
            State::Up(session) if session.is_renewed => {}
            State::Up(session) => self.condition.connected(session.deaf.clone()),
            State::Connecting => self.condition.disconnected(None),
            State::Down(cause) => self.condition.disconnected(Some(cause.clone())),
        }
    }

    /// This process is about to say that it has handled changes of which the connections before this one can have told
    /// nothing: what was read over them is not served in an outage any more.
    pub(crate) fn withdraw_grace(&self) {
        for line in lock(&self.graced).drain(..).filter_map(|line| line.upgrade()) {
            line.allow_grace(false);
        }
    }

    /// When the last connection was given up. What was read over it may be served for a while after that.
    pub(crate) fn last_end(&self) -> Option<Instant> {
        *lock(&self.last_end)
    }

    /// Numbers a new connection, over which nothing is told of changes if there is a cause for that.
    pub(crate) fn open(&self, connection: Connection, deaf: Option<TierCause>) -> Session {
        let is_tracking = deaf.is_none();
        let line = if is_tracking { ChangeFeed::watching() } else { ChangeFeed::deaf() };
        let id = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let clock = Arc::new(ServerClock::new());
        Session { connection, line, is_tracking, deaf, clock, is_renewed: false, id }
    }

    /// The same connection with another number and another line.
    pub(crate) fn renew(&self, session: &Session) -> Session {
        let renewed = self.open(session.connection.clone(), session.deaf.clone());
        Session { is_renewed: true, clock: session.clock.clone(), ..renewed }
    }

    /// Waits until an operation reports something about this session.
    pub(crate) async fn trouble(&self, session: &Session) -> Verdict {
        loop {
            let verdict = self.verdict(session);
            if verdict != Verdict::Sound {
                return verdict;
            }
            self.reported.notified().await;
        }
    }

    /// What operations have reported about this session so far.
    fn verdict(&self, session: &Session) -> Verdict {
        let mut reports = lock(&self.reports);
        if reports.broken >= session.id {
            Verdict::Broken
        } else if reports.refusing >= session.id {
            // One report is one attempt at another connection.
            reports.refusing = 0;
            Verdict::Refusing
        } else {
            Verdict::Sound
        }
    }

    /// Something is asked over the connection; whether the heartbeat wants to know at once.
    pub(crate) fn note_use(&self) -> bool {
        let Use { is_used, is_calm } = &self.use_of;
        // Of many callers, one writes.
        if is_used.load(Ordering::SeqCst) {
            return false;
        }
        is_used.store(true, Ordering::SeqCst);
        is_calm.load(Ordering::SeqCst)
    }

    /// Whether anything was asked since the heartbeat last looked.
    pub(crate) fn take_use(&self) -> bool {
        self.use_of.is_used.swap(false, Ordering::SeqCst)
    }

    /// Whether the heartbeat wants to know at once when something is asked. It looks after it has said so.
    pub(crate) fn set_calm(&self, is_calm: bool) {
        self.use_of.is_calm.store(is_calm, Ordering::SeqCst);
    }

    /// Until then, operations need not wait for a heartbeat.
    pub(crate) fn tend(&self, until: Instant) {
        self.tended.store(self.passed(until), Ordering::Release);
        self.has_tended.notify_waiters();
    }

    /// From now on, operations wait for a heartbeat.
    pub(crate) fn untend(&self) {
        self.tended.store(0, Ordering::Release);
    }

    /// Whether the others know that this process may read over the connection now, and serve what it reads.
    pub(crate) fn is_tended(&self, now: Instant) -> bool {
        self.passed(now) < self.tended.load(Ordering::Acquire)
    }

    /// The current connection, when the others know that it is used; `None` if there is none.
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

    /// Notes that the supervisor runs.
    pub(crate) fn give_sign(&self) {
        self.last_sign.store(self.passed(Instant::now()), Ordering::Release);
    }

    /// How long ago the supervisor showed that it runs.
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

    /// The current connection, if there is one.
    pub(crate) fn current(&self) -> Option<Arc<Session>> {
        match &self.current.borrow().state {
            State::Up(session) => Some(Arc::clone(session)),
            State::Connecting | State::Down(_) => None,
        }
    }
}

impl State {
    fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

impl fmt::Debug for State {
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
        let link = Link::new(Gate::new(breaker, 1));
        let (old, new) = (link.begin(), link.begin());
        link.publish(old, State::Down(TierCause::Lost));
        assert!(!link.is_down());
        link.publish(new, State::Down(TierCause::Lost));
        assert!(link.is_down());
        link.begin();
        assert!(!link.is_down(), "operations wait for the first attempt of each supervisor");
    }
}
