//! What a cached function returns, seen from the cache: a value to keep, or an error to hand on.

use std::{
    any::{Any, type_name},
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    base::clock::{Clock, Nanos},
    error::{Error, load_timeout::LoadTimeout, shared::SharedLoadError},
    key::{KeyHasher, tag::Tag},
    spec::{FunctionSpec, Owner},
    value::{
        codec::{Format, Written},
        envelope::schema_fingerprint,
        erased::{ErasedValue, Failure, Freshness, Value},
        weigh::weigh,
    },
};

/// A function's return type with its policies, for code that does not know the types of its value and error.
pub trait ValuePolicy<R>: Send + Sync {
    /// What the function would have returned; `None` if the slot is another function's.
    fn restore(&self, slot: &dyn ErasedValue) -> Option<R>;

    /// Parts what the function returned into the caller's own and the others' share.
    fn settle(&self, out: R, terms: &LoadContext) -> LoadedValue<R>;

    /// How to write the value for the shared tier; `None` if it does not go there.
    fn encoder(&self, slot: &Arc<dyn ErasedValue>) -> Option<Encoder>;

    /// Reads a value of the shared tier.
    fn decode(
        &self,
        payload: &[u8],
        empty: bool,
        format: &Format,
        dates: Dates,
    ) -> Result<Arc<dyn ErasedValue>, Error>;

    /// The dates of a value that is not in the shared tier, although it belongs there.
    fn dates(&self, dates: Dates) -> Freshness;

    /// Names the function, the type and the version of the value.
    fn schema(&self, site: &FunctionSpec) -> u64;

    /// Whether values tell tags.
    fn has_value_tags(&self) -> bool;

    /// The names of the tags that a value tells; `None` if it cannot.
    fn value_tags(&self, slot: &dyn ErasedValue, hasher: &dyn KeyHasher) -> Option<Vec<String>>;

    /// How long a value is fresh; `None` if only the value tells.
    fn ttl_hint(&self) -> Option<Duration>;

    /// How long after it was fresh a value may be served.
    fn stale(&self) -> Duration;

    /// Whether a value is loaded again while there is one.
    fn is_renewed(&self) -> bool;

    /// Whether a slot of this function holds a value, and not an error.
    fn is_value(&self, slot: &dyn ErasedValue) -> bool;

    /// Whether what the function returned is an error.
    fn has_failed(&self, out: R) -> bool;

    /// The text of an error in a slot of this function; `None` if it has none.
    fn describe(&self, slot: &dyn ErasedValue) -> Option<SharedLoadError>;

    /// Whether an error can be made of text.
    fn can_revive(&self) -> bool;

    /// Parts an error of another process into the caller's own and the others' share; `None` if it cannot be made of text.
    fn revive(&self, error: SharedLoadError, now: Nanos) -> Option<LoadedValue<R>>;

    /// How long a load may take.
    fn load_timeout(&self) -> Option<Duration>;

    /// What the callers of a load are told that took longer; `None` if it may not.
    fn too_late(&self) -> Option<R>;
}

/// When a load ended, and what the caller asked for.
#[derive(Clone, Copy, Debug)]
pub struct LoadContext {
    /// Now.
    pub now: Nanos,
    /// Overrides the function's own.
    pub ttl: Option<Duration>,
    /// Between 0 and 1.
    pub random: f64,
}

impl LoadContext {
    pub(crate) fn now(clock: &Clock, ttl: Option<Duration>) -> Self {
        Self { now: clock.now(), ttl, random: random() }
    }
}

/// Between 0 and 1.
pub(crate) fn random() -> f64 {
    // Keyed anew each time; it only spreads expiries.
    let [a, b, c, d, ..] = RandomState::new().hash_one(0_u8).to_le_bytes();
    f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// The dates of a value that comes from the shared tier.
#[derive(Clone, Copy, Debug)]
pub struct Dates {
    /// Now.
    pub now: Nanos,
    /// How long ago it was loaded.
    pub age: Duration,
    /// How long it is still fresh.
    pub remaining: Duration,
    /// How long it may be served after that.
    pub stale: Duration,
}

/// What a load came to.
pub struct LoadedValue<R> {
    /// For the caller.
    pub out: R,
    /// For everyone else; `None` if it cannot be shared.
    pub slot: Option<Arc<dyn ErasedValue>>,
    /// How long the slot may be kept; `None` if not at all.
    pub ttl: Option<Duration>,
    /// Whether the load returned an error.
    pub is_error: bool,
}

/// Appends one value in a format, or in another one that has a form for it. It owns what it needs, so that it can run after the
/// caller was answered. With `true`, what it has written can be read again.
pub type Encoder = Box<dyn FnOnce(&Format, bool, &mut Vec<u8>) -> Result<Encoded, Error> + Send>;

/// What an [`Encoder`] has written.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    pub(crate) by: Written,
    /// The value is the empty one.
    pub(crate) is_empty: bool,
}

