//! How it stands with Redis, for everybody to watch.

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

/// How it stands with Redis.
///
/// Nobody has to look at it: calls of cached functions are answered in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedisState {
    /// Not known yet: nothing was asked, or the first attempt to connect has not ended.
    Untried,
    /// Connected, and everything works.
    Up,
    /// Connected, but not everything works. At least one of these is so:
    ///
    /// * Redis hangs or is slow, so it is not asked before a load: the breaker is open.
    /// * It refuses to write, or to answer at all (`READONLY`, `LOADING`, `MASTERDOWN`, `NOAUTH`), or has not all of the keys
    ///   (`MOVED`).
    /// * It does not tell what changes: it is older than 6, the user may not use `CLIENT TRACKING`, or something in
    ///   between swallows what it tells.
    /// * This process could not register with the others, as when Redis is full: without a connection it
    ///   would have no grace.
    /// * No script runs: the user may not use `EVALSHA`, or the server is too old. Nothing can be stored, so it is not asked.
    Degraded,
    /// Not connected. [`RedisHealth::cause`](crate::RedisHealth) says why, in this state and in the one before.
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

/// Follows the [state](RedisState) of a tier; made by [`RedisTier::watch_state`](crate::RedisTier::watch_state).
#[derive(Clone, Debug)]
pub struct RedisStateWatch(pub(crate) watch::Receiver<RedisState>);

impl RedisStateWatch {
    /// The state now.
    pub fn state(&self) -> RedisState {
        *self.0.borrow()
    }

    /// Waits until the state has changed since the last time that this returned, or since the watch was made, and
    /// returns the one that there is then. It may be dropped while it waits, and nothing is missed; but of several
    /// changes in between, only the last one is told.
    ///
    /// When the tier is gone, it is [`Down`](RedisState::Down), and this does not return any more.
    pub async fn changed(&mut self) -> RedisState {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            Err(_) => pending().await,
        }
    }
}

/// What makes up the state.
#[derive(Debug)]
pub(crate) struct Condition {
    facts: Mutex<Facts>,
    state: watch::Sender<RedisState>,
    connections: AtomicU64,
    began: Instant,
    /// When something was last answered, in milliseconds after `began` and one more; 0 if nothing was.
    answered: AtomicU64,
    /// How long the last heartbeat took, in microseconds and one more; 0 if there was none.
    round_trip: AtomicU64,
    told: Told,
    /// See [`Facts::runs_no_scripts`], for those who only want to know that.
    runs_no_scripts: AtomicBool,
    /// Something has changed, and nothing was told of it.
    is_untold: AtomicBool,
}

/// Who is told of each change.
#[derive(Default)]
struct Told(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Told").field(&self.0.get().is_some()).finish()
    }
}

#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Facts {
    /// Whether the connection tells what changes; `None` without a connection.
    pub(crate) tracking: Option<bool>,
    pub(crate) breaker_open: bool,
    pub(crate) refusing: bool,
    /// `None` if there is nobody to register with.
    pub(crate) registered: Option<bool>,
    /// No script runs, so that this process can store nothing.
    pub(crate) runs_no_scripts: bool,
    /// Whether an attempt to connect has ended.
    pub(crate) is_tried: bool,
    pub(crate) why: Why,
}

/// Why something is not as it should be; the last word on each of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Why {
    /// There is no connection.
    pub(crate) down: Option<TierCause>,
    /// Some keys are another server's, and this one was to be used as one that is alone.
    pub(crate) moved: bool,
    /// It does not tell what changes.
    pub(crate) deaf: Option<TierCause>,
    /// The server refuses.
    pub(crate) refusing: Option<TierCause>,
    /// This process is not registered with the others.
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

    /// Why it is not up: what weighs most, if it is several things.
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
            told: Told::default(),
            runs_no_scripts: AtomicBool::new(false),
            is_untold: AtomicBool::new(false),
        }
    }

    /// Has `tell` called after each change of the state or of its cause. Once.
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

    /// Whether this process can store nothing, as no script runs.
    pub(crate) fn runs_no_scripts(&self) -> bool {
        self.runs_no_scripts.load(Ordering::Acquire)
    }

    /// Whether no attempt to connect has ended yet.
    pub(crate) fn is_untried(&self) -> bool {
        !self.lock().is_tried
    }

    /// Something is otherwise now, or may be.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Facts)) {
        self.change(change);
        self.tell();
    }

    /// As [`update`](Self::update), for a caller that holds a lock and calls [`tell`](Self::tell) when it is free.
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
        // Under the lock, so that the last one to change something is the last one to tell.
        self.state.send_if_modified(|state| std::mem::replace(state, now.0) != now.0);
    }

    /// Tells of changes that nothing was told of. The caller holds no lock, as what is told may ask anything.
    pub(crate) fn tell(&self) {
        if self.is_untold.swap(false, Ordering::AcqRel)
            && let Some(tell) = self.told.0.get()
        {
            tell();
        }
    }

    /// A connection serves; over which nothing is told of changes, if there is a cause for that.
    pub(crate) fn connected(&self, deaf: Option<TierCause>) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.change(|facts| {
            facts.tracking = Some(deaf.is_none());
            (facts.is_tried, facts.why.moved) = (true, false);
            (facts.why.deaf, facts.why.down) = (deaf, None);
        });
    }

    /// None does, for this reason if there is a new one.
    pub(crate) fn disconnected(&self, cause: Option<TierCause>) {
        self.change(|facts| {
            facts.tracking = None;
            facts.is_tried |= cause.is_some();
            if cause.is_some() {
                facts.why.down = cause;
            }
        });
    }

    /// A heartbeat has taken so long.
    pub(crate) fn round_trip(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        self.round_trip.store(micros, Ordering::Relaxed);
    }

    /// How long the last one took.
    pub(crate) fn last_round_trip(&self) -> Option<Duration> {
        self.round_trip.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    /// How many connections have served.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The server has said something.
    pub(crate) fn answered(&self) {
        self.answered_at(Instant::now());
    }

    pub(crate) fn answered_at(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.began).as_millis();
        let said = u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1);
        // Threads that hear answers at the same time do not take each other the cache line for nothing.
        if self.answered.load(Ordering::Relaxed) != said {
            self.answered.store(said, Ordering::Relaxed);
        }
    }

    /// How long ago that was.
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
    fn what_was_not_tried_is_neither_up_nor_down() {
        let condition = Condition::new();
        assert_eq!((condition.state(), condition.facts().cause()), (RedisState::Untried, None));
        // A supervisor begins.
        condition.disconnected(None);
        assert_eq!((condition.state(), condition.is_untried()), (RedisState::Untried, true));
        condition.disconnected(Some(TierCause::Refused));
        assert_eq!((condition.state(), condition.is_untried()), (RedisState::Down, false));
        // The next one does.
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
    fn a_change_is_told_once_and_so_is_another_cause() {
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
    async fn a_watch_hears_of_changes_and_of_nothing_else() {
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
