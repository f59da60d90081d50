//! Test support: a movable clock, a shared tier in memory, and counted loads.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! # extern crate cached_core as cached_aside;
//! use cached_aside::{Cache, testing::{CountedLoad, FakeTier, ManualClock}};
//!
//! let clock = ManualClock::new();
//! let cache = Cache::builder().tier(FakeTier::new(&clock)).clock(clock.clock()).build()?;
//! let users = cache.keyspace::<u64, String>("user", Duration::from_secs(60))?;
//!
//! let load = CountedLoad::new("Ada".to_owned());
//! users.get_or_load(&7, || load.run()).await?;
//! users.get_or_load(&7, || load.run()).await?;
//! assert_eq!(load.runs(), 1);
//!
//! clock.advance(Duration::from_secs(60));
//! users.get_or_load(&7, || load.run()).await?;
//! assert_eq!(load.runs(), 2);
//! # Ok(()) }
//! ```

mod fake;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use fake::FakeTier;

use crate::base::clock::{Clock, Manual};

/// Clock that stands still until a test moves it. Clones are the same clock.
///
/// The clock decides whether a value is fresh, and when `load_timeout` and `soft_timeout` are over:
/// [`advance`](Self::advance) wakes the calls that wait for these. The time that a call waits for a real
/// shared tier is measured by the machine's clock. The paused time of tokio's tests moves neither.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<Manual>);

impl ManualClock {
    /// Creates a clock at its initial time.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the clock for [`CacheBuilder::clock`](crate::CacheBuilder::clock).
    pub fn clock(&self) -> Clock {
        Clock::manual(self.0.clone())
    }

    /// Moves the time forward, for every cache with this clock.
    pub fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

/// Machine's clock with a wall time that tests can step. Clones are the same clock.
///
/// Only the wall time is wrong. The monotonic clock, on which freshness is decided, runs as usual.
///
/// ```
/// # fn main() -> Result<(), cached_core::Error> {
/// # extern crate cached_core as cached_aside;
/// use cached_aside::{Cache, testing::WrongClock};
///
/// let clock = WrongClock::new();
/// let cache = Cache::builder().clock(clock.clock()).build()?;
/// clock.step(-3_600_000); // as at the end of a summer
/// # drop(cache);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct WrongClock(Arc<AtomicI64>);

impl WrongClock {
    /// Creates a clock that is right until it steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the clock for [`CacheBuilder::clock`](crate::CacheBuilder::clock).
    pub fn clock(&self) -> Clock {
        Clock::wrong(self.0.clone())
    }

    /// Steps the wall clock forward by `millis` milliseconds, or back if negative.
    ///
    /// The step applies to every cache with this clock.
    pub fn step(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

/// Load that always returns the same value, and counts its runs.
#[derive(Debug, Default)]
pub struct CountedLoad<V> {
    value: V,
    runs: AtomicUsize,
}

impl<V: Clone> CountedLoad<V> {
    /// Creates a load of `value` that has not run yet.
    pub fn new(value: V) -> Self {
        Self { value, runs: AtomicUsize::new(0) }
    }

    /// Runs the load.
    ///
    /// # Errors
    /// Never.
    pub async fn run(&self) -> Result<V, Infallible> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        Ok(self.value.clone())
    }

    /// Returns the number of runs.
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }
}
