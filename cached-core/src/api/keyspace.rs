//! The cache without the attribute.

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
        Cache, Looked, Mode,
        invalidation::{Invalidation, Target},
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
/// It shares tiers, single-flight and policies with the functions under `#[cached]`; a function with one argument, the same bare prefix and
/// the same [`schema`](Self::schema) even shares its entries.
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
    site: FunctionSpec,
    ttl: Duration,
    jitter: f64,
    marker: PhantomData<Typing<K, V>>,
}

/// It takes keys and gives values, and owns neither.
type Typing<K, V> = fn(&K) -> V;

impl Cache {
    /// Values under `prefix`, each kept for `ttl` after it was set or loaded.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) for an empty prefix or a `ttl` of zero.
    pub fn keyspace<K, V>(&self, prefix: &'static str, ttl: Duration) -> Result<Keyspace<K, V>, Error>
    where
        K: Serialize + ?Sized,
        V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        if prefix.is_empty() {
            return Err(Error::config("the prefix of a keyspace is empty"));
        }
        if prefix.starts_with('%') {
            return Err(Error::config(
                "the prefix of a keyspace begins with `%`: such keys are the cache's own",
            ));
        }
        if ttl.is_zero() {
            return Err(Error::config("the ttl of a keyspace is 0: nothing would be kept"));
        }
        let site = FunctionSpec::prefix(prefix);
        Ok(Keyspace { cache: self.clone(), site, ttl, jitter: 0.0, marker: PhantomData })
    }
}

