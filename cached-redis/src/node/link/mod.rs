//! The state that operations share with the supervisor of a connection.
//!
//! Operations find the current [`Session`] here and report failures of it. The supervisor publishes sessions
//! and waits for the reports. Several threads race here, so these invariants matter:
//!
//! * Only the newest supervisor may set the state ([`Link::new_supervisor`] numbers them).
//! * A connection that is replaced ends its change feed under the lock of the state. So the change feed of
//!   the current session has not ended.
//! * Lock order: `published`, then the locks of the other fields. Observers are notified by
//!   `Condition::notify` under no lock.
//! * An operation starts only while the link is *usable*: a recent heartbeat has registered this process, or
//!   has found that it need not or cannot.
//!
//! This file has the state and its sessions. `reports` has the failures that operations have found, and
//! `ended_sessions` the connections that were given up. `usability` decides whether an operation may start,
//! and `usage` wakes the heartbeat for one. `admission` has the gate in front of the connection.

mod admission;
mod ended_sessions;
mod reports;
mod usability;
mod usage;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use cached_core::{TierCause, tier::ChangeFeed};
use tokio::sync::watch;

use crate::{
    availability::{gate::AdmissionGate, status::Condition},
    connect::connection::Connection,
    node::{
        link::{ended_sessions::EndedSessions, reports::Reports, usability::Usability, usage::Usage},
        reads::ReadBatcher,
        session::Session,
        transfers::Transfers,
    },
    protocol::{failure::Verdict, server_clock::ServerClock},
};

/// State shared by operations and the supervisor.
#[derive(Debug)]
pub(crate) struct Link {
    published: watch::Sender<Published>,
    session_count: AtomicU64,
    reports: Reports,
    usability: Usability,
    usage: Usage,
    ended_sessions: EndedSessions,
    pub(crate) gate: AdmissionGate,
    pub(crate) reads: ReadBatcher,
    pub(crate) transfers: Transfers,
    pub(crate) condition: Condition,
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

impl Link {
    pub(crate) fn new(gate: AdmissionGate) -> Self {
        Self {
            published: watch::Sender::new(Published { supervisor: 0, state: LinkState::Connecting }),
            session_count: AtomicU64::new(0),
            reports: Reports::default(),
            usability: Usability::new(Instant::now()),
            usage: Usage::default(),
            ended_sessions: EndedSessions::default(),
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

    fn is_current(&self, session: &Session) -> bool {
        matches!(&self.published.borrow().state, LinkState::Up(current) if current.id == session.id)
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
            self.ended_sessions.record_end(Instant::now());
            session.feed.end();
            self.reads.close_open_round();
            self.usability.notify_change();
            self.ended_sessions.add_feed(&session.feed);
        }
        match &published.state {
            LinkState::Up(session) if session.is_renewed => {}
            LinkState::Up(session) => self.condition.record_connection(session.untracked.clone()),
            LinkState::Connecting => self.condition.record_disconnection(None),
            LinkState::Down(cause) => self.condition.record_disconnection(Some(cause.clone())),
        }
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
    use std::time::Duration;

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
