//! The settings of a keyspace: its prefix and ttl, and the options that have a default.

use std::{marker::PhantomData, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{api::keyspace::Keyspace, cache::Cache, error::Error, spec::FunctionSpec};

impl Cache {
    /// Returns the keyspace of `prefix`, with values that expire after `ttl`.
    ///
    /// The `ttl` counts from the time at which a value is set or loaded.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) for a prefix that is empty or begins with `%`, or a `ttl` of zero.
    pub fn keyspace<K, V>(&self, prefix: &'static str, ttl: Duration) -> Result<Keyspace<K, V>, Error>
    where
        K: Serialize + ?Sized,
        V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        if prefix.is_empty() {
            return Err(Error::config("the prefix of a keyspace must not be empty"));
        }
        if prefix.starts_with('%') {
            return Err(Error::config(
                "the prefix of a keyspace must not begin with `%`: such keys are reserved for the cache",
            ));
        }
        if ttl.is_zero() {
            return Err(Error::config("the ttl of a keyspace must not be 0: no value would be kept"));
        }
        let spec = FunctionSpec::prefix(prefix);
        Ok(Keyspace { cache: self.clone(), spec, ttl, jitter: 0.0, weight: None, marker: PhantomData })
    }
}

impl<K, V> Keyspace<K, V>
where
    K: Serialize + ?Sized,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Shortens each ttl by a random share of up to `share` of it (0 to 1).
    ///
    /// Values that were filled together then do not expire together.
    #[must_use]
    pub fn jitter(self, share: f64) -> Self {
        Self { jitter: share, ..self }
    }

    /// Sets the schema version of the values: values of another version are misses.
    #[must_use]
    pub fn version(self, version: u32) -> Self {
        Self { spec: self.spec.version(version), ..self }
    }

    /// Names the schema of the values, instead of the name of their type.
    ///
    /// A function under `#[cached]` with one argument, the same bare prefix and the same `schema` shares the
    /// entries of this keyspace. Keyspaces without a schema share theirs if prefix and type are the same.
    #[must_use]
    pub fn schema(self, name: &'static str) -> Self {
        Self { spec: self.spec.schema(name), ..self }
    }

    /// Limits the entries of this prefix in the in-process tier.
    #[must_use]
    pub fn max_entries(self, entries: u64) -> Self {
        Self { spec: self.spec.max_entries(entries), ..self }
    }

    /// Weighs a value with `weight`, which returns its bytes, on the heap and off it.
    ///
    /// These bytes count towards [`l1_max_bytes`](crate::CacheBuilder::l1_max_bytes), and are at least the
    /// `size_of` of the type. A value is not kept in the process if `weight` panics. By default, the value's
    /// `Serialize` implementation is walked, which does not see spare capacity.
    ///
    /// ```
    /// # fn main() -> Result<(), cached_core::Error> {
    /// # let cache = cached_core::Cache::builder().build()?;
    /// use std::time::Duration;
    ///
    /// let pages = cache.keyspace::<str, Vec<u8>>("page", Duration::from_secs(300))?.weight(Vec::capacity);
    /// # let _ = pages; Ok(()) }
    /// ```
    #[must_use]
    pub fn weight(self, weight: fn(&V) -> usize) -> Self {
        Self { weight: Some(weight), ..self }
    }
}