impl<K, V> Keyspace<K, V>
where
    K: Serialize + ?Sized,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Shortens each ttl by a random share of up to `share` of it (0 to 1), so that values which were filled together
    /// do not expire together.
    #[must_use]
    pub fn jitter(self, share: f64) -> Self {
        Self { jitter: share, ..self }
    }

    /// Bumps the schema of the values: those of another version are misses.
    #[must_use]
    pub fn version(self, version: u32) -> Self {
        Self { site: self.site.version(version), ..self }
    }

    /// Names the schema of the values, in the place of the name of their type. A function under `#[cached]` with one argument, the same
    /// bare prefix and the same `schema` shares the entries of this keyspace; keyspaces without one share theirs if the type is
    /// the same.
    #[must_use]
    pub fn schema(self, name: &'static str) -> Self {
        Self { site: self.site.schema(name), ..self }
    }

    /// Bounds the entries of this prefix in the in-process tier.
    #[must_use]
    pub fn max_entries(self, entries: u64) -> Self {
        Self { site: self.site.max_entries(entries), ..self }
    }

    /// The value, if a tier has it. Trouble with the shared tier is a miss.
    pub async fn get(&self, key: &K) -> Option<V> {
        let found = self.prepare(key).find(Terms::default(), Arc::new(self.plain())).await;
        found.map(|reply| reply.value)
    }

    /// The value, loaded with `load` if no tier has it. Of many callers of one key in this process one loads, and the
    /// others wait; the load runs in the caller, and when that goes away, another one loads.
    ///
    /// # Errors
    /// [`LoadError::Failed`] with what `load` returned, shared by all who waited, and [`LoadError::Panicked`].
    pub async fn get_or_load<E, F>(&self, key: &K, load: impl FnOnce() -> F) -> Result<V, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let shape = self.fallible();
        // Not called before it is known that there is something to load, and that nothing was said since.
        let load = Load::Inline(async move { load().await.map_err(Arc::new) });
        let terms = CacheControl::ttl(self.ttl).terms;
        match self.prepare(key).run(terms, Arc::new(shape), load).await {
            Ok(reply) => reply.value.map_err(LoadError::Failed),
            Err(Panicked::Here(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Err(LoadError::Panicked),
        }
    }

    /// As [`get_or_load`](Self::get_or_load), but lets go of the value: for [`warm`](crate::warm()).
    pub async fn warm<E, F>(&self, key: &K, load: impl FnOnce() -> F) -> Warmed
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let load = Load::Inline(async move { load().await.map_err(Arc::new) });
        let terms = CacheControl::ttl(self.ttl).terms;
        self.prepare(key).warm(terms, || Arc::new(self.fallible()), load).await
    }

    /// Puts a value into every tier. A load that has begun does not overwrite it.
    ///
    /// It is not fenced: it takes the place of whatever there is when it is called. If `value` was read before an invalidation
    /// that has been acknowledged since, the outdated value is kept for the whole ttl. Use it for what the caller has just
    /// written or computed, and [`get_or_load`](Self::get_or_load) for what is read from elsewhere.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) and [`is_codec`](Error::is_codec): the key or the value cannot be stored.
    /// Then nothing has changed. [`is_not_propagated`](Error::is_not_propagated): it is stored in this process, and others
    /// may have the value from before until the shared tier can be told.
    pub async fn set(&self, key: &K, value: V) -> Result<(), Error> {
        let one = self.sealed(key, value)?;
        self.store_all(vec![one]).await
    }

    /// As [`get`](Self::get) for each key, in their order, with one round trip for each 256 that this process lacks.
    ///
    /// It takes no lease for what is missing. To read that from a database and to hand it to [`set_many`](Self::set_many) loses
    /// the fence: an invalidation in between is overwritten by what was read before it. Load what is missing with
    /// [`get_or_load`](Self::get_or_load), for several keys at the same time.
    pub async fn get_many<'k>(&self, keys: impl IntoIterator<Item = &'k K>) -> Vec<Option<V>>
    where
        K: 'k,
    {
        let shape = self.plain();
        let mut values = Vec::new();
        let mut asked: Vec<Asked> = Vec::new();
        for key in keys {
            let entry = if self.is_off() { None } else { self.prepare(key).entry.ok() };
            let value = entry.and_then(|entry| match self.look(&entry) {
                Some(slot) => shape.restore(&*slot),
                None if !entry.is_shared => None,
                None => {
                    // Only the leader of a flight may fill L1, or an invalidation could be overtaken.
                    let leader = match self.cache.flights().join(&entry.key, true) {
                        Role::Lead(leader) => Some(leader),
                        _ => None,
                    };
                    // A value may have come between the look into L1 and the lead.
                    let slot = self.look(&entry);
                    if slot.is_none() {
                        asked.push(Asked { index: values.len(), entry, leader });
                    }
                    slot.and_then(|slot| shape.restore(&*slot))
                }
            });
            values.push(value);
        }
        if asked.is_empty() || !self.is_shared() {
            return values;
        }
        let entries: Vec<_> = asked.iter().map(|asked| &asked.entry).collect();
        let (shared, function) = (self.cache.shared(), self.cache.function(&self.site));
        let budget = function.budget(&self.site);
        let mut found = Vec::with_capacity(entries.len());
        // Of large values so many that one round trip does not take forever.
        let most = (MOST_BYTES_AT_ONCE / function.size().max(1)).clamp(1, MOST_AT_ONCE);
        for entries in entries.chunks(most) {
            found.extend(SharedLookup::find_many(shared, entries, &shape, function, budget).await);
        }
        for (Asked { index, entry, leader }, found) in asked.into_iter().zip(found) {
            let Some(FoundValue { slot, claim, stamp, .. }) = found else { continue };
            values[index] = shape.restore(&*slot);
            self.cache.note(Count::HitL2, &self.site, entry.key.as_ref());
            if let Some(leader) = leader {
                let (l1, key) = (self.cache.l1(), &entry.key);
                leader.land_on(claim, slot.clone(), |claim| l1.insert(&self.site, key, slot, claim, stamp));
                l1.tell_evicted();
            }
        }
        values
    }

    /// As [`set`](Self::set) for each pair, with two round trips for each 256; nor is it fenced.
    ///
    /// # Errors
    /// As [`set`](Self::set). A pair that cannot be stored does not keep the others from being stored; the first error
    /// is returned.
    pub async fn set_many<'k>(&self, pairs: impl IntoIterator<Item = (&'k K, V)>) -> Result<(), Error>
    where
        K: 'k,
    {
        let mut first_error = Ok(());
        let mut all: Vec<Sealed> = Vec::new();
        let mut places = HashMap::new();
        for (key, value) in pairs {
            match self.sealed(key, value) {
                // Of two values for one key, the last one counts.
                Ok(one) => match places.entry(one.entry.key.clone()) {
                    hash_map::Entry::Occupied(place) => all[*place.get()] = one,
                    hash_map::Entry::Vacant(place) => {
                        place.insert(all.len());
                        all.push(one);
                    }
                },
                Err(error) => first_error = first_error.and(Err(error)),
            }
        }
        let stored = self.store_all(all).await;
        first_error.and(stored)
    }

    /// Removes the value from every tier when it is awaited, and lets no load that has begun store one.
    ///
    /// # Errors
    /// Those of an [`Invalidation`].
    pub fn delete(&self, key: &K) -> Invalidation {
        self.prepare(key).invalidate()
    }

    /// Whether a tier has the value. Trouble with the shared tier counts as no.
    pub async fn exists(&self, key: &K) -> bool {
        let Ok(entry) = self.prepare(key).entry else { return false };
        if self.is_off() {
            return false;
        }
        if let Looked::Fresh(..) = self.cache.look(&self.site, entry.key.as_ref()) {
            return true;
        }
        let shared = self.cache.shared();
        let may_ask = self.is_shared() && entry.is_shared && shared.tier.ready();
        let name = &entry.name.text;
        may_ask
            && !shared.pending.is_about([name.as_str()].into_iter())
            && shared.tier.exists(name).await.unwrap_or(false)
    }

    /// The name of the entry in the shared tier, for logs and for a look with `redis-cli`.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if `key` cannot be part of a key.
    pub fn key(&self, key: &K) -> Result<String, Error> {
        self.prepare(key).entry.map(|entry| entry.name.text)
    }

    /// The fresh value in this process.
    fn look(&self, entry: &EntryKey) -> Option<Arc<dyn ErasedValue>> {
        match self.cache.look(&self.site, entry.key.as_ref()) {
            Looked::Fresh(kept, _) => {
                self.cache.note(Count::HitL1, &self.site, entry.key.as_ref());
                Some(kept.slot.clone())
            }
            Looked::Due(_) | Looked::Suspect(_) | Looked::Nothing => None,
        }
    }

    fn prepare(&self, key: &K) -> PreparedCall {
        let schema = || self.plain().schema(&self.site);
        PreparedCall::new(&self.cache, &self.site, &Part(key), schema)
    }

    fn plain(&self) -> TypedPolicy<V, Infallible, V> {
        TypedPolicy::plain().jitter(self.jitter).shared()
    }

    fn fallible<E: Send + Sync + 'static>(&self) -> TypedPolicy<V, Arc<E>, Result<V, Arc<E>>> {
        TypedPolicy::fallible().share_errors(Some(Sharing::by_clone()), None).jitter(self.jitter).shared()
    }

    fn is_off(&self) -> bool {
        self.cache.mode() == Mode::Off
    }

    fn is_shared(&self) -> bool {
        self.cache.mode() == Mode::On
    }

    /// A value as it is to be stored. Nothing has changed yet.
    fn sealed(&self, key: &K, value: V) -> Result<Sealed, Error> {
        let entry = self.prepare(key).entry?;
        let shape = self.plain();
        let settled = shape.settle(value, &LoadContext::now(self.cache.clock(), Some(self.ttl)));
        let clock = self.cache.clock();
        let kept = settled.slot.zip(settled.ttl).map(|(slot, ttl)| {
            (slot, Life { since: clock.now(), ttl, stale: Duration::ZERO, spare: Duration::ZERO })
        });
        let mut bytes = None;
        if let (Some((slot, life)), true) = (&kept, self.is_shared() && entry.is_shared)
            && let Some(encoder) = shape.encoder(slot)
        {
            let shared = self.cache.shared();
            let fill = Fill { encoder, created_ms: clock.wall_ms(), life: *life };
            let function = self.cache.function(&self.site);
            let is_checked = function.checks_codec();
            let claim = shared.home_claim(&entry.name.text, &[]);
            let sealed = shared.seal(&entry.name, fill, &claim, is_checked)?;
            function.measures(sealed.len());
            bytes = Some(sealed);
            function.trust_codec(is_checked);
        }
        Ok(Sealed { entry, kept, bytes })
    }

    /// In a task of its own where there is one: a caller that goes away must not leave half of it.
    async fn store_all(&self, all: Vec<Sealed>) -> Result<(), Error> {
        let store = Store { cache: self.cache.clone(), site: self.site };
        match Handle::try_current() {
            Ok(runtime) => {
                let meant: Vec<_> = all.iter().map(|one| one.entry.clone()).collect();
                runtime.spawn(store.run(all)).await.unwrap_or_else(|_| {
                    // Its runtime was shut down. What the tier has of these is not known.
                    for entry in meant {
                        self.cache.forget_shared(Some(entry));
                    }
                    Err(Error::not_propagated(TierError::Unavailable))
                })
            }
            Err(_) => store.run(all).await,
        }
    }
}

