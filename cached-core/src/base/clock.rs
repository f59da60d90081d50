//! Time, injectable.

use std::{
    fmt,
    future::{Future, poll_fn},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_timer::Delay;

use crate::base::race::{Either, either};

/// Where a cache reads the time from: the machine, or a [`ManualClock`](crate::testing::ManualClock) or a
/// [`WrongClock`](crate::testing::WrongClock) in tests.
///
/// Freshness is decided on a monotonic clock, so a step of the wall clock neither revives nor kills an entry. The
/// wall clock only dates the values that go to the shared tier.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    /// The same, on a machine that has a coarse clock as well.
    Coarse(Coarse),
    Manual(Arc<Manual>),
    /// The machine's, with a wall clock that is wrong by so many milliseconds.
    Wrong(Arc<AtomicI64>),
}

/// Time that stands still until it is told to move.
#[derive(Debug, Default)]
pub(crate) struct Manual {
    elapsed: AtomicU64,
    /// Those who wait for a moment.
    waiting: Mutex<Vec<Waker>>,
}

impl Manual {
    pub(crate) fn advance(&self, by: Duration) {
        self.elapsed.fetch_add(nanos(by), Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }

    fn now(&self) -> Nanos {
        ORIGIN + self.elapsed.load(Ordering::Relaxed)
    }

    async fn until(&self, moment: Nanos) {
        poll_fn(|cx| {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // Under the lock, or a move of the time in between would wake nobody.
            if self.now() >= moment {
                return Poll::Ready(());
            }
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Nanoseconds on the monotonic clock. They start above zero, so that zero can mean "never".
pub(crate) type Nanos = u64;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

const ORIGIN: Nanos = 1_000_000_000;
const MANUAL_EPOCH_MS: u64 = 1_700_000_000_000;

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        LazyLock::force(&START);
        Self(Coarse::new().map_or(Source::System, Source::Coarse))
    }

    /// A moment on the machine's monotonic clock. All caches of a process count from one start.
    #[inline]
    pub(crate) fn system_nanos(moment: Instant) -> Nanos {
        ORIGIN + nanos(moment.saturating_duration_since(*START))
    }

    pub(crate) fn manual(time: Arc<Manual>) -> Self {
        Self(Source::Manual(time))
    }

    /// Waits until this moment has come. Not with the runtime's timer: there may be no runtime, or one without.
    pub(crate) async fn until(&self, moment: Nanos) {
        /// The most that is slept at once: more might be too long for the timer.
        const LONGEST: Duration = Duration::from_secs(60 * 60);
        match &self.0 {
            Source::System | Source::Coarse(_) | Source::Wrong(_) => {
                while let left @ 1.. = moment.saturating_sub(self.now()) {
                    Delay::new(Duration::from_nanos(left).min(LONGEST)).await;
                }
            }
            Source::Manual(time) => time.until(moment).await,
        }
    }

    /// `None` if it takes longer, by this clock.
    pub(crate) async fn within<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.by(self.now().saturating_add(nanos(limit)), future).await
    }

    /// `None` if it is not over when this moment comes.
    pub(crate) async fn by<T>(&self, moment: Nanos, future: impl Future<Output = T>) -> Option<T> {
        match either(future, self.until(moment)).await {
            Either::Left(value) => Some(value),
            Either::Right(()) => None,
        }
    }

    pub(crate) fn wrong(ahead_ms: Arc<AtomicI64>) -> Self {
        LazyLock::force(&START);
        Self(Source::Wrong(ahead_ms))
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        match &self.0 {
            Source::System | Source::Coarse(_) | Source::Wrong(_) => Self::system_nanos(Instant::now()),
            Source::Manual(time) => time.now(),
        }
    }

    /// No earlier than now, and only a little later: for asking cheaply whether something is still to come.
    #[allow(clippy::inline_always, reason = "a call would take longer than what it does")]
    #[inline(always)]
    pub(crate) fn soon(&self) -> Nanos {
        match &self.0 {
            Source::Coarse(coarse) => coarse.soon(),
            _ => self.now_exactly(),
        }
    }

    /// As [`now`](Self::now), where it is seldom asked for.
    #[cold]
    pub(crate) fn now_exactly(&self) -> Nanos {
        self.now()
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(&self) -> u64 {
        match &self.0 {
            Source::System | Source::Coarse(_) => system_wall_ms(),
            Source::Wrong(ahead_ms) => {
                system_wall_ms().saturating_add_signed(ahead_ms.load(Ordering::Relaxed))
            }
            Source::Manual(time) => MANUAL_EPOCH_MS + (time.now() - ORIGIN) / 1_000_000,
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System | Source::Coarse(_) => "Clock(system)",
            Source::Manual(_) => "Clock(manual)",
            Source::Wrong(_) => "Clock(wrong)",
        })
    }
}

/// A clock that moves in steps of some milliseconds, and costs a sixth of an exact one.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy)]
struct Coarse {
    start: coarsetime::Instant,
    /// What its reading since then lacks to a moment that is not before now.
    ahead: u64,
}

#[cfg(target_os = "linux")]
impl Coarse {
    #[allow(clippy::unnecessary_wraps, reason = "other systems have none")]
    fn new() -> Option<Self> {
        /// It lags by one step of at most 10 ms, and by more when the processor that moves it is held up.
        const LAG: u64 = 40_000_000;

        static NEW: LazyLock<Coarse> = LazyLock::new(|| {
            // In this order: what it shows is then no later than the start.
            let start = coarsetime::Instant::now_without_cache_update();
            Coarse { start, ahead: Clock::system_nanos(Instant::now()) + LAG }
        });
        Some(*NEW)
    }

    #[inline]
    fn soon(self) -> Nanos {
        let now = coarsetime::Instant::now_without_cache_update();
        now.duration_since(self.start).as_nanos() + self.ahead
    }
}

/// Elsewhere there is none.
#[cfg(not(target_os = "linux"))]
#[derive(Clone, Copy)]
enum Coarse {}

#[cfg(not(target_os = "linux"))]
impl Coarse {
    fn new() -> Option<Self> {
        None
    }

    fn soon(self) -> Nanos {
        match self {}
    }
}

fn system_wall_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// Saturates after 584 years.
#[allow(clippy::cast_possible_truncation, reason = "not of what fits")]
pub(crate) const fn nanos(duration: Duration) -> Nanos {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soon_is_not_before_now_and_a_little_later() {
        let clock = Clock::system();
        let (start, mut least) = (Instant::now(), u64::MAX);
        while start.elapsed() < Duration::from_millis(200) {
            let now = clock.now();
            let soon = clock.soon();
            assert!(soon >= now, "{} ns too early", now - soon);
            least = least.min(soon - now);
        }
        assert!(least < 1_000_000_000, "{least}");
    }
}