type Which<T> = fn(&T) -> bool;
type TooLate<E> = fn(LoadTimeout) -> E;
type Encode<V> = fn(&Format, &V, bool, &mut Vec<u8>) -> Result<Written, Error>;
type Decode<V> = fn(&Format, &[u8]) -> Result<V, Error>;

/// How an error gets to the followers.
pub struct Sharing<E>(Way<E>);

enum Way<E> {
    /// In copies.
    Copies { copy: fn(&E) -> E, pack: fn(E, Freshness) -> Arc<dyn ErasedValue>, peek: Peek<E> },
    /// As text.
    Words(Words<E>),
}

type Peek<E> = fn(&dyn ErasedValue) -> Option<&E>;

impl<E: Send + Sync + 'static> Sharing<E> {
    /// What is in the slot is a copy as well: the caller of the load keeps the error itself.
    pub(crate) fn by(copy: fn(&E) -> E) -> Self {
        Self(Way::Copies { copy, pack: |error, meta| Arc::new(Failure { meta, error }), peek: peek::<E> })
    }
}

fn peek<E: 'static>(slot: &dyn ErasedValue) -> Option<&E> {
    (slot as &dyn Any).downcast_ref::<Failure<E>>().map(|failure| &failure.error)
}

impl<E: Clone + Send + Sync + 'static> Sharing<E> {
    pub(crate) fn by_clone() -> Self {
        Self::by(E::clone)
    }
}

impl<E> Sharing<E> {
    fn pack(&self, error: &E, meta: Freshness) -> Arc<dyn ErasedValue> {
        match &self.0 {
            Way::Copies { copy, pack, .. } => pack(copy(error), meta),
            Way::Words(words) => Arc::new(Failure { meta, error: (words.read)(error) }),
        }
    }

    fn unpack(&self, slot: &dyn ErasedValue) -> Option<E> {
        match &self.0 {
            Way::Copies { copy, peek, .. } => peek(slot).map(copy),
            Way::Words(words) => peek::<SharedLoadError>(slot).cloned().map(words.make),
        }
    }
}

/// How an error is turned into text, and made of text.
pub struct Words<E> {
    read: fn(&E) -> SharedLoadError,
    make: fn(SharedLoadError) -> E,
}

impl<E: From<SharedLoadError>> Words<E> {
    pub(crate) fn read_by(read: fn(&E) -> SharedLoadError) -> Self {
        Self { read, make: E::from }
    }
}

impl<E> Clone for Words<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Words<E> {}

/// The shape of a function that returns an `R`: either the value `V` itself, or a `Result<V, E>`.
pub struct TypedPolicy<V, E, R> {
    split: fn(R) -> Result<V, E>,
    join: fn(Result<V, E>) -> R,
    ttl: fn() -> Duration,
    ttl_from: Option<fn(&V) -> Duration>,
    tags_from: Option<fn(&V) -> Vec<Tag>>,
    jitter: f64,
    stale: Option<fn() -> Duration>,
    refresh_ahead: Option<f64>,
    load_timeout: Option<(Duration, TooLate<E>)>,
    empty_ttl: Option<Duration>,
    cache_if: Option<fn(&V) -> bool>,
    is_empty: Option<fn(&V) -> bool>,
    keep_empty: bool,
    cache_err: Option<(Duration, Which<E>)>,
    sharing: Option<Sharing<E>>,
    words: Option<Words<E>>,
    heap: fn(&V) -> usize,
    wire: Option<(Encode<V>, Decode<V>)>,
    marker: PhantomData<fn() -> R>,
}

