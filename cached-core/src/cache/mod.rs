//! The cache: L1, L2, the flights between them, and the mode that turns tiers off.
//!
//! `Cache` is a handle to shared state, and offers the operations that concern the whole cache. The files of
//! this module add groups of methods to it:
//!
//! * `builder`, `assemble`, `close`: the life of a cache.
//! * `mode`: the tiers that take part.
//! * `hit`, `lookup`: the two looks into L1.
//! * `names`: the name of a key in L2.
//! * `invalidation`: the removal of values from all tiers. `reap` frees the memory of invalidated entries.
//! * `counters`: atomic counters with an expiry.
//! * `report`, `health`, `metrics`: counts, events, and the state for operators.
//!
//! A hit takes one of two paths, `hit` and `lookup`. `hit` is the fast path of a plain call: the thread cache
//! first, and then L1. `lookup` judges one entry of L1 in full: fresh, due, to be checked with L2, or absent.
//! Everything after that is in `call`, where `call/mod.rs` has the order of the steps.

mod assemble;
pub(crate) mod builder;
pub(crate) mod close;
pub(crate) mod counters;
pub(crate) mod health;
mod hit;
pub(crate) mod invalidation;
mod lookup;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
mod mode;
mod names;
pub(crate) mod reap;
mod report;

use std::{
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8},
    },
};

pub use self::mode::Mode;
pub(crate) use self::{hit::Absent, lookup::L1Lookup};
use crate::{
    base::clock::Clock,
    coherence::staleness::Staleness,
    error::Error,
    flight::{Flights, permits::LoadPermits},
    l1::{counters::LocalCounters, store::L1},
    l2::{replay, shared::Shared},
    telemetry::{event::SharedObservers, functions::FunctionRegistry},
    tier::{Tier, cause::TierCause},
};

/// A cache: an in-process tier, and a shared tier behind it if one is configured.
///
/// A process that forks after it has used a cache must not use any cache in the child. The runtime and the
/// timers of its threads are gone there, and both processes might draw the same tokens for their loads. Fork
/// first, or start a new program.
///
/// Cloning is cheap and gives another handle to the same cache. Functions under `#[cached]` use the process
/// default unless they name another one with `cache = …`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_core::Error> {
/// # extern crate cached_core as cached_aside;
/// use cached_aside::Cache;
///
/// let cache = Cache::builder().namespace("shop").l1_max_bytes(16 << 20).build()?;
/// let prices = cache.keyspace::<str, u64>("price", std::time::Duration::from_secs(60))?;
/// prices.set("tea", 450).await?;
/// assert_eq!(prices.get("tea").await, Some(450));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

/// Handle that does not keep the cache alive.
#[derive(Clone)]
pub(crate) struct WeakCache(Weak<Inner>);

impl WeakCache {
    pub(crate) fn upgrade(&self) -> Option<Cache> {
        self.0.upgrade().map(Cache)
    }
}

struct Inner {
    l1: L1,
    clock: Clock,
    flights: Arc<Flights>,
    shared: Arc<Shared>,
    staleness: Staleness,
    observers: SharedObservers,
    functions: Arc<FunctionRegistry>,
    local_counters: LocalCounters,
    permits: LoadPermits,
    mode: AtomicU8,
    /// True after a close, which is final.
    is_closed: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.l1.hot_keys().wake();
    }
}

static DEFAULT: OnceLock<Cache> = OnceLock::new();

impl Cache {
    /// Makes this cache the process default.
    ///
    /// Call it before anything else in `main`.
    ///
    /// # Errors
    /// [`is_installed`](Error::is_installed) if there is a default already: one that was installed before, or
    /// one that an earlier call of a cached function has created.
    pub fn install(self) -> Result<(), Error> {
        DEFAULT.set(self).map_err(|_| Error::installed())
    }

    /// Returns the process default, which `init` creates if there is none.
    #[inline]
    pub fn default_or(init: fn() -> Self) -> &'static Self {
        DEFAULT.get_or_init(init)
    }

    /// Makes the shared tier connect, and waits for the outcome of its first attempt.
    ///
    /// The wait is no longer than the tier allows for one attempt (its connect timeout: 1 s by default for
    /// Redis). If the outcome is known, or if there is no shared tier, it returns at once.
    ///
    /// Calls wait for the first attempt by themselves, so a program need not call this. It serves to check
    /// the configuration at start. A tier that is connected may still work in part only: see
    /// [`health`](Self::health).
    ///
    /// ```no_run
    /// # extern crate cached_core as cached_aside;
    /// # async fn at_the_start(cache: &cached_aside::Cache) {
    /// if let Err(cause) = cache.connected().await {
    ///     eprintln!("values are not shared for now: {cause}");
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The cause for which there is no connection.
    pub async fn connected(&self) -> Result<(), TierCause> {
        self.shared().tier.connected().await
    }

    /// Removes everything from the in-process tier of this cache. The shared tier keeps its values.
    pub fn clear_local(&self) {
        self.0.flights.supersede_all(|| self.0.l1.clear());
    }

    /// Removes the values from the in-process tier of this cache that are past their ttl and their `stale` time.
    ///
    /// No call is answered by such a value. From 1.3 seconds later on, the calls of this cache free its memory,
    /// a little each: a hit removes up to eight such values, and a miss up to 64; each more, if calls are rare.
    /// This method frees all of them now, except those that ended in the last quarter of a second. It is for a
    /// cache that is about to be unused for some time, and for values that are secrets.
    ///
    /// Other threads drop the values that they used last in their next calls of any cached function. The memory
    /// of a value that was used often may be freed by later calls as well, as Moka's are.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_core::Error> {
    /// # extern crate cached_core as cached_aside;
    /// use std::time::Duration;
    ///
    /// use cached_aside::{Cache, testing::ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().clock(clock.clock()).build()?;
    /// let sessions = cache.keyspace::<u64, String>("session", Duration::from_secs(60))?;
    /// sessions.set(&7, "token".to_owned()).await?;
    /// clock.advance(Duration::from_secs(61));
    /// assert_eq!(cache.stats().l1_entries, 1);
    /// cache.remove_expired();
    /// assert_eq!(cache.stats().l1_entries, 0);
    /// # Ok(()) }
    /// ```
    pub fn remove_expired(&self) {
        self.0.l1.remove_expired(self.clock().now());
    }

    /// Resends queued invalidations: see [`replay::resend`].
    pub(crate) fn resend(&self) {
        replay::resend(self.shared());
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn downgrade(&self) -> WeakCache {
        WeakCache(Arc::downgrade(&self.0))
    }

    pub(crate) fn l1(&self) -> &L1 {
        &self.0.l1
    }

    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.0.flights
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    #[inline]
    pub(crate) fn staleness(&self) -> Staleness {
        self.0.staleness
    }

    pub(crate) fn local_counters(&self) -> &LocalCounters {
        &self.0.local_counters
    }

    pub(crate) fn permits(&self) -> &LoadPermits {
        &self.0.permits
    }

    pub(crate) fn functions(&self) -> &Arc<FunctionRegistry> {
        &self.0.functions
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("mode", &self.mode())
            .field("namespace", &self.0.shared.namespace)
            .field("l1", &self.0.l1)
            .field("tier", &self.0.shared.tier)
            .finish_non_exhaustive()
    }
}
