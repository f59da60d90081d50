//! The way from an operation to the current connection.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};

use crate::failure::Verdict;

/// What operations and the supervisor share.
#[derive(Debug)]
pub(crate) struct Link {
    current: watch::Sender<Published>,
    sessions: AtomicU64,
    reports: Mutex<Reports>,
    reported: Notify,
    last_sign: Mutex<Instant>,
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
    Up(Session),
    /// Not connected: an operation fails at once.
    Down,
}

/// A connection, and its number among all connections of this link.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) connection: MultiplexedConnection,
    id: u64,
}

/// The newest sessions of which operations reported something.
#[derive(Debug, Default)]
struct Reports {
    broken: u64,
    refusing: u64,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self {
            current: watch::Sender::new(Published { supervisor: 0, state: State::Connecting }),
            sessions: AtomicU64::new(0),
            reports: Mutex::default(),
            reported: Notify::new(),
            last_sign: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.current.borrow().state.clone()
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.current.borrow().state, State::Down)
    }

    /// The current connection; waits only while the first attempt is under way.
    pub(crate) async fn session(&self) -> Option<Session> {
        match self.state() {
            State::Up(session) => return Some(session),
            State::Down => return None,
            State::Connecting => {}
        }
        let mut current = self.current.subscribe();
        let settled =
            current.wait_for(|published| !matches!(published.state, State::Connecting)).await.ok()?;
        match &settled.state {
            State::Up(session) => Some(session.clone()),
            State::Connecting | State::Down => None,
        }
    }

    /// Tells the supervisor what an operation found out about its connection.
    pub(crate) fn report(&self, session: &Session, verdict: Verdict) {
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

    /// Gives the right to set the state to a new supervisor and takes it from the one before, which may still
    /// be running for a moment. Returns the new supervisor's number.
    pub(crate) fn begin(&self) -> u64 {
        let mut supervisor = 0;
        self.current.send_modify(|published| {
            supervisor = published.supervisor + 1;
            *published = Published { supervisor, state: State::Connecting };
        });
        self.give_sign();
        supervisor
    }

    /// Sets the state, unless another supervisor has taken over.
    pub(crate) fn publish(&self, supervisor: u64, state: State) {
        self.current.send_if_modified(|published| {
            let allowed = published.supervisor == supervisor;
            if allowed {
                published.state = state;
            }
            allowed
        });
    }

    /// Numbers a new connection.
    pub(crate) fn open(&self, connection: MultiplexedConnection) -> Session {
        Session { connection, id: self.sessions.fetch_add(1, Ordering::Relaxed) + 1 }
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

    /// Notes that the supervisor runs.
    pub(crate) fn give_sign(&self) {
        *lock(&self.last_sign) = Instant::now();
    }

    /// How long ago the supervisor showed that it runs.
    pub(crate) fn silence(&self) -> Duration {
        lock(&self.last_sign).elapsed()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "Connecting",
            Self::Up(_) => "Up",
            Self::Down => "Down",
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_that_was_replaced_cannot_set_the_state() {
        let link = Link::new();
        let (old, new) = (link.begin(), link.begin());
        link.publish(old, State::Down);
        assert!(!link.is_down());
        link.publish(new, State::Down);
        assert!(link.is_down());
        link.begin();
        assert!(!link.is_down(), "operations wait for the first attempt of each supervisor");
    }
}
