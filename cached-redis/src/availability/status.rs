//! State of the connection, observable by the application.
//!
//! `Condition` keeps the facts under a lock and derives the state from them. The state is published under
//! that lock, so the last change is the last one published. The change listener may query the tier, so it is
//! called after all locks are released: methods that callers use under a lock (`change`, `connected`,
//! `disconnected`) only mark the change, and `tell` notifies the listener.

use std::{
    fmt,
    future::pending,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cached_core::TierCause;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// State of the connection to Redis.
///
/// The application need not check it: calls of cached functions are answered in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedisState {
    /// Unknown: no operation was requested, or the first connection attempt has not ended.
    Untried,
    /// Connected, and everything works.
    Up,
    /// Connected, but not everything works. At least one of these conditions holds:
    ///
    /// * Redis hangs or is slow, so it is not queried before a load: the breaker is open.
    /// * Redis refuses writes or all commands (`READONLY`, `LOADING`, `MASTERDOWN`, `NOAUTH`, `CLUSTERDOWN`),
    ///   or does not hold all keys (`MOVED`).
    /// * Redis pushes no changes: it is older than version 6, the user may not run `CLIENT TRACKING`, or an
    ///   intermediary drops the pushes.
    /// * This process could not register with the others, for example because Redis is full. Without a
    ///   connection it would have no outage grace.
    /// * No script runs: the user may not run `EVALSHA`, or the server is too old. Nothing can be stored, so
    ///   Redis is not queried.
    Degraded,
    /// Not connected.
    ///
    /// [`RedisHealth::cause`](crate::RedisHealth) has the reason, for this state and for
    /// [`Degraded`](RedisState::Degraded).
    Down,
}

impl fmt::Display for RedisState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untried => "untried",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        })
    }
}

/// Watches the [state](RedisState) of a tier.
///
/// Created by [`RedisTier::watch_state`](crate::RedisTier::watch_state).
#[derive(Clone, Debug)]
pub struct RedisStateWatch(pub(crate) watch::Receiver<RedisState>);

impl RedisStateWatch {
    /// Returns the current state.
    pub fn state(&self) -> RedisState {
        *self.0.borrow()
    }

    /// Waits until the state has changed, and returns the new state.
    ///
    /// A change counts from the last return of this method, or from the creation of the watch. The future may
    /// be dropped while it waits, and no change is missed. Of several changes in between, only the last one
    /// is returned.
    ///
    /// When the tier is gone, the state stays [`Down`](RedisState::Down), and this method does not return any
    /// more.
    pub async fn changed(&mut self) -> RedisState {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            Err(_) => pending().await,
        }
    }
}

/// Facts about a connection, with the state derived from them.
#[derive(Debug)]
pub(crate) struct Condition {
    facts: Mutex<Facts>,
    state: watch::Sender<RedisState>,
    connections: AtomicU64,
    began: Instant,
    /// Time of the last reply, in milliseconds after `began` plus one; 0 if there was none.
    answered: AtomicU64,
    /// Duration of the last heartbeat, in microseconds plus one; 0 if there was none.
    round_trip: AtomicU64,
    told: ChangeCallback,
    /// Copy of [`Facts::runs_no_scripts`] that is read without the lock.
    runs_no_scripts: AtomicBool,
    /// Set if the listener was not yet notified of a change.
    is_untold: AtomicBool,
}

/// Listener that is notified of each change.
#[derive(Default)]
struct ChangeCallback(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl fmt::Debug for ChangeCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChangeCallback").field(&self.0.get().is_some()).finish()
    }
}

#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Facts {
    /// Set if the server pushes changes over the connection; `None` without a connection.
    pub(crate) tracking: Option<bool>,
    pub(crate) breaker_open: bool,
    pub(crate) refusing: bool,
    /// Set if this process is registered; `None` if there is no registry to register in.
    pub(crate) registered: Option<bool>,
    /// Set if no script runs, so that this process can store nothing.
    pub(crate) runs_no_scripts: bool,
    /// Set once a connection attempt has ended.
    pub(crate) is_tried: bool,
    pub(crate) why: Why,
}

/// Reasons for each fault, of which each field holds the latest one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Why {
    /// Reason why there is no connection.
    pub(crate) down: Option<TierCause>,
    /// Set if another server holds some of the keys of a server configured as standalone.
    pub(crate) moved: bool,
    /// Reason why the server pushes no changes.
    pub(crate) deaf: Option<TierCause>,
    /// Reason why the server refuses.
    pub(crate) refusing: Option<TierCause>,
    /// Reason why this process is not registered.
    pub(crate) unregistered: Option<TierCause>,
}