impl<V, E, R> TypedPolicy<V, E, R> {
    fn new(split: fn(R) -> Result<V, E>, join: fn(Result<V, E>) -> R) -> Self {
        Self {
            split,
            join,
            ttl: || Duration::ZERO,
            ttl_from: None,
            tags_from: None,
            jitter: 0.0,
            stale: None,
            refresh_ahead: None,
            load_timeout: None,
            empty_ttl: None,
            cache_if: None,
            is_empty: None,
            keep_empty: false,
            cache_err: None,
            sharing: None,
            words: None,
            heap: |_| 0,
            wire: None,
            marker: PhantomData,
        }
    }
}

impl<T> TypedPolicy<T, Infallible, T> {
    pub(crate) fn plain() -> Self {
        Self::new(Ok, |out| match out {
            Ok(value) => value,
            Err(never) => match never {},
        })
    }
}

impl<V, E> TypedPolicy<V, E, Result<V, E>> {
    pub(crate) fn fallible() -> Self {
        Self::new(|out| out, |out| out)
    }
}

/// One method for each option of the attribute.
impl<V, E, R> TypedPolicy<V, E, R> {
    /// How long a value is fresh.
    #[must_use]
    pub fn ttl(self, ttl: fn() -> Duration) -> Self {
        Self { ttl, ..self }
    }

    /// The same, from the value.
    #[must_use]
    pub fn ttl_from(self, ttl_from: fn(&V) -> Duration) -> Self {
        Self { ttl_from: Some(ttl_from), ..self }
    }

    /// Tags, from the value.
    #[must_use]
    pub fn tags_from(self, tags_from: fn(&V) -> Vec<Tag>) -> Self {
        Self { tags_from: Some(tags_from), ..self }
    }

    /// Shortens each ttl by up to this share of it.
    #[must_use]
    pub fn jitter(self, jitter: f64) -> Self {
        Self { jitter: jitter.clamp(0.0, 1.0), ..self }
    }

    /// How long after that a value may be served: while it is loaded again, and when that fails.
    #[must_use]
    pub fn stale(self, stale: fn() -> Duration) -> Self {
        Self { stale: Some(stale), ..self }
    }

    /// At which share of its life a value is loaded again.
    #[must_use]
    pub fn refresh_ahead(self, share: f64) -> Self {
        Self { refresh_ahead: Some(share), ..self }
    }

    /// How long a load may take, and the error that it ends in when it takes longer.
    #[must_use]
    pub fn load_timeout(self, limit: Duration, error: fn(LoadTimeout) -> E) -> Self {
        Self { load_timeout: Some((limit, error)), ..self }
    }

    /// How long a `None` is kept.
    #[must_use]
    pub fn empty_ttl(self, ttl: Duration) -> Self {
        Self { empty_ttl: Some(ttl), ..self }
    }

    /// Which values are kept.
    #[must_use]
    pub fn cache_if(self, cache_if: fn(&V) -> bool) -> Self {
        Self { cache_if: Some(cache_if), ..self }
    }

    /// Keeps a `None` as well.
    #[must_use]
    pub fn cache_none(self) -> Self {
        Self { keep_empty: true, ..self }
    }

    /// Which errors are kept, in this process, and for how long.
    #[must_use]
    pub fn cache_err(self, ttl: Duration, which: fn(&E) -> bool) -> Self {
        Self { cache_err: Some((ttl, which)), ..self }
    }

    /// How to tell a `None`.
    #[must_use]
    pub fn empty_if(self, is_empty: Option<fn(&V) -> bool>) -> Self {
        Self { is_empty, ..self }
    }

    /// How the followers get an error: as a copy, or else as text. Other processes get text only.
    #[must_use]
    pub fn share_errors(self, sharing: Option<Sharing<E>>, words: Option<Words<E>>) -> Self {
        let in_words = || words.map(|words| Sharing(Way::Words(words)));
        Self { sharing: sharing.or_else(in_words), words, ..self }
    }

    /// How an error is copied for the followers, instead. The text for other processes is that of the copy.
    #[must_use]
    pub fn share_err(self, copy: fn(&E) -> E) -> Self
    where
        E: Send + Sync + 'static,
    {
        Self { sharing: Some(Sharing::by(copy)), ..self }
    }

    /// How to estimate what a value holds on the heap.
    #[must_use]
    pub fn heap(self, heap: fn(&V) -> usize) -> Self {
        Self { heap, ..self }
    }

