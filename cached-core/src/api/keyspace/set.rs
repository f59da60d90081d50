//! Writes of values: they are encoded first, and then stored.
//!
//! A value that cannot be encoded changes nothing. The store runs in a task of its own, so that a caller that
//! is dropped does not leave half of the values stored. The steps of the store are in `store`.

use std::{
    collections::{HashMap, hash_map},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;

use crate::{
    api::keyspace::{
        Keyspace,
        store::{EncodedValue, Store},
    },
    error::{Error, tier::TierError},
    l2::shared::{Fill, Life},
    value::policy::{LoadContext, ResultPolicy, ValuePolicy},
};

impl<K, V> Keyspace<K, V>
where
    K: Serialize + ?Sized,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Stores a value in every tier. A load that has begun does not overwrite it.
    ///
    /// The write is not fenced: it replaces any value that is there when it is called. If `value` was read
    /// before an invalidation that has been acknowledged since, the outdated value is kept for the whole ttl.
    /// Use `set` for values that the caller has just written or computed, and
    /// [`get_or_load`](Self::get_or_load) for values that are read from elsewhere.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) and [`is_codec`](Error::is_codec): the key or the value cannot be stored.
    /// Then nothing has changed. [`is_not_propagated`](Error::is_not_propagated): the shared tier could not be
    /// reached, or refused the value. Then this process serves the value, for the staleness bound and the outage
    /// grace at most. Other processes do not see it, and may have the previous value. When the shared tier can be
    /// reached again, the value is removed everywhere, in this process as well.
    pub async fn set(&self, key: &K, value: V) -> Result<(), Error> {
        let encoded = self.encode(key, value)?;
        self.store_all(vec![encoded]).await
    }

    /// Stores each pair as [`set`](Self::set) does, and is not fenced either.
    ///
    /// The pairs take two round trips for each 256, or for fewer if values are large.
    ///
    /// # Errors
    /// Those of [`set`](Self::set). A pair that cannot be stored does not keep the others from being stored;
    /// the first error is returned.
    pub async fn set_many<'k>(&self, pairs: impl IntoIterator<Item = (&'k K, V)>) -> Result<(), Error>
    where
        K: 'k,
    {
        let mut first_error = Ok(());
        let mut values: Vec<EncodedValue> = Vec::new();
        let mut positions = HashMap::new();
        for (key, value) in pairs {
            match self.encode(key, value) {
                // If a key occurs twice, its last value counts.
                Ok(encoded) => match positions.entry(encoded.entry_key.key.clone()) {
                    hash_map::Entry::Occupied(position) => values[*position.get()] = encoded,
                    hash_map::Entry::Vacant(position) => {
                        position.insert(values.len());
                        values.push(encoded);
                    }
                },
                Err(error) => first_error = first_error.and(Err(error)),
            }
        }
        let stored = self.store_all(values).await;
        first_error.and(stored)
    }

    /// Prepares a value for the store: encodes it, and changes nothing yet.
    fn encode(&self, key: &K, value: V) -> Result<EncodedValue, Error> {
        let entry_key = self.prepare(key).into_key()?;
        let policy = self.plain_policy();
        let (_, loaded) =
            policy.split_result(value, &LoadContext::new(self.cache.clock().now(), Some(self.ttl)));
        let clock = self.cache.clock();
        let value = loaded.erased.zip(loaded.ttl).map(|(erased, ttl)| {
            (erased, Life { start: clock.now(), ttl, stale: Duration::ZERO, spare: Duration::ZERO })
        });
        let mut bytes = None;
        if let (Some((erased, life)), true) = (&value, self.is_shared() && entry_key.is_shared)
            && let Some(encoder) = policy.encoder(erased)
        {
            let shared = self.cache.shared();
            let fill = Fill { encoder, created_ms: clock.wall_ms(), life: *life };
            let function = self.cache.function(&self.spec);
            let is_checked = function.is_codec_check_due();
            let validity = shared.local_validity(&entry_key.shared_key.text, &[]);
            let sealed = shared.seal(&entry_key.shared_key, fill, &validity, is_checked)?;
            function.record_value_size(sealed.len());
            bytes = Some(sealed);
            function.record_encoded(is_checked);
        }
        Ok(EncodedValue { entry_key, value, bytes })
    }

    /// Stores all values, in a task of its own if there is a runtime.
    ///
    /// A caller that is dropped must not leave half of the values stored.
    async fn store_all(&self, values: Vec<EncodedValue>) -> Result<(), Error> {
        let store = Store { cache: self.cache.clone(), spec: self.spec };
        match Handle::try_current() {
            Ok(runtime) => {
                let entry_keys: Vec<_> = values.iter().map(|encoded| encoded.entry_key.clone()).collect();
                runtime.spawn(store.run(values)).await.unwrap_or_else(|_| {
                    // The runtime of the task was shut down, and it is unknown which of these values the tier
                    // has.
                    for entry_key in entry_keys {
                        self.cache.enqueue_removal(Some(entry_key));
                    }
                    Err(Error::not_propagated(TierError::Unavailable))
                })
            }
            Err(_) => store.run(values).await,
        }
    }
}