impl Facts {
    fn state(&self) -> RedisState {
        let Self { tracking, breaker_open, refusing, registered, is_tried, why: Why { moved, .. }, .. } =
            *self;
        match tracking {
            None if is_tried => RedisState::Down,
            None => RedisState::Untried,
            Some(true) if !breaker_open && !refusing && !moved && registered != Some(false) => RedisState::Up,
            Some(_) => RedisState::Degraded,
        }
    }

    /// Returns the reason why the state is not up; if there are several, the most severe one.
    pub(crate) fn cause(&self) -> Option<TierCause> {
        let why = &self.why;
        match self.state() {
            RedisState::Untried | RedisState::Up => None,
            RedisState::Down => why.down.clone(),
            RedisState::Degraded if why.moved => Some(TierCause::IsCluster),
            RedisState::Degraded if self.refusing => why.refusing.clone(),
            RedisState::Degraded if self.breaker_open => Some(TierCause::Slow),
            RedisState::Degraded if self.runs_no_scripts => why.unregistered.clone(),
            RedisState::Degraded if self.tracking == Some(false) => why.deaf.clone(),
            RedisState::Degraded => why.unregistered.clone(),
        }
    }

    fn standing(&self) -> (RedisState, Option<TierCause>) {
        (self.state(), self.cause())
    }
}

impl Condition {
    pub(crate) fn new() -> Self {
        Self {
            facts: Mutex::default(),
            state: watch::Sender::new(RedisState::Untried),
            connections: AtomicU64::new(0),
            began: Instant::now(),
            answered: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            told: ChangeCallback::default(),
            runs_no_scripts: AtomicBool::new(false),
            is_untold: AtomicBool::new(false),
        }
    }

    /// Sets the listener for changes of the state or of its cause.
    ///
    /// Only the first call has an effect.
    pub(crate) fn on_change(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.told.0.set(Box::new(tell));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<RedisState> {
        self.state.subscribe()
    }

    pub(crate) fn state(&self) -> RedisState {
        *self.state.borrow()
    }

    pub(crate) fn facts(&self) -> Facts {
        self.lock().clone()
    }

    /// Returns whether this process can store nothing because no script runs.
    pub(crate) fn runs_no_scripts(&self) -> bool {
        self.runs_no_scripts.load(Ordering::Acquire)
    }

    /// Returns whether no connection attempt has ended yet.
    pub(crate) fn is_untried(&self) -> bool {
        !self.lock().is_tried
    }

    /// Changes the facts, and notifies the listener if the state or its cause has changed.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Facts)) {
        self.change(change);
        self.tell();
    }

    /// Changes the facts as [`update`](Self::update) does, for a caller that holds a lock.
    ///
    /// The caller calls [`tell`](Self::tell) when it has released the lock.
    fn change(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.lock();
        let before = facts.standing();
        change(&mut facts);
        self.runs_no_scripts.store(facts.runs_no_scripts, Ordering::Release);
        let now = facts.standing();
        if before == now {
            return;
        }
        self.is_untold.store(true, Ordering::Release);
        // Under the lock, so that the last change is also the last one published.
        self.state.send_if_modified(|state| std::mem::replace(state, now.0) != now.0);
    }

    /// Notifies the listener of pending changes.
    ///
    /// The caller holds no lock, as the listener may query the tier.
    pub(crate) fn tell(&self) {
        if self.is_untold.swap(false, Ordering::AcqRel)
            && let Some(tell) = self.told.0.get()
        {
            tell();
        }
    }

