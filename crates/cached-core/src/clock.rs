//! Time, injectable.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

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
    Manual(Arc<AtomicU64>),
    /// The machine's, with a wall clock that is wrong by so many milliseconds.
    Wrong(Arc<AtomicI64>),
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
        Self(Source::System)
    }

    /// A moment on the machine's monotonic clock. All caches of a process count from one start.
    #[inline]
    pub(crate) fn system_nanos(moment: Instant) -> Nanos {
        ORIGIN + nanos(moment.saturating_duration_since(*START))
    }

    pub(crate) fn manual(elapsed: Arc<AtomicU64>) -> Self {
        Self(Source::Manual(elapsed))
    }

    pub(crate) fn wrong(ahead_ms: Arc<AtomicI64>) -> Self {
        LazyLock::force(&START);
        Self(Source::Wrong(ahead_ms))
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        match &self.0 {
            Source::System | Source::Wrong(_) => Self::system_nanos(Instant::now()),
            Source::Manual(elapsed) => ORIGIN + elapsed.load(Ordering::Relaxed),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(&self) -> u64 {
        match &self.0 {
            Source::System => system_wall_ms(),
            Source::Wrong(ahead_ms) => {
                system_wall_ms().saturating_add_signed(ahead_ms.load(Ordering::Relaxed))
            }
            Source::Manual(elapsed) => MANUAL_EPOCH_MS + elapsed.load(Ordering::Relaxed) / 1_000_000,
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock(system)",
            Source::Manual(_) => "Clock(manual)",
            Source::Wrong(_) => "Clock(wrong)",
        })
    }
}

fn system_wall_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// Saturates after 584 years.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
