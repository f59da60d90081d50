//! Atomic counters with an expiry.

use std::time::Duration;

use serde::Serialize;

use crate::{
    cache::{
        Cache, Mode,
        invalidation::{Invalidation, InvalidationTarget},
    },
    error::{Error, tier::TierError},
    key::{Part, with_identity},
    spec::FunctionSpec,
    tier::Tier,
};

impl Cache {
    /// Adds `by` to the counter of `key` under `prefix`, which starts at 0, and returns the sum.
    ///
    /// With a `ttl`, the counter expires that long after its creation, and further additions do not extend
    /// it. So counting attempts in a window takes one line. Adding 0 reads a counter.
    ///
    /// With a shared tier, the counter is kept there, is shared by all processes and costs one round trip.
    /// Without one, or while the tier takes no part, the counter is kept in this process. A counter and a
    /// value must not share a prefix.
    ///
    /// [`reset_counter`](Self::reset_counter) resets one counter, [`clear`](Self::clear) all of them, and
    /// [`invalidate_pattern`](Self::invalidate_pattern) those with a matching name. The name is the prefix, a
    /// `:` and a digest of the key. So `"logins:*"` matches all counters of a prefix, and no pattern selects
    /// a single one.
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
    /// [`is_key`](Error::is_key) for a key that cannot be one, [`is_config`](Error::is_config) for a `ttl` of
    /// zero, and [`is_tier`](Error::is_tier) if the shared tier did not answer: it may or may not have
    /// counted.
    pub async fn incr<K: Serialize + ?Sized>(
        &self,
        prefix: &'static str,
        key: &K,
        by: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, Error> {
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(Error::config("the ttl of a counter must not be 0"));
        }
        let name = self.counter_name(prefix, key)?;
        if !self.shared().has_tier || self.mode() != Mode::On {
            return self.local_counters().add(name, by, ttl, self.clock().now()).ok_or_else(overflow);
        }
        Ok(self.shared().tier.incr(&name, by, ttl).await?)
    }

    /// Resets one counter to 0 when awaited. The next addition sets its ttl anew.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_core::Error> {
    /// # let cache = cached_core::Cache::builder().build()?;
    /// cache.incr("logins", "ada", 1, None).await?;
    /// cache.reset_counter("logins", "ada").await?;
    /// assert_eq!(cache.incr("logins", "ada", 1, None).await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of an [`Invalidation`]. After [`is_not_propagated`](Error::is_not_propagated), the counter is
    /// reset as soon as the shared tier can be reached. Additions made until then are lost with it.
    pub fn reset_counter<K: Serialize + ?Sized>(&self, prefix: &'static str, key: &K) -> Invalidation {
        Invalidation::new(self.clone(), self.counter_name(prefix, key).map(InvalidationTarget::Counter))
    }

    /// Returns the name of a counter.
    fn counter_name<K: Serialize + ?Sized>(&self, prefix: &'static str, key: &K) -> Result<String, Error> {
        let (spec, part) = (FunctionSpec::prefix(prefix), Part(key));
        let key = with_identity(&spec, &part, |key| key.owned())?;
        Ok(self.name(&spec, &key, &part, true)?.0)
    }
}

fn overflow() -> Error {
    TierError::Refused("overflow".to_owned()).into()
}