    /// Lets values go to the shared tier.
    #[must_use]
    pub fn shared(self) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        Self { wire: Some((Format::write, Format::decode)), heap: weigh, ..self }
    }
}

impl<V, E, R> TypedPolicy<V, E, R>
where
    V: Clone + Send + Sync + 'static,
{
    /// On the path of a hit, where the policies do not matter.
    #[inline]
    pub fn restore_value(&self, slot: &dyn ErasedValue) -> Option<R> {
        let Value { value, .. } = (slot as &dyn Any).downcast_ref::<Value<V>>()?;
        Some((self.join)(Ok(value.clone())))
    }

    fn is_empty(&self, value: &V) -> bool {
        self.is_empty.is_some_and(|is_empty| is_empty(value))
    }

    fn meta_at(&self, dates: Dates, weight: usize) -> Freshness {
        let meta = Freshness::new(dates.now, dates.age, dates.remaining, weight);
        let meta = self.refresh_ahead.map_or(meta, |share| meta.due_at(share));
        meta.usable_for(dates.stale.min(self.longest_stale()))
    }

    fn longest_stale(&self) -> Duration {
        self.stale.map_or(Duration::ZERO, |stale| stale())
    }

    /// How long to keep the value, if at all.
    fn verdict(&self, value: &V, terms: &LoadContext) -> Option<Duration> {
        if self.cache_if.is_some_and(|keep| !keep(value)) || (!self.keep_empty && self.is_empty(value)) {
            return None;
        }
        let own = || match self.empty_ttl.filter(|_| self.is_empty(value)) {
            Some(ttl) => ttl,
            None => self.ttl_from.map_or_else(self.ttl, |from| from(value)),
        };
        let ttl = terms.ttl.unwrap_or_else(own);
        let ttl = match self.jitter * terms.random {
            0.0 => ttl,
            // Too long to be multiplied is too long to matter.
            cut => Duration::try_from_secs_f64(ttl.as_secs_f64() * (1.0 - cut)).unwrap_or(ttl),
        };
        (!ttl.is_zero()).then_some(ttl)
    }
}