    /// Records a new connection. `deaf` is the reason if the server pushes no changes over it.
    pub(crate) fn connected(&self, deaf: Option<TierCause>) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.change(|facts| {
            facts.tracking = Some(deaf.is_none());
            (facts.is_tried, facts.why.moved) = (true, false);
            (facts.why.deaf, facts.why.down) = (deaf, None);
        });
    }

    /// Records that there is no connection, for this reason if there is a new one.
    pub(crate) fn disconnected(&self, cause: Option<TierCause>) {
        self.change(|facts| {
            facts.tracking = None;
            facts.is_tried |= cause.is_some();
            if cause.is_some() {
                facts.why.down = cause;
            }
        });
    }

    /// Records the duration of a heartbeat.
    pub(crate) fn round_trip(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        self.round_trip.store(micros, Ordering::Relaxed);
    }

    /// Returns the duration of the last heartbeat.
    pub(crate) fn last_round_trip(&self) -> Option<Duration> {
        self.round_trip.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    /// Returns the number of connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Records that the server has replied now.
    pub(crate) fn answered(&self) {
        self.answered_at(Instant::now());
    }

    pub(crate) fn answered_at(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.began).as_millis();
        let said = u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1);
        // Skip the store within the same millisecond, so that threads do not contend for the cache line.
        if self.answered.load(Ordering::Relaxed) != said {
            self.answered.store(said, Ordering::Relaxed);
        }
    }

    /// Returns the time since the last reply.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let answered = self.answered.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_millis(answered)))
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Facts {
        Facts { tracking: Some(true), registered: Some(true), is_tried: true, ..Facts::default() }
    }

    #[test]
    fn everything_must_work_for_it_to_be_up() {
        assert_eq!(fine().state(), RedisState::Up);
        assert_eq!(Facts { registered: None, ..fine() }.state(), RedisState::Up);
        for facts in [
            Facts { breaker_open: true, ..fine() },
            Facts { refusing: true, ..fine() },
            Facts { why: Why { moved: true, ..Why::default() }, ..fine() },
            Facts { tracking: Some(false), ..fine() },
            Facts { registered: Some(false), ..fine() },
        ] {
            assert_eq!(facts.state(), RedisState::Degraded, "{facts:?}");
            assert_eq!(Facts { tracking: None, ..facts }.state(), RedisState::Down);
        }
    }

    #[test]
    fn status_is_untried_until_the_first_attempt_ends() {
        let condition = Condition::new();
        assert_eq!((condition.state(), condition.facts().cause()), (RedisState::Untried, None));
        // A supervisor starts.
        condition.disconnected(None);
        assert_eq!((condition.state(), condition.is_untried()), (RedisState::Untried, true));
        condition.disconnected(Some(TierCause::Refused));
        assert_eq!((condition.state(), condition.is_untried()), (RedisState::Down, false));
        // The next supervisor starts.
        condition.disconnected(None);
        assert_eq!(condition.facts().cause(), Some(TierCause::Refused));
        condition.connected(None);
        assert_eq!((condition.state(), condition.facts().cause()), (RedisState::Up, None));
    }

    #[test]
    fn of_several_causes_the_one_that_weighs_most_is_shown() {
        let why = Why {
            down: Some(TierCause::Refused),
            deaf: Some(TierCause::NoResp3),
            refusing: Some(TierCause::ReadOnly),
            unregistered: Some(TierCause::Full),
            moved: true,
        };
        let mut facts = Facts { why, tracking: Some(false), registered: Some(false), ..fine() };
        (facts.breaker_open, facts.refusing) = (true, true);
        assert_eq!(facts.cause(), Some(TierCause::IsCluster));
        facts.why.moved = false;
        assert_eq!(facts.cause(), Some(TierCause::ReadOnly));
        facts.refusing = false;
        assert_eq!(facts.cause(), Some(TierCause::Slow));
        facts.breaker_open = false;
        assert_eq!(facts.cause(), Some(TierCause::NoResp3));
        facts.tracking = Some(true);
        assert_eq!(facts.cause(), Some(TierCause::Full));
        facts.tracking = None;
        assert_eq!(facts.cause(), Some(TierCause::Refused));
    }

    #[test]
    fn status_change_and_new_cause_are_each_notified_once() {
        use std::sync::{Arc, atomic::AtomicUsize};

        let (condition, told) = (Condition::new(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&told);
        condition.on_change(move || _ = count.fetch_add(1, Ordering::SeqCst));
        let told = || told.load(Ordering::SeqCst);
        condition.disconnected(Some(TierCause::Refused));
        assert_eq!(told(), 0, "not under a lock");
        condition.tell();
        condition.tell();
        assert_eq!(told(), 1);
        condition.disconnected(Some(TierCause::Refused));
        condition.tell();
        assert_eq!(told(), 1, "nothing has changed");
        condition.disconnected(Some(TierCause::WrongPassword));
        condition.tell();
        assert_eq!(told(), 2);
    }

    #[tokio::test]
    async fn state_watch_reports_only_changes_of_the_state() {
        let condition = Condition::new();
        let mut watch = RedisStateWatch(condition.state.subscribe());
        condition.update(|facts| facts.breaker_open = true);
        condition.update(|facts| *facts = fine());
        assert_eq!(watch.changed().await, RedisState::Up);
        condition.update(|facts| facts.registered = None);
        condition.disconnected(Some(TierCause::Lost));
        assert_eq!(watch.changed().await, RedisState::Down);
        drop(condition);
        assert_eq!(watch.state(), RedisState::Down);
    }

    #[test]
    fn it_is_known_when_something_was_last_answered() {
        let condition = Condition::new();
        assert_eq!(condition.silence(), None);
        condition.answered();
        assert!(condition.silence().is_some());
    }
}
