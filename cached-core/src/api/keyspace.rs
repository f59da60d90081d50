//! The cache without the attribute: keys and values of one type under a prefix.
//!
//! Reads and loads take the path of a call (`call`). Writes of `set` and `set_many` have a path of their own:
//! they take a lease whether or not another load holds one, and then fill.

use std::{
    collections::{HashMap, hash_map},
    convert::Infallible,
    error, fmt,
    future::Future,
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;

use crate::{
    cache::{
        Cache, L1Lookup, Mode,
        invalidation::{Invalidation, InvalidationTarget},
    },
    call::{
        PreparedCall,
        control::{CacheControl, Terms},
        load::{Load, Panicked},
    },
    coherence::validity::Validity,
    error::{Error, tier::TierError},
    flight::{Leader, Role},
    key::{Part, entry_key::EntryKey},
    l2::{
        lookup::{FoundValue, SharedLookup},
        shared::{Fill, Life},
    },
    spec::FunctionSpec,
    telemetry::stats::Count,
    tier::{
        Filled, LARGE_VALUE, LeaseMode, LeaseRequest, LeaseToken, TagRequest, Tier, TierFill,
        feed::ChangeFeed,
    },
    value::{
        erased::ErasedValue,
        policy::{LoadContext, Sharing, TypedPolicy, ValuePolicy},
    },
    warm::report::Warmed,
};

/// Values of one type under one prefix.
///
/// A keyspace shares tiers, single-flight and policies with the functions under `#[cached]`. It even shares
/// its entries with a function that has one argument, the same bare prefix and the same
/// [`schema`](Self::schema).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = cached_core::Cache::builder().build()?;
/// use std::time::Duration;
///
/// let users = cache.keyspace::<u64, String>("user", Duration::from_secs(300))?;
/// let load = || async { Ok::<_, std::io::Error>("Ada".to_owned()) };
/// assert_eq!(users.get_or_load(&7, load).await?, "Ada");
/// assert_eq!(users.get(&7).await.as_deref(), Some("Ada"));
/// users.delete(&7).await?;
/// assert!(!users.exists(&7).await);
/// # Ok(()) }
/// ```
pub struct Keyspace<K: ?Sized, V> {
    cache: Cache,
    spec: FunctionSpec,
    ttl: Duration,
    jitter: f64,
    marker: PhantomData<Typing<K, V>>,
}

/// Variance of a keyspace: it takes keys and returns values, and owns neither.
type Typing<K, V> = fn(&K) -> V;

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
        Ok(Keyspace { cache: self.clone(), spec, ttl, jitter: 0.0, marker: PhantomData })
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

    /// Returns the value if a tier has it. A failure of the shared tier is a miss.
    pub async fn get(&self, key: &K) -> Option<V> {
        let found = self.prepare(key).find(Terms::default(), Arc::new(self.plain_policy())).await;
        found.map(|reply| reply.value)
    }

    /// Returns the value, and loads it with `load` if no tier has it.
    ///
    /// Of many callers of one key in this process, one loads and the others wait. The load runs in its
    /// caller. If that caller is dropped, another one loads.
    ///
    /// # Errors
    /// [`LoadError::Failed`] with the error that `load` returned, shared by all callers that waited.
    /// [`LoadError::Panicked`] if the load of another caller panicked, and so did the second attempt.
    pub async fn get_or_load<E, F>(&self, key: &K, load: impl FnOnce() -> F) -> Result<V, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let policy = self.fallible_policy();
        // `load` is called only once it is known that a load is needed, and that nothing was invalidated
        // since.
        let load = Load::Inline(async move { load().await.map_err(Arc::new) });
        let terms = CacheControl::ttl(self.ttl).terms;
        match self.prepare(key).run(terms, Arc::new(policy), load).await {
            Ok(reply) => reply.value.map_err(LoadError::Failed),
            Err(Panicked::Here(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Err(LoadError::Panicked),
        }
    }

    /// Ensures that the value is cached, and discards it, for [`warm`](crate::warm()).
    ///
    /// A missing value is loaded as by [`get_or_load`](Self::get_or_load).
    pub async fn warm<E, F>(&self, key: &K, load: impl FnOnce() -> F) -> Warmed
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let load = Load::Inline(async move { load().await.map_err(Arc::new) });
        let terms = CacheControl::ttl(self.ttl).terms;
        self.prepare(key).warm(terms, || Arc::new(self.fallible_policy()), load).await
    }

    /// Stores a value in every tier. A load that has begun does not overwrite it.
    ///
    /// The write is not fenced: it replaces any value that is there when it is called. If `value` was read
    /// before an invalidation that has been acknowledged since, the outdated value is kept for the whole ttl.
    /// Use `set` for values that the caller has just written or computed, and
    /// [`get_or_load`](Self::get_or_load) for values that are read from elsewhere.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) and [`is_codec`](Error::is_codec): the key or the value cannot be stored.
    /// Then nothing has changed. [`is_not_propagated`](Error::is_not_propagated): the value is stored in this
    /// process. Other processes may have the previous value until the shared tier can be notified.
    pub async fn set(&self, key: &K, value: V) -> Result<(), Error> {
        let encoded = self.encode(key, value)?;
        self.store_all(vec![encoded]).await
    }

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
            let entry_key = if self.is_off() { None } else { self.prepare(key).entry_key.ok() };
            let value = entry_key.and_then(|entry_key| match self.lookup_l1(&entry_key) {
                Some(slot) => policy.restore(&*slot),
                None if !entry_key.is_shared => None,
                None => {
                    // Only the leader of a flight may fill L1. Otherwise the fill could overtake an
                    // invalidation.
                    let leader = match self.cache.flights().join(&entry_key.key, true) {
                        Role::Lead(leader) => Some(leader),
                        _ => None,
                    };
                    // A value may have been stored between the look into L1 and the lead.
                    let slot = self.lookup_l1(&entry_key);
                    if slot.is_none() {
                        queries.push(KeyQuery { index: values.len(), entry_key, leader });
                    }
                    slot.and_then(|slot| policy.restore(&*slot))
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
        // Fewer keys if values are large, so that a round trip does not take too long.
        let keys_per_trip =
            (MAX_BYTES_PER_TRIP / function.expected_value_size().max(1)).clamp(1, MAX_KEYS_PER_TRIP);
        for chunk in entry_keys.chunks(keys_per_trip) {
            found.extend(SharedLookup::find_many(shared, chunk, &policy, function, budget).await);
        }
        for (KeyQuery { index, entry_key, leader }, found) in queries.into_iter().zip(found) {
            let Some(FoundValue { slot, validity, revision, .. }) = found else { continue };
            values[index] = policy.restore(&*slot);
            self.cache.report(Count::HitL2, &self.spec, entry_key.key.as_ref());
            if let Some(leader) = leader {
                let (l1, key) = (self.cache.l1(), &entry_key.key);
                leader.land_if_valid(validity, slot.clone(), |validity| {
                    l1.insert(&self.spec, key, slot, validity, revision);
                });
                l1.report_evictions();
            }
        }
        values
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

    /// Removes the value from every tier, once the result is awaited.
    ///
    /// A load that has begun does not store its value afterwards.
    ///
    /// # Errors
    /// Those of an [`Invalidation`].
    pub fn delete(&self, key: &K) -> Invalidation {
        self.prepare(key).invalidate()
    }

    /// Returns whether a tier has the value; `false` if the shared tier fails.
    pub async fn exists(&self, key: &K) -> bool {
        let Ok(entry_key) = self.prepare(key).entry_key else { return false };
        if self.is_off() {
            return false;
        }
        if let L1Lookup::Fresh(..) = self.cache.lookup(&self.spec, entry_key.key.as_ref()) {
            return true;
        }
        let shared = self.cache.shared();
        let may_query = self.is_shared() && entry_key.is_shared && shared.tier.ready();
        let name = &entry_key.shared_key.text;
        may_query
            && !shared.outbox.may_match([name.as_str()].into_iter())
            && shared.tier.exists(name).await.unwrap_or(false)
    }

    /// Returns the name of the entry in the shared tier, for logs and `redis-cli`.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if `key` cannot be part of a key.
    pub fn key(&self, key: &K) -> Result<String, Error> {
        self.prepare(key).entry_key.map(|entry_key| entry_key.shared_key.text)
    }

    /// Returns the fresh value in L1.
    fn lookup_l1(&self, entry_key: &EntryKey) -> Option<Arc<dyn ErasedValue>> {
        match self.cache.lookup(&self.spec, entry_key.key.as_ref()) {
            L1Lookup::Fresh(entry, _) => {
                self.cache.report(Count::HitL1, &self.spec, entry_key.key.as_ref());
                Some(entry.slot.clone())
            }
            L1Lookup::Due(_) | L1Lookup::Suspect(_) | L1Lookup::Nothing => None,
        }
    }

    fn prepare(&self, key: &K) -> PreparedCall {
        let schema = || self.plain_policy().schema(&self.spec);
        PreparedCall::new(&self.cache, &self.spec, &Part(key), schema)
    }

    fn plain_policy(&self) -> TypedPolicy<V, Infallible, V> {
        TypedPolicy::plain().jitter(self.jitter).shared()
    }

    fn fallible_policy<E: Send + Sync + 'static>(&self) -> TypedPolicy<V, Arc<E>, Result<V, Arc<E>>> {
        TypedPolicy::fallible().share_errors(Some(Sharing::by_clone()), None).jitter(self.jitter).shared()
    }

    fn is_off(&self) -> bool {
        self.cache.mode() == Mode::Off
    }

    fn is_shared(&self) -> bool {
        self.cache.mode() == Mode::On
    }

    /// Prepares a value for the store: encodes it, and changes nothing yet.
    fn encode(&self, key: &K, value: V) -> Result<EncodedValue, Error> {
        let entry_key = self.prepare(key).entry_key?;
        let policy = self.plain_policy();
        let loaded = policy.split_result(value, &LoadContext::new(self.cache.clock(), Some(self.ttl)));
        let clock = self.cache.clock();
        let value = loaded.slot.zip(loaded.ttl).map(|(slot, ttl)| {
            (slot, Life { start: clock.now(), ttl, stale: Duration::ZERO, spare: Duration::ZERO })
        });
        let mut bytes = None;
        if let (Some((slot, life)), true) = (&value, self.is_shared() && entry_key.is_shared)
            && let Some(encoder) = policy.encoder(slot)
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

/// Largest number of keys in one round trip to the shared tier.
const MAX_KEYS_PER_TRIP: usize = 256;

/// Largest number of bytes in one round trip, unless a single value has more.
///
/// Replies are limited as well, as far as the size of values can be predicted.
const MAX_BYTES_PER_TRIP: usize = 32 << 20;

/// Shortest lease of a write of large values: longer than a tier takes to store them.
const LARGE_VALUE_LEASE: Duration = Duration::from_secs(10);

/// A key to look up in the shared tier.
struct KeyQuery {
    index: usize,
    entry_key: EntryKey,
    leader: Option<Leader>,
}

/// A value to be stored, with its bytes if the shared tier takes part.
struct EncodedValue {
    entry_key: EntryKey,
    value: Option<(Arc<dyn ErasedValue>, Life)>,
    bytes: Option<Vec<u8>>,
}

impl EncodedValue {
    /// Returns the number of its bytes.
    fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }
}

/// Stores values in the place of older ones.
struct Store {
    cache: Cache,
    spec: FunctionSpec,
}

impl Store {
    /// Stores the values in every tier.
    ///
    /// The leases are taken first, and the values are written only once the leases are granted. So a write
    /// that arrives too late finds its lease gone.
    async fn run(self, values: Vec<EncodedValue>) -> Result<(), Error> {
        // If the shared tier takes no part, its old value is invalidated, so that it is not served again
        // later.
        let (shareable, other): (Vec<_>, Vec<_>) =
            values.into_iter().partition(|encoded| encoded.bytes.is_some());
        let mut result = Ok(());
        for encoded in other {
            let target = InvalidationTarget::Entry(self.spec, Box::new(encoded.entry_key.clone()));
            let invalidated = Invalidation::new(self.cache.clone(), Ok(target)).await;
            result = result.and(invalidated);
            if self.cache.mode() != Mode::Off {
                let validity = self.cache.local_validity(&encoded.entry_key);
                self.store_in_l1(encoded, validity, 0);
            }
        }
        // Each part has the time budget of one operation.
        let mut remaining = shareable.into_iter().peekable();
        while remaining.peek().is_some() {
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            while chunk.len() < MAX_KEYS_PER_TRIP
                && let Some(encoded) = remaining
                    .next_if(|encoded| chunk.is_empty() || bytes + encoded.len() <= MAX_BYTES_PER_TRIP)
            {
                bytes += encoded.len();
                chunk.push(encoded);
            }
            result = result.and(self.store_shared(chunk).await);
        }
        result
    }

    /// Stores a part in the shared tier, and in L1 the values that the shared tier accepted, or may have.
    async fn store_shared(&self, shareable: Vec<EncodedValue>) -> Result<(), Error> {
        let shared = self.cache.shared();
        let mut result = Ok(());
        let mut tokens = Vec::new();
        let mut validities = Vec::new();
        for encoded in &shareable {
            shared.epochs.end(&encoded.entry_key.shared_key.text);
            self.cache
                .flights()
                .supersede(&encoded.entry_key.key, || self.cache.l1().remove(&encoded.entry_key.key));
            tokens.push(LeaseToken::random());
            validities.push(shared.detached_validity(&encoded.entry_key.shared_key.text, &[]));
        }
        let stored = self.write(&shareable, &tokens).await;
        let is_known = stored.is_ok();
        let (feed, accepted) = match stored {
            Ok(Filled { stored, feed }) => (feed, stored),
            Err(cause) => {
                self.cache.count_of(&self.spec, Count::NotPropagated);
                for encoded in &shareable {
                    self.cache.enqueue_removal(Some(encoded.entry_key.clone()));
                }
                result = result.and(Err(Error::not_propagated(cause)));
                (ChangeFeed::none(), vec![true; shareable.len()])
            }
        };
        for (((encoded, token), validity), is_accepted) in
            shareable.into_iter().zip(tokens).zip(validities).zip(accepted)
        {
            if is_accepted {
                let revision = if is_known { token.revision() } else { 0 };
                self.store_in_l1(encoded, Validity { feed: feed.clone(), ..validity }, revision);
            }
        }
        result
    }

    async fn write(&self, values: &[EncodedValue], tokens: &[LeaseToken]) -> Result<Filled, TierError> {
        let shared = self.cache.shared();
        let key_and_token = |(encoded, token): (&EncodedValue, &LeaseToken)| {
            (encoded.entry_key.shared_key.text.clone(), *token)
        };
        let keys_and_tokens: Vec<_> = values.iter().zip(tokens).map(key_and_token).collect();
        // The lease is not renewed.
        let has_large = values.iter().any(|encoded| encoded.len() > LARGE_VALUE);
        let lease = if has_large { shared.lease.max(LARGE_VALUE_LEASE) } else { shared.lease };
        let requests: Vec<_> = keys_and_tokens
            .iter()
            .map(|(key, token)| LeaseRequest { key, token: *token, lease, mode: LeaseMode::Always })
            .collect();
        shared
            .tier
            .lease(&requests, TagRequest { keys: &[], keep: Duration::ZERO, needs_position: false })
            .await?;
        let fill = |(encoded, (key, token)): (&EncodedValue, (String, LeaseToken))| {
            let (_, life) = encoded.value.as_ref()?;
            let bytes = encoded.bytes.clone()?;
            let ttl = shared.remaining_life(*life).unwrap_or(Duration::from_millis(1));
            Some(TierFill { key, token, bytes, ttl, tags: Vec::new() })
        };
        let filled = shared.tier.fill(values.iter().zip(keys_and_tokens).filter_map(fill).collect()).await;
        for encoded in values {
            shared.epochs.notify_listeners(&encoded.entry_key.shared_key.text);
        }
        filled
    }

    /// Stores a value in L1, and supersedes the flight of its key.
    fn store_in_l1(&self, encoded: EncodedValue, validity: Validity, revision: u64) {
        let EncodedValue { entry_key, value: Some((slot, _)), .. } = encoded else { return };
        let key = &entry_key.key;
        self.cache
            .flights()
            .supersede(key, || self.cache.l1().insert(&self.spec, key, slot, validity, revision));
        self.cache.l1().report_evictions();
    }
}

impl<K: ?Sized, V> Clone for Keyspace<K, V> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), ..*self }
    }
}

impl<K: ?Sized, V> fmt::Debug for Keyspace<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace")
            .field("prefix", &self.spec.template())
            .field("ttl", &self.ttl)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Error of [`Keyspace::get_or_load`].
#[non_exhaustive]
pub enum LoadError<E> {
    /// The load returned this error, to this caller or to the one that it waited for.
    Failed(Arc<E>),
    /// The load that this caller waited for panicked, and so did the second attempt.
    Panicked,
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(error.clone()),
            Self::Panicked => Self::Panicked,
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::Panicked => f.write_str("Panicked"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Panicked => f.write_str("the load panicked in another call"),
        }
    }
}

impl<E: error::Error + 'static> error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Panicked => None,
        }
    }
}