impl<V, E, R> ValuePolicy<R> for TypedPolicy<V, E, R>
where
    V: Clone + Send + Sync + 'static,
    E: 'static,
{
    fn restore(&self, slot: &dyn ErasedValue) -> Option<R> {
        self.restore_value(slot).or_else(|| {
            let error = self.sharing.as_ref()?.unpack(slot)?;
            Some((self.join)(Err(error)))
        })
    }

    fn settle(&self, out: R, terms: &LoadContext) -> LoadedValue<R> {
        match (self.split)(out) {
            Ok(value) => {
                let ttl = self.verdict(&value, terms);
                let (now, remaining, stale) = (terms.now, ttl.unwrap_or_default(), self.longest_stale());
                let dates = Dates { now, age: Duration::ZERO, remaining, stale };
                let meta = self.meta_at(dates, size_of::<V>() + (self.heap)(&value));
                let out = (self.join)(Ok(value.clone()));
                LoadedValue { out, slot: Some(Arc::new(Value { meta, value })), ttl, is_error: false }
            }
            Err(error) => {
                let wanted = self.cache_err.filter(|_| terms.ttl.is_none_or(|ttl| !ttl.is_zero()));
                let ttl = wanted.and_then(|(ttl, which)| which(&error).then_some(ttl));
                let meta = Freshness::new(terms.now, Duration::ZERO, ttl.unwrap_or_default(), size_of::<E>());
                // It is the user's code, and what it does must not take the error from its caller.
                let pack =
                    |sharing: &Sharing<E>| catch_unwind(AssertUnwindSafe(|| sharing.pack(&error, meta))).ok();
                let slot = self.sharing.as_ref().and_then(pack);
                LoadedValue { out: (self.join)(Err(error)), slot, ttl, is_error: true }
            }
        }
    }

    fn encoder(&self, slot: &Arc<dyn ErasedValue>) -> Option<Encoder> {
        let (encode, _) = self.wire?;
        let slot = slot.clone();
        let is_empty = self.is_empty;
        Some(Box::new(move |format, is_checked, out| {
            let any: &dyn Any = &*slot;
            let Value { value, .. } = any.downcast_ref::<Value<V>>().ok_or_else(not_shared)?;
            let by = encode(format, value, is_checked, out)?;
            Ok(Encoded { by, is_empty: is_empty.is_some_and(|is_empty| is_empty(value)) })
        }))
    }

    fn decode(
        &self,
        payload: &[u8],
        empty: bool,
        format: &Format,
        dates: Dates,
    ) -> Result<Arc<dyn ErasedValue>, Error> {
        let (_, decode) = self.wire.as_ref().ok_or_else(not_shared)?;
        let value = decode(format, payload)?;
        // A codec of the user's may write `Some(())` and `None` alike: better a miss than a wrong value.
        if self.is_empty(&value) != empty {
            return Err(Error::codec("a value and its absence are written alike"));
        }
        let meta = self.meta_at(dates, size_of::<V>() + (self.heap)(&value));
        Ok(Arc::new(Value { meta, value }))
    }

    fn dates(&self, dates: Dates) -> Freshness {
        self.meta_at(dates, 0)
    }

    fn schema(&self, site: &FunctionSpec) -> u64 {
        let names = match site.owned_by() {
            Owner::Anyone => &[type_name::<V>()][..],
            Owner::Function(path) => &[path, type_name::<V>()],
            Owner::Schema(name) => &[name],
        };
        schema_fingerprint(names, site.schema_version())
    }

    fn has_value_tags(&self) -> bool {
        self.tags_from.is_some()
    }

    fn value_tags(&self, slot: &dyn ErasedValue, hasher: &dyn KeyHasher) -> Option<Vec<String>> {
        let Some(tags_from) = self.tags_from else { return Some(Vec::new()) };
        // An error has no value.
        let Some(Value { value, .. }) = (slot as &dyn Any).downcast_ref::<Value<V>>() else {
            return Some(Vec::new());
        };
        // It is the user's code.
        let told = catch_unwind(AssertUnwindSafe(|| tags_from(value))).ok()?;
        told.iter().map(|tag| tag.name(hasher).ok()).collect()
    }

    fn ttl_hint(&self) -> Option<Duration> {
        self.ttl_from.is_none().then(|| (self.ttl)().max(self.empty_ttl.unwrap_or_default()))
    }

    fn stale(&self) -> Duration {
        self.longest_stale()
    }

    fn is_renewed(&self) -> bool {
        self.stale.is_some() || self.refresh_ahead.is_some()
    }

    fn is_value(&self, slot: &dyn ErasedValue) -> bool {
        (slot as &dyn Any).is::<Value<V>>()
    }

    fn has_failed(&self, out: R) -> bool {
        (self.split)(out).is_err()
    }

    fn describe(&self, slot: &dyn ErasedValue) -> Option<SharedLoadError> {
        let words = self.words?;
        let describe = || match &self.sharing.as_ref()?.0 {
            Way::Copies { peek, .. } => peek(slot).map(words.read),
            Way::Words(_) => peek::<SharedLoadError>(slot).cloned(),
        };
        // It is the user's code.
        catch_unwind(AssertUnwindSafe(describe)).ok()?
    }

    fn can_revive(&self) -> bool {
        self.words.is_some()
    }

    fn revive(&self, error: SharedLoadError, now: Nanos) -> Option<LoadedValue<R>> {
        let words = self.words?;
        let meta = Freshness::new(now, Duration::ZERO, Duration::ZERO, size_of::<E>());
        let out = (words.make)(error.clone());
        let slot: Arc<dyn ErasedValue> = match &self.sharing.as_ref()?.0 {
            Way::Copies { copy, pack, .. } => pack(copy(&out), meta),
            // Its own text, and not that of the error that was made of it.
            Way::Words(_) => Arc::new(Failure { meta, error }),
        };
        Some(LoadedValue { out: (self.join)(Err(out)), slot: Some(slot), ttl: None, is_error: true })
    }

    fn load_timeout(&self) -> Option<Duration> {
        self.load_timeout.map(|(limit, _)| limit)
    }

    fn too_late(&self) -> Option<R> {
        let (limit, error) = self.load_timeout?;
        Some((self.join)(Err(error(LoadTimeout { limit }))))
    }
}

fn not_shared() -> Error {
    Error::codec("this type of value is not shared")
}