/// How many keys go to the shared tier in one round trip.
const MOST_AT_ONCE: usize = 256;

/// How many bytes go in one, if that is more than one value; and come back, as far as that can be told before.
const MOST_BYTES_AT_ONCE: usize = 32 << 20;

/// A write of large values has its lease for so long at least: longer than a tier takes to store them.
const LEASE_OF_LARGE: Duration = Duration::from_secs(10);

/// A key that the shared tier is asked for.
struct Asked {
    index: usize,
    entry: EntryKey,
    leader: Option<Leader>,
}

/// A value that is to be stored, and its bytes if the shared tier takes part.
struct Sealed {
    entry: EntryKey,
    kept: Option<(Arc<dyn ErasedValue>, Life)>,
    bytes: Option<Vec<u8>>,
}

impl Sealed {
    /// Of its bytes.
    fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }
}

/// Puts values in the places of others.
struct Store {
    cache: Cache,
    site: FunctionSpec,
}

impl Store {
    /// First the right to write is taken, and only when that is certain, the values are written: a write that comes too
    /// late finds that it lost the right.
    async fn run(self, all: Vec<Sealed>) -> Result<(), Error> {
        // Where a tier takes no part, its old value goes, so that it is not served again later.
        let (shareable, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.bytes.is_some());
        let mut result = Ok(());
        for one in other {
            let target = Target::Entry(self.site, Box::new(one.entry.clone()));
            let told = Invalidation::new(self.cache.clone(), Ok(target)).await;
            result = result.and(told);
            if self.cache.mode() != Mode::Off {
                let claim = self.cache.own_claim(&one.entry);
                self.keep_here(one, claim, 0);
            }
        }
        // Each part has the budget of one operation.
        let mut rest = shareable.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut part, mut bytes) = (Vec::new(), 0);
            while part.len() < MOST_AT_ONCE
                && let Some(one) =
                    rest.next_if(|one| part.is_empty() || bytes + one.len() <= MOST_BYTES_AT_ONCE)
            {
                bytes += one.len();
                part.push(one);
            }
            result = result.and(self.share(part).await);
        }
        result
    }

    async fn share(&self, shareable: Vec<Sealed>) -> Result<(), Error> {
        let shared = self.cache.shared();
        let mut result = Ok(());
        let mut tokens = Vec::new();
        let mut marked = Vec::new();
        for one in &shareable {
            shared.marks.end(&one.entry.name.text);
            self.cache.flights().supersede(&one.entry.key, || self.cache.l1().remove(&one.entry.key));
            tokens.push(LeaseToken::random());
            marked.push(shared.silent_claim(&one.entry.name.text, &[]));
        }
        let stored = self.write(&shareable, &tokens).await;
        let is_known = stored.is_ok();
        let (line, accepted) = match stored {
            Ok(Filled { stored, line }) => (line, stored),
            Err(cause) => {
                self.cache.count_of(&self.site, Count::NotPropagated);
                for one in &shareable {
                    self.cache.forget_shared(Some(one.entry.clone()));
                }
                result = result.and(Err(Error::not_propagated(cause)));
                (ChangeFeed::silent(), vec![true; shareable.len()])
            }
        };
        for (((one, token), claim), is_accepted) in
            shareable.into_iter().zip(tokens).zip(marked).zip(accepted)
        {
            if is_accepted {
                let stamp = if is_known { token.stamp() } else { 0 };
                self.keep_here(one, Validity { line: line.clone(), ..claim }, stamp);
            }
        }
        result
    }

    async fn write(&self, all: &[Sealed], tokens: &[LeaseToken]) -> Result<Filled, TierError> {
        let shared = self.cache.shared();
        let claim = |(one, token): (&Sealed, &LeaseToken)| (one.entry.name.text.clone(), *token);
        let named: Vec<_> = all.iter().zip(tokens).map(claim).collect();
        // Nothing renews it.
        let has_large = all.iter().any(|one| one.len() > LARGE_VALUE);
        let lease = if has_large { shared.lease.max(LEASE_OF_LARGE) } else { shared.lease };
        let claims: Vec<_> = named
            .iter()
            .map(|(key, token)| LeaseRequest { key, token: *token, lease, take: LeaseMode::Always })
            .collect();
        shared.tier.lease(&claims, TagRequest { keys: &[], keep: Duration::ZERO, more: false }).await?;
        let fill = |(one, (key, token)): (&Sealed, (String, LeaseToken))| {
            let (_, life) = one.kept.as_ref()?;
            let bytes = one.bytes.clone()?;
            let ttl = shared.left(*life).unwrap_or(Duration::from_millis(1));
            Some(TierFill { key, token, bytes, ttl, tags: Vec::new() })
        };
        let filled = shared.tier.fill(all.iter().zip(named).filter_map(fill).collect()).await;
        for one in all {
            shared.marks.nudge(&one.entry.name.text);
        }
        filled
    }

    fn keep_here(&self, one: Sealed, claim: Validity, stamp: u64) {
        let Sealed { entry, kept: Some((slot, _)), .. } = one else { return };
        let key = &entry.key;
        self.cache.flights().supersede(key, || self.cache.l1().insert(&self.site, key, slot, claim, stamp));
        self.cache.l1().tell_evicted();
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
            .field("prefix", &self.site.template())
            .field("ttl", &self.ttl)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Why [`Keyspace::get_or_load`] has no value.
#[non_exhaustive]
pub enum LoadError<E> {
    /// The load returned this error, to this caller or to the one that it waited for.
    Failed(Arc<E>),
    /// The load that this caller waited for panicked, and so did a second one.
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
