//! Reads of several keys: L1 first, then the shared tier in few round trips.
//!
//! No lease is taken, so a missing value is not loaded. A value of the shared tier is stored in L1 only by
//! the leader of a flight, which an invalidation supersedes.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::keyspace::{Keyspace, trip::keys_per_trip},
    flight::{Leader, Role},
    key::entry_key::EntryKey,
    l2::lookup::{FoundValue, SharedLookup},
    telemetry::stats::Count,
    value::policy::ResultPolicy,
};

/// A key to look up in the shared tier.
struct KeyQuery {
    index: usize,
    entry_key: EntryKey,
    leader: Option<Leader>,
}

impl<K, V> Keyspace<K, V>
where
    K: Serialize + ?Sized,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Returns the values of several keys, in their order, as [`get`](Self::get) does.
    ///
    /// The keys that this process lacks take one round trip for each 256, or for fewer if values are large.
    ///
    /// No lease is taken for missing values. To read them from a database and pass them to
    /// [`set_many`](Self::set_many) loses the fence: an invalidation in between is overwritten by the values
    /// that were read before it. Load missing values with [`get_or_load`](Self::get_or_load), for several
    /// keys at the same time.
    pub async fn get_many<'k>(&self, keys: impl IntoIterator<Item = &'k K>) -> Vec<Option<V>>
    where
        K: 'k,
    {
        let policy = self.plain_policy();
        let mut values = Vec::new();
        let mut queries: Vec<KeyQuery> = Vec::new();
        for key in keys {
            let entry_key = if self.is_off() { None } else { self.prepare(key).into_key().ok() };
            let value = entry_key.and_then(|entry_key| match self.lookup_l1(&entry_key) {
                Some(erased) => policy.restore(&*erased),
                None if !entry_key.is_shared => None,
                None => {
                    // Only the leader of a flight may fill L1. Otherwise the fill could overtake an
                    // invalidation.
                    let leader = match self.cache.flights().join(&entry_key.key, true) {
                        Role::Lead(leader) => Some(leader),
                        _ => None,
                    };
                    // A value may have been stored between the look into L1 and the lead.
                    let erased = self.lookup_l1(&entry_key);
                    if erased.is_none() {
                        queries.push(KeyQuery { index: values.len(), entry_key, leader });
                    }
                    erased.and_then(|erased| policy.restore(&*erased))
                }
            });
            values.push(value);
        }
        if queries.is_empty() || !self.is_shared() {
            return values;
        }
        let entry_keys: Vec<_> = queries.iter().map(|query| &query.entry_key).collect();
        let (shared, function) = (self.cache.shared(), self.cache.function(&self.spec));
        let budget = function.budget(&self.spec);
        let mut found = Vec::with_capacity(entry_keys.len());
        for chunk in entry_keys.chunks(keys_per_trip(function.expected_value_size())) {
            found.extend(SharedLookup::find_many(shared, chunk, &policy, function, budget).await);
        }
        for (KeyQuery { index, entry_key, leader }, found) in queries.into_iter().zip(found) {
            let Some(FoundValue { erased, validity, revision, .. }) = found else { continue };
            values[index] = policy.restore(&*erased);
            self.cache.report(Count::HitL2, &self.spec, entry_key.key.as_ref());
            if let Some(leader) = leader {
                let (l1, key) = (self.cache.l1(), &entry_key.key);
                leader.land_if_valid(validity, erased, |validity, erased| {
                    l1.insert(&self.spec, key, erased, validity, revision);
                });
                l1.report_evictions();
            }
        }
        values
    }
}
