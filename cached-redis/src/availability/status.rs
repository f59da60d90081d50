//! State of the connection, observable by the application.
//!
//! `Condition` keeps the facts under a lock and derives the state from them. The state is published under
//! that lock, so the last change is the last one published. The change listener may query the tier, so it is
//! called after all locks are released: methods that callers use under a lock (`update_deferred`,
//! `record_connection`, `record_disconnection`) only mark the change, and `notify` notifies the listener.

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
    last_reply: AtomicU64,
    /// Duration of the last heartbeat, in microseconds plus one; 0 if there was none.
    round_trip: AtomicU64,
    callback: ChangeCallback,
    /// Copy of [`Facts::runs_no_scripts`] that is read without the lock.
    runs_no_scripts: AtomicBool,
    /// Set if the listener was not yet notified of a change.
    has_pending_change: AtomicBool,
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
#[allow(clippy::struct_excessive_bools, reason = "the flags are independent")]
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
    pub(crate) untracked: Option<TierCause>,
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
            RedisState::Degraded if self.tracking == Some(false) => why.untracked.clone(),
            RedisState::Degraded => why.unregistered.clone(),
        }
    }

    fn state_and_cause(&self) -> (RedisState, Option<TierCause>) {
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
            last_reply: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            callback: ChangeCallback::default(),
            runs_no_scripts: AtomicBool::new(false),
            has_pending_change: AtomicBool::new(false),
        }
    }

    /// Sets the listener for changes of the state or of its cause.
    ///
    /// Only the first call has an effect.
    pub(crate) fn on_change(&self, callback: impl Fn() + Send + Sync + 'static) {
        let _ = self.callback.0.set(Box::new(callback));
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
        self.update_deferred(change);
        self.notify();
    }

    /// Changes the facts as [`update`](Self::update) does, for a caller that holds a lock.
    ///
    /// The caller calls [`notify`](Self::notify) when it has released the lock.
    fn update_deferred(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.lock();
        let before = facts.state_and_cause();
        change(&mut facts);
        self.runs_no_scripts.store(facts.runs_no_scripts, Ordering::Release);
        let now = facts.state_and_cause();
        if before == now {
            return;
        }
        self.has_pending_change.store(true, Ordering::Release);
        // Under the lock, so that the last change is also the last one published.
        self.state.send_if_modified(|state| std::mem::replace(state, now.0) != now.0);
    }

    /// Notifies the listener of pending changes.
    ///
    /// The caller holds no lock, as the listener may query the tier.
    pub(crate) fn notify(&self) {
        if self.has_pending_change.swap(false, Ordering::AcqRel)
            && let Some(callback) = self.callback.0.get()
        {
            callback();
        }
    }

    /// Records a new connection. `untracked` is the reason if the server pushes no changes over it.
    pub(crate) fn record_connection(&self, untracked: Option<TierCause>) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.update_deferred(|facts| {
            facts.tracking = Some(untracked.is_none());
            (facts.is_tried, facts.why.moved) = (true, false);
            (facts.why.untracked, facts.why.down) = (untracked, None);
        });
    }

    /// Records that there is no connection, for this reason if there is a new one.
    pub(crate) fn record_disconnection(&self, cause: Option<TierCause>) {
        self.update_deferred(|facts| {
            facts.tracking = None;
            facts.is_tried |= cause.is_some();
            if cause.is_some() {
                facts.why.down = cause;
            }
        });
    }

    /// Records the duration of a heartbeat.
    pub(crate) fn record_round_trip(&self, took: Duration) {
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
    pub(crate) fn record_reply(&self) {
        self.record_reply_at(Instant::now());
    }

    pub(crate) fn record_reply_at(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.began).as_millis();
        let millis = u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1);
        // Skip the store within the same millisecond, so that threads do not contend for the cache line.
        if self.last_reply.load(Ordering::Relaxed) != millis {
            self.last_reply.store(millis, Ordering::Relaxed);
        }
    }

    /// Returns the time since the last reply.
    pub(crate) fn time_since_reply(&self) -> Option<Duration> {
        let last_reply = self.last_reply.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_millis(last_reply)))
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy_facts() -> Facts {
        Facts { tracking: Some(true), registered: Some(true), is_tried: true, ..Facts::default() }
    }

    #[test]
    fn state_is_up_only_if_everything_works() {
        assert_eq!(healthy_facts().state(), RedisState::Up);
        assert_eq!(Facts { registered: None, ..healthy_facts() }.state(), RedisState::Up);
        for facts in [
            Facts { breaker_open: true, ..healthy_facts() },
            Facts { refusing: true, ..healthy_facts() },
            Facts { why: Why { moved: true, ..Why::default() }, ..healthy_facts() },
            Facts { tracking: Some(false), ..healthy_facts() },
            Facts { registered: Some(false), ..healthy_facts() },
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
        condition.record_disconnection(None);
        assert_eq!((condition.state(), condition.is_untried()), (RedisState::Untried, true));
        condition.record_disconnection(Some(TierCause::Refused));
        assert_eq!((condition.state(), condition.is_untried()), (RedisState::Down, false));
        // The next supervisor starts.
        condition.record_disconnection(None);
        assert_eq!(condition.facts().cause(), Some(TierCause::Refused));
        condition.record_connection(None);
        assert_eq!((condition.state(), condition.facts().cause()), (RedisState::Up, None));
    }

    #[test]
    fn most_severe_cause_is_reported() {
        let why = Why {
            down: Some(TierCause::Refused),
            untracked: Some(TierCause::NoResp3),
            refusing: Some(TierCause::ReadOnly),
            unregistered: Some(TierCause::Full),
            moved: true,
        };
        let mut facts = Facts { why, tracking: Some(false), registered: Some(false), ..healthy_facts() };
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
    fn state_change_and_new_cause_are_each_notified_once() {
        use std::sync::{Arc, atomic::AtomicUsize};

        let (condition, calls) = (Condition::new(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&calls);
        condition.on_change(move || _ = count.fetch_add(1, Ordering::SeqCst));
        let call_count = || calls.load(Ordering::SeqCst);
        condition.record_disconnection(Some(TierCause::Refused));
        assert_eq!(call_count(), 0, "not under a lock");
        condition.notify();
        condition.notify();
        assert_eq!(call_count(), 1);
        condition.record_disconnection(Some(TierCause::Refused));
        condition.notify();
        assert_eq!(call_count(), 1, "nothing has changed");
        condition.record_disconnection(Some(TierCause::WrongPassword));
        condition.notify();
        assert_eq!(call_count(), 2);
    }

    #[tokio::test]
    async fn state_watch_reports_only_changes_of_the_state() {
        let condition = Condition::new();
        let mut watch = RedisStateWatch(condition.state.subscribe());
        condition.update(|facts| facts.breaker_open = true);
        condition.update(|facts| *facts = healthy_facts());
        assert_eq!(watch.changed().await, RedisState::Up);
        condition.update(|facts| facts.registered = None);
        condition.record_disconnection(Some(TierCause::Lost));
        assert_eq!(watch.changed().await, RedisState::Down);
        drop(condition);
        assert_eq!(watch.state(), RedisState::Down);
    }

    #[test]
    fn reply_sets_time_since_last_reply() {
        let condition = Condition::new();
        assert_eq!(condition.time_since_reply(), None);
        condition.record_reply();
        assert!(condition.time_since_reply().is_some());
    }
}
