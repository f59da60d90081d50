//! Injectable time source: the machine's clocks, or the clocks of tests.

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

/// Source of time of a cache: the machine's clocks, or a clock for tests.
///
/// Tests use a [`ManualClock`](crate::testing::ManualClock) or a [`WrongClock`](crate::testing::WrongClock).
///
/// Freshness is decided on a monotonic clock, so a step of the wall clock neither revives nor expires an
/// entry. The wall clock only dates the values that go to the shared tier.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    /// The machine's clocks, on a system that has a coarse clock as well.
    Coarse(Coarse),
    Manual(Arc<Manual>),
    /// The machine's clocks, with a wall clock that is wrong by this many milliseconds: ahead if positive.
    Wrong(Arc<AtomicI64>),
}

/// Clock that stands still until `advance` moves it.
#[derive(Debug, Default)]
pub(crate) struct Manual {
    elapsed: AtomicU64,
    /// Wakers of the tasks that wait for a later time.
    wakers: Mutex<Vec<Waker>>,
}

impl Manual {
    pub(crate) fn advance(&self, by: Duration) {
        self.elapsed.fetch_add(nanos(by), Ordering::Relaxed);
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }

    fn now(&self) -> Nanos {
        ORIGIN + self.elapsed.load(Ordering::Relaxed)
    }

    async fn sleep_until(&self, moment: Nanos) {
        poll_fn(|cx| {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            // Check under the lock: an `advance` between the check and the push would not wake this task.
            if self.now() >= moment {
                return Poll::Ready(());
            }
            if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
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

/// Greatest time by which [`Clock::now_upper_bound`] is ahead of the exact clock.
///
/// One step of the coarse clock is at most 10 ms. It lags more when the processor that advances it is held up.
const MAX_LEAD: Nanos = 40_000_000;

const MANUAL_EPOCH_MS: u64 = 1_700_000_000_000;

impl Clock {
    /// Returns the machine's clocks.
    pub fn system() -> Self {
        LazyLock::force(&START);
        Self(Coarse::new().map_or(Source::System, Source::Coarse))
    }

    /// Converts a point on the machine's monotonic clock. All caches of a process share one origin.
    #[inline]
    pub(crate) fn system_nanos(moment: Instant) -> Nanos {
        ORIGIN + nanos(moment.saturating_duration_since(*START))
    }

    pub(crate) fn manual(time: Arc<Manual>) -> Self {
        Self(Source::Manual(time))
    }

    /// Waits until `moment`.
    ///
    /// The timer is not that of the runtime: there may be no runtime, or one without a timer.
    pub(crate) async fn sleep_until(&self, moment: Nanos) {
        /// Longest single sleep: a longer one might exceed the range of the timer.
        const MAX_SLEEP: Duration = Duration::from_secs(60 * 60);
        match &self.0 {
            Source::System | Source::Coarse(_) | Source::Wrong(_) => {
                while let left @ 1.. = moment.saturating_sub(self.now()) {
                    Delay::new(Duration::from_nanos(left).min(MAX_SLEEP)).await;
                }
            }
            Source::Manual(time) => time.sleep_until(moment).await,
        }
    }

    /// Awaits `future` for at most `limit`, by this clock. Returns `None` if it takes longer.
    pub(crate) async fn within<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.timeout_at(self.now().saturating_add(nanos(limit)), future).await
    }

    /// Awaits `future` until `moment`, by this clock. Returns `None` if it takes longer.
    pub(crate) async fn timeout_at<T>(&self, moment: Nanos, future: impl Future<Output = T>) -> Option<T> {
        match either(future, self.sleep_until(moment)).await {
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

    /// Returns an upper bound of the current time that is cheap to read.
    ///
    /// The result is never before now, and only a little after it. So a comparison with a later time never
    /// finds that time still to come when it has passed.
    #[allow(clippy::inline_always, reason = "a call would cost more than the body")]
    #[inline(always)]
    pub(crate) fn now_upper_bound(&self) -> Nanos {
        match &self.0 {
            Source::Coarse(coarse) => coarse.now_upper_bound(),
            _ => self.now_exactly(),
        }
    }

    /// Reads [`now`](Self::now) out of line, for callers that seldom need it.
    #[cold]
    pub(crate) fn now_exactly(&self) -> Nanos {
        self.now()
    }

    /// Returns the milliseconds since the Unix epoch.
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

/// Clock with a resolution of some milliseconds, which costs a sixth of an exact one.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy)]
struct Coarse {
    start: coarsetime::Instant,
    /// Offset that turns the coarse time elapsed since `start` into a time that is not before now.
    offset: u64,
}

#[cfg(target_os = "linux")]
impl Coarse {
    #[allow(clippy::unnecessary_wraps, reason = "other systems have no coarse clock")]
    fn new() -> Option<Self> {
        static COARSE: LazyLock<Coarse> = LazyLock::new(|| {
            // The coarse clock is read first, so that its reading is no later than the exact one: `now_upper_bound`
            // cannot fall behind `now`.
            let start = coarsetime::Instant::now_without_cache_update();
            Coarse { start, offset: Clock::system_nanos(Instant::now()) + MAX_LEAD }
        });
        Some(*COARSE)
    }

    #[inline]
    fn now_upper_bound(self) -> Nanos {
        let now = coarsetime::Instant::now_without_cache_update();
        now.duration_since(self.start).as_nanos() + self.offset
    }
}

/// Uninhabited: other systems have no coarse clock.
#[cfg(not(target_os = "linux"))]
#[derive(Clone, Copy)]
enum Coarse {}

#[cfg(not(target_os = "linux"))]
impl Coarse {
    fn new() -> Option<Self> {
        None
    }

    fn now_upper_bound(self) -> Nanos {
        match self {}
    }
}

fn system_wall_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// Returns the duration in nanoseconds, which saturates after 584 years.
#[allow(clippy::cast_possible_truncation, reason = "the cast value fits")]
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
    fn upper_bound_of_now_is_never_before_now_and_close_to_it() {
        let clock = Clock::system();
        let (start, mut min_lead) = (Instant::now(), u64::MAX);
        while start.elapsed() < Duration::from_millis(200) {
            let now = clock.now();
            let upper_bound = clock.now_upper_bound();
            assert!(upper_bound >= now, "{} ns too early", now - upper_bound);
            min_lead = min_lead.min(upper_bound - now);
        }
        assert!(min_lead < 1_000_000_000, "{min_lead}");
    }
}
