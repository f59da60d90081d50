//! The cache without the attribute: keys and values of one type under a prefix.
//!
//! Reads and loads take the path of a call (`call`). Writes of `set` and `set_many` have a path of their own:
//! they take a lease whether or not another load holds one, and then fill.
//!
//! * `settings`: opens a keyspace, and sets its options.
//! * `get_many`: reads of several keys in few round trips.
//! * `set`: encodes values that are written, and starts the store.
//! * `store`: the store of encoded values, with its leases.
//! * `trip`: the greatest number of keys and bytes in a round trip.
//! * `load_error`: the error of a load.

mod get_many;
mod load_error;
mod set;
mod settings;
mod store;
mod trip;

use std::{convert::Infallible, fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

pub use self::load_error::LoadError;
use crate::{
    cache::{Cache, L1Lookup, Mode, invalidation::Invalidation},
    call::{
        PreparedCall,
        control::{CacheControl, Terms},
        drive::CallRun,
        load::{Load, Panicked},
    },
    error::Error,
    key::{Part, entry_key::EntryKey},
    l1::entry::Entry,
    spec::FunctionSpec,
    telemetry::stats::Count,
    tier::Tier,
    value::{
        erased::ErasedValue,
        policy::{ResultPolicy, Sharing, TypedPolicy, ValuePolicy},
    },
    warm::{report::Warmed, run::catch_panics},
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
    weight: Option<fn(&V) -> usize>,
    marker: PhantomData<Typing<K, V>>,
}

/// Variance of a keyspace: it takes keys and returns values, and owns neither.
type Typing<K, V> = fn(&K) -> V;

impl<K, V> Keyspace<K, V>
where
    K: Serialize + ?Sized,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Returns the value if a tier has it. A failure of the shared tier is a miss.
    pub async fn get(&self, key: &K) -> Option<V> {
        let policy = Arc::new(self.plain_policy());
        let found = self.prepare_with(key, policy.clone(), false).find(Terms::default()).await?;
        policy.restore(&*found.value)
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
        let policy = Arc::new(self.fallible_policy());
        // `load` is called only once it is known that a load is needed, and that nothing was invalidated
        // since.
        let load = Load::Inline(Box::pin(async move { load().await.map_err(Arc::new) }));
        let terms = CacheControl::ttl(self.ttl).terms;
        let prepared = self.prepare_with(key, policy.clone(), false);
        match CallRun::of_keyspace(prepared, policy, load).begin(terms).await {
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
        let policy = Arc::new(self.fallible_policy());
        let prepared = self.prepare_with(key, policy.clone(), false);
        let load = Load::Inline(Box::pin(async move { load().await.map_err(Arc::new) }));
        let terms = CacheControl::ttl(self.ttl).terms;
        catch_panics(CallRun::of_keyspace(prepared, policy, load).warm(terms)).await
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
    ///
    /// The shared tier is asked for the key alone, so a value that cannot be read as a `V` counts as well.
    pub async fn exists(&self, key: &K) -> bool {
        let Ok(entry_key) = self.prepare(key).into_key() else { return false };
        if self.is_off() {
            return false;
        }
        if self.find_l1(&entry_key).is_some() {
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
        self.prepare(key).into_key().map(|entry_key| entry_key.shared_key.text)
    }

    /// Returns the value in L1, if it may be served, and counts the hit.
    fn lookup_l1(&self, entry_key: &EntryKey) -> Option<Arc<dyn ErasedValue>> {
        let (entry, count) = self.find_l1(entry_key)?;
        self.cache.report(count, &self.spec, entry_key.key.as_ref());
        Some(entry.erased.clone())
    }

    /// Returns the entry of L1 that [`get`](Self::get) would serve without asking the shared tier, and how it
    /// counts.
    fn find_l1(&self, entry_key: &EntryKey) -> Option<(Arc<Entry>, Count)> {
        match self.cache.lookup(&self.spec, entry_key.key.as_ref()) {
            L1Lookup::Fresh(entry, _) => Some((entry, Count::HitL1)),
            L1Lookup::Due(entry) if self.cache.may_serve(&self.spec, &entry) => {
                let is_fresh = entry.erased.freshness().is_fresh(self.cache.clock().now());
                Some((entry, if is_fresh { Count::HitL1 } else { Count::Stale }))
            }
            L1Lookup::Due(_) | L1Lookup::Suspect(_) | L1Lookup::Nothing => None,
        }
    }

    fn prepare(&self, key: &K) -> PreparedCall {
        self.prepare_with(key, Arc::new(self.plain_policy()), true)
    }

    fn prepare_with(&self, key: &K, policy: Arc<dyn ValuePolicy>, needs_name: bool) -> PreparedCall {
        PreparedCall::of_keyspace(&self.cache, &self.spec, &Part(key), policy, needs_name)
    }

    fn plain_policy(&self) -> TypedPolicy<V, Infallible, V> {
        self.with_settings(TypedPolicy::plain())
    }

    fn fallible_policy<E: Send + Sync + 'static>(&self) -> TypedPolicy<V, Arc<E>, Result<V, Arc<E>>> {
        self.with_settings(TypedPolicy::fallible().share_errors(Some(Sharing::by_clone()), None))
    }

    fn with_settings<E, R>(&self, policy: TypedPolicy<V, E, R>) -> TypedPolicy<V, E, R> {
        let policy = policy.jitter(self.jitter).shared();
        match self.weight {
            Some(weight) => policy.weight(weight),
            None => policy,
        }
    }

    fn is_off(&self) -> bool {
        self.cache.mode() == Mode::Off
    }

    fn is_shared(&self) -> bool {
        self.cache.mode() == Mode::On
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
