//! How it stands with Redis, for everybody to watch.

use std::{
    fmt,
    future::pending,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::tier::RedisTier;

/// How it stands with Redis.
///
/// Nobody has to look at it: calls of cached functions are answered in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedisState {
    /// Connected, and everything works.
    Up,
    /// Connected, but not everything works. At least one of these is so:
    ///
    /// * Redis hangs or is slow, so it is not asked before a load: the breaker is open.
    /// * It refuses to write, or to answer at all (`READONLY`, `LOADING`, `MASTERDOWN`, `NOAUTH`).
    /// * It does not tell what changes: it is older than 6, the user may not use `CLIENT TRACKING`, or something in
    ///   between swallows what it tells.
    /// * This process could not register with the others, as when Redis is full: without a connection it
    ///   would have no grace.
    Degraded,
    /// Not connected, or not yet.
    Down,
}

impl fmt::Display for RedisState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        })
    }
}

/// Follows the [state](RedisState) of a tier; made by [`RedisTier::watch_state`].
#[derive(Clone, Debug)]
pub struct RedisStateWatch(watch::Receiver<RedisState>);

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

impl RedisTier {
    /// How it stands with Redis now. This asks nobody.
    pub fn state(&self) -> RedisState {
        self.way.state()
    }

    /// Follows the state.
    ///
    /// ```
    /// use cached_redis::{RedisState, RedisTier};
    ///
    /// # async fn alert(_: RedisState) {}
    /// # async fn example() -> Result<(), cached_core::Error> {
    /// let tier = RedisTier::builder("redis://127.0.0.1:6379/").build()?;
    /// let mut watch = tier.watch_state();
    /// tokio::spawn(async move {
    ///     loop {
    ///         match watch.changed().await {
    ///             RedisState::Up => println!("Redis works again"),
    ///             state => alert(state).await,
    ///         }
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_state(&self) -> RedisStateWatch {
        RedisStateWatch(self.way.watch_state())
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
    told: Told,
}

/// Who is told of each change.
#[derive(Default)]
struct Told(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Told").field(&self.0.get().is_some()).finish()
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// Whether the connection tells what changes; `None` without a connection.
    pub(crate) tracking: Option<bool>,
    pub(crate) breaker_open: bool,
    pub(crate) refusing: bool,
    /// `None` if there is nobody to register with.
    pub(crate) registered: Option<bool>,
}

impl Facts {
    fn state(self) -> RedisState {
        let Self { tracking, breaker_open, refusing, registered } = self;
        match tracking {
            None => RedisState::Down,
            Some(true) if !breaker_open && !refusing && registered != Some(false) => RedisState::Up,
            Some(_) => RedisState::Degraded,
        }
    }
}

impl Condition {
    pub(crate) fn new() -> Self {
        Self {
            facts: Mutex::default(),
            state: watch::Sender::new(RedisState::Down),
            connections: AtomicU64::new(0),
            began: Instant::now(),
            answered: AtomicU64::new(0),
            told: Told::default(),
        }
    }

    /// Has `tell` called after each change. Once.
    #[cfg(feature = "cluster")]
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
        *self.lock()
    }

    /// Something is otherwise now, or may be.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.lock();
        change(&mut facts);
        let now = facts.state();
        // Under the lock, so that the last one to change something is the last one to tell.
        let has_changed = self.state.send_if_modified(|state| std::mem::replace(state, now) != now);
        drop(facts);
        if let Some(tell) = self.told.0.get().filter(|_| has_changed) {
            tell();
        }
    }

    /// A connection serves.
    pub(crate) fn connected(&self, is_tracking: bool) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.update(|facts| facts.tracking = Some(is_tracking));
    }

    /// None does.
    pub(crate) fn disconnected(&self) {
        self.update(|facts| facts.tracking = None);
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

    const FINE: Facts =
        Facts { tracking: Some(true), breaker_open: false, refusing: false, registered: Some(true) };

    #[test]
    fn everything_must_work_for_it_to_be_up() {
        assert_eq!(FINE.state(), RedisState::Up);
        assert_eq!(Facts { registered: None, ..FINE }.state(), RedisState::Up);
        for facts in [
            Facts { breaker_open: true, ..FINE },
            Facts { refusing: true, ..FINE },
            Facts { tracking: Some(false), ..FINE },
            Facts { registered: Some(false), ..FINE },
        ] {
            assert_eq!(facts.state(), RedisState::Degraded, "{facts:?}");
            assert_eq!(Facts { tracking: None, ..facts }.state(), RedisState::Down);
        }
    }

    #[tokio::test]
    async fn a_watch_hears_of_changes_and_of_nothing_else() {
        let condition = Condition::new();
        let mut watch = RedisStateWatch(condition.state.subscribe());
        condition.update(|facts| facts.breaker_open = true);
        condition.update(|facts| *facts = FINE);
        assert_eq!(watch.changed().await, RedisState::Up);
        condition.update(|facts| facts.registered = None);
        condition.disconnected();
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
