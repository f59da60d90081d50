//! Atomic counters with an expiry.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{
    Cache, Error,
    cache::Mode,
    clock::{Nanos, nanos},
    key::{BuildPrehashed, Key, Part, with_identity},
    site::Site,
    tier::{Tier, TierError},
};

impl Cache {
    /// Adds `by` to the counter of `key` under `prefix`, which starts at 0, and returns the sum. With a `ttl` the
    /// counter vanishes that long after it came into being, however often it is added to: the number of attempts in a
    /// window is one line.
    ///
    /// With a shared tier the counter is there, one for all processes, and costs one round trip; without, it is in this
    /// process. A counter and a value must not share a prefix.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_core::Error> {
    /// # let cache = cached_core::Cache::builder().build()?;
    /// use std::time::Duration;
    ///
    /// let window = Some(Duration::from_secs(60));
    /// assert_eq!(cache.incr("logins", "ada", 1, window).await?, 1);
    /// assert_eq!(cache.incr("logins", "ada", 1, window).await?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) for a key that cannot be one, [`is_config`](Error::is_config) for a `ttl` of zero, and
    /// [`is_tier`](Error::is_tier) if the shared tier did not answer: it may or may not have counted.
    pub async fn incr<K: Serialize + ?Sized>(
        &self,
        prefix: &'static str,
        key: &K,
        by: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, Error> {
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(Error::config("the ttl of a counter is 0"));
        }
        let site = Site::prefix(prefix);
        let part = Part(key);
        let key = with_identity(&site, &part, |key| key.owned())?;
        if !self.shared().exists || self.mode() != Mode::On {
            return self.local_counters().add(key, by, ttl, self.clock().now()).ok_or_else(overflow);
        }
        let (name, _) = self.name(&site, &key, &part)?;
        Ok(self.shared().tier.incr(&name, by, ttl).await?)
    }
}

fn overflow() -> Error {
    TierError::Refused("overflow".to_owned()).into()
}

/// The counters of a process that has no shared tier.
#[derive(Debug, Default)]
pub(crate) struct LocalCounters(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    counters: HashMap<Key, (i64, Option<Nanos>), BuildPrehashed>,
    /// Expired counters are looked for when there are this many.
    sweep_at: usize,
}

impl LocalCounters {
    /// The sum; `None` if it does not fit, and then nothing was added.
    fn add(&self, key: Key, by: i64, ttl: Option<Duration>, now: Nanos) -> Option<i64> {
        const SMALLEST_SWEEP: usize = 1024;

        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.counters.len() >= table.sweep_at {
            table.counters.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| now < deadline));
            table.sweep_at = (2 * table.counters.len()).max(SMALLEST_SWEEP);
        }
        let fresh = (0, ttl.map(|ttl| now.saturating_add(nanos(ttl))));
        let counter = table.counters.entry(key).or_insert(fresh);
        if counter.1.is_some_and(|deadline| deadline <= now) {
            *counter = fresh;
        }
        counter.0 = counter.0.checked_add(by)?;
        Some(counter.0)
    }
}
