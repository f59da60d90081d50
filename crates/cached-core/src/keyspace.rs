//! The cache without the attribute.

use std::{
    collections::HashMap, convert::Infallible, error, fmt, future::Future, marker::PhantomData, sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;

use crate::{
    Cache, Error,
    cache::{Entry, Mode},
    call::{Load, Panicked, Prepared},
    control::{CacheControl, Terms},
    flight::{Leader, Role},
    key::KeyWriter,
    shape::{Settling, Shape, Sharing, Typed},
    shared::{Fill, Life},
    site::Site,
    stats::Count,
    tier::{Tier, TierError},
    turns::Turn,
};

/// Values of one type under one prefix.
///
/// It shares tiers, single-flight and policies with the functions under `#[cached]`; a function with one argument and
/// the same bare prefix even shares its entries.
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
    site: Site,
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
        if ttl.is_zero() {
            return Err(Error::config("the ttl of a keyspace is 0: nothing would be kept"));
        }
        let site = Site::prefix(prefix);
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

    /// Bounds the entries of this prefix in the in-process tier.
    #[must_use]
    pub fn max_entries(self, entries: u64) -> Self {
        Self { site: self.site.max_entries(entries), ..self }
    }

    /// The value, if a tier has it. Trouble with the shared tier is a miss.
    pub async fn get(&self, key: &K) -> Option<V> {
        let found = self.prepare(key).find(Terms::default(), Box::new(self.plain())).await;
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
        let shape = Typed::fallible().share_errors(Some(Sharing::by_clone())).jitter(self.jitter).shared();
        let load = load();
        let load = Load::Inline(async move { load.await.map_err(Arc::new) });
        let terms = CacheControl::ttl(self.ttl).terms;
        match self.prepare(key).run(terms, Box::new(shape), load).await {
            Ok(reply) => reply.value.map_err(LoadError::Failed),
            Err(Panicked::Here(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Err(LoadError::Panicked),
        }
    }

    /// Puts a value into every tier. A load that has begun does not overwrite it.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) and [`is_codec`](Error::is_codec): the key or the value cannot be stored.
    /// Then nothing has changed. [`is_tier`](Error::is_tier) and [`is_not_propagated`](Error::is_not_propagated): it is
    /// stored in this process, and others may have the value from before.
    pub async fn set(&self, key: &K, value: V) -> Result<(), Error> {
        let entry = self.prepare(key).entry?;
        let told = self.drop_unstored(&entry).await;
        let Some(Sealed { name, bytes, life, turn }) = self.store(entry, value)? else { return told };
        // In a task of its own where there is one: a caller that goes away must not hold up those behind it.
        let shared = self.cache.shared().clone();
        let write = async move { shared.replace(turn, &name, bytes, life).await };
        Ok(match Handle::try_current() {
            Ok(runtime) => runtime.spawn(write).await.unwrap_or(Err(TierError::Unavailable)),
            Err(_) => write.await,
        }?)
    }

    /// As [`get`](Self::get) for each key, in their order, with one round trip for all that this process lacks.
    pub async fn get_many<'k>(&self, keys: impl IntoIterator<Item = &'k K>) -> Vec<Option<V>>
    where
        K: 'k,
    {
        let shape = self.plain();
        let mut values = Vec::new();
        let mut asked: Vec<(usize, Entry, Option<Leader>)> = Vec::new();
        for (index, key) in keys.into_iter().enumerate() {
            let entry = if self.is_off() { None } else { self.prepare(key).entry.ok() };
            let slot = entry.as_ref().and_then(|entry| self.cache.look(&self.site, entry.key.as_ref()));
            let value = slot.and_then(|(slot, _)| shape.restore(&*slot));
            match (&value, entry) {
                (Some(_), _) => self.cache.count(Count::HitL1),
                (None, Some(entry)) if entry.name.is_some() => {
                    // Only the leader of a flight may fill L1, or an invalidation could be overtaken.
                    let leader = match self.cache.flights().join(&entry.key, true) {
                        Role::Lead(leader) => Some(leader),
                        _ => None,
                    };
                    // A value may have come between the look into L1 and the lead.
                    match self.cache.look(&self.site, entry.key.as_ref()) {
                        Some((slot, _)) => {
                            values.push(shape.restore(&*slot));
                            continue;
                        }
                        None => asked.push((index, entry, leader)),
                    }
                }
                (None, _) => {}
            }
            values.push(value);
        }
        let shared = self.cache.shared();
        if asked.is_empty() || !self.is_shared() || !shared.tier.ready() {
            return values;
        }
        let mut names = Vec::new();
        for (_, entry, _) in &mut asked {
            let Some(name) = &entry.name else { continue };
            if shared.is_settled(&name.text).await {
                names.push(name.text.clone());
            } else {
                entry.name = None;
            }
        }
        asked.retain(|(_, entry, _)| entry.name.is_some());
        let Ok(found) = shared.tier.get_many(&names).await else {
            self.cache.count(Count::SharedReadError);
            return values;
        };
        for ((index, entry, leader), stored) in asked.into_iter().zip(found) {
            let (Some(name), Some(stored)) = (&entry.name, stored) else { continue };
            let Some(slot) = shared.read(name, stored, &shape, self.cache.counters()) else { continue };
            values[index] = shape.restore(&*slot);
            self.cache.count(Count::HitL2);
            if let Some(leader) = leader {
                leader.land(slot.clone(), || self.cache.l1().insert(&self.site, &entry.key, slot));
            }
        }
        values
    }

    /// As [`set`](Self::set) for each pair, with one round trip for all.
    ///
    /// # Errors
    /// As [`set`](Self::set). A pair that cannot be stored does not keep the others from being stored; the first error
    /// is returned.
    pub async fn set_many<'k>(&self, pairs: impl IntoIterator<Item = (&'k K, V)>) -> Result<(), Error>
    where
        K: 'k,
    {
        let shared = self.cache.shared().clone();
        let mut first_error = Ok(());
        let mut entries = Vec::new();
        for (key, value) in pairs {
            match self.prepare(key).entry {
                Ok(entry) => {
                    first_error = first_error.and(self.drop_unstored(&entry).await);
                    entries.push((entry, value));
                }
                Err(error) => first_error = first_error.and(Err(error)),
            }
        }
        // By name: of two values for one key, the last one counts.
        let mut latest = HashMap::new();
        {
            let _batch = shared.turns.batch();
            for (entry, value) in entries {
                match self.store(entry, value) {
                    Ok(Some(sealed)) => drop(latest.insert(sealed.name.clone(), sealed)),
                    Ok(None) => {}
                    Err(error) => first_error = first_error.and(Err(error)),
                }
            }
        }
        if !latest.is_empty() {
            let part = |Sealed { name, bytes, life, turn }| (turn, (name, bytes, life));
            let (turns, entries) = latest.into_values().map(part).unzip();
            let write = async move { shared.replace_many(turns, entries).await };
            match Handle::try_current() {
                Ok(runtime) => runtime.spawn(write).await.unwrap_or(Err(TierError::Unavailable)),
                Err(_) => write.await,
            }?;
        }
        first_error
    }

    /// Removes the value from every tier, and lets no load that has begun store one.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key), and [`is_not_propagated`](Error::is_not_propagated) if the shared tier could not be
    /// told.
    pub async fn delete(&self, key: &K) -> Result<(), Error> {
        self.prepare(key).invalidate().await
    }

    /// Whether a tier has the value. Trouble with the shared tier counts as no.
    pub async fn exists(&self, key: &K) -> bool {
        let Ok(entry) = self.prepare(key).entry else { return false };
        if self.is_off() {
            return false;
        }
        if self.cache.look(&self.site, entry.key.as_ref()).is_some() {
            return true;
        }
        match &entry.name {
            Some(name) if self.is_shared() && self.cache.shared().tier.ready() => {
                let shared = self.cache.shared();
                shared.is_settled(&name.text).await && shared.tier.exists(&name.text).await.unwrap_or(false)
            }
            _ => false,
        }
    }

    fn prepare(&self, key: &K) -> Prepared {
        let write = |writer: &mut KeyWriter<'_>| writer.part(key);
        Prepared::new(&self.cache, &self.site, write, || self.plain().schema(self.site.schema_version()))
    }

    fn plain(&self) -> Typed<V, Infallible, V> {
        Typed::plain().jitter(self.jitter).shared()
    }

    fn is_off(&self) -> bool {
        self.cache.mode() == Mode::Off
    }

    fn is_shared(&self) -> bool {
        self.cache.mode() == Mode::On
    }

    /// Where a tier takes no part, its old value goes, so that it is not served again later.
    async fn drop_unstored(&self, entry: &Entry) -> Result<(), Error> {
        if self.cache.mode() == Mode::On {
            return Ok(());
        }
        self.cache.invalidate(&self.site, entry).await
    }

    /// Puts a value into L1, and returns what is to go into the shared tier. A value that cannot be written changes
    /// nothing.
    fn store(&self, entry: Entry, value: V) -> Result<Option<Sealed>, Error> {
        if self.is_off() {
            return Ok(None);
        }
        let shape = self.plain();
        let settled = shape.settle(value, &Settling::now(self.cache.clock(), Some(self.ttl)));
        let (Some(slot), Some(ttl)) = (settled.slot, settled.ttl) else { return Ok(None) };
        let clock = self.cache.clock();
        let life = Life { since: clock.now(), ttl };
        let shared = self.cache.shared();
        let to_share = match (entry.name, shape.encoder(&slot), self.is_shared()) {
            (Some(name), Some(encoder), true) => {
                let fill = Fill { encoder, created_ms: clock.wall_ms(), life };
                Some((shared.seal(&name, fill)?, name.text))
            }
            _ => None,
        };
        Ok(self.cache.flights().supersede(&entry.key, || {
            self.cache.l1().insert(&self.site, &entry.key, slot);
            to_share.map(|(bytes, name)| Sealed { turn: shared.turns.take(&name), name, bytes, life })
        }))
    }
}

/// A value that is to be stored under a name, as bytes.
struct Sealed {
    name: String,
    bytes: Vec<u8>,
    life: Life,
    turn: Turn,
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
