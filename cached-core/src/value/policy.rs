//! Policies of a return type: which values and errors are kept, and for how long.
//!
//! Most of the runtime handles a `dyn ErasedValue` and does not know the types of values and errors. A
//! [`ValuePolicy`] converts the result `R` of a function to an erased value and back, and applies the options
//! of the attribute. [`TypedPolicy`] implements it. The result of a load has two parts: one for the caller,
//! and one that followers and tiers share.

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

/// Policies of a return type, for code that does not know its value and error types.
pub trait ValuePolicy<R>: Send + Sync {
    /// Restores the function's result from `slot`; `None` if the slot is another function's.
    fn restore(&self, slot: &dyn ErasedValue) -> Option<R>;

    /// Splits a result into the part for the caller and the part that others share.
    fn settle(&self, out: R, terms: &LoadContext) -> LoadedValue<R>;

    /// Returns the encoder of the value for L2; `None` if the value is not stored there.
    fn encoder(&self, slot: &Arc<dyn ErasedValue>) -> Option<Encoder>;

    /// Decodes a value of L2.
    fn decode(
        &self,
        payload: &[u8],
        empty: bool,
        format: &Format,
        dates: Dates,
    ) -> Result<Arc<dyn ErasedValue>, Error>;

    /// Returns the times of a value that L2 cannot hold, and represents by a stub.
    fn dates(&self, dates: Dates) -> Freshness;

    /// Returns the fingerprint that identifies the function, the type and the version of values.
    ///
    /// A `schema` replaces the function and the type.
    fn schema(&self, site: &FunctionSpec) -> u64;

    /// Returns whether values determine tags (`tags_from`).
    fn has_value_tags(&self) -> bool;

    /// Returns the names of the tags that a value determines; `None` if it fails to.
    fn value_tags(&self, slot: &dyn ErasedValue, hasher: &dyn KeyHasher) -> Option<Vec<String>>;

    /// Returns the longest time a value is fresh; `None` if the value determines it.
    fn ttl_hint(&self) -> Option<Duration>;

    /// Returns the time for which a value may be served after it was fresh.
    fn stale(&self) -> Duration;

    /// Returns whether a value is loaded again while an earlier one is still there.
    fn is_renewed(&self) -> bool;

    /// Returns whether a slot of this function holds a value, and not an error.
    fn is_value(&self, slot: &dyn ErasedValue) -> bool;

    /// Returns whether the function's result is an error.
    fn has_failed(&self, out: R) -> bool;

    /// Returns the text of the error in a slot of this function; `None` if it has none.
    fn describe(&self, slot: &dyn ErasedValue) -> Option<SharedLoadError>;

    /// Returns whether an error can be made from text.
    fn can_revive(&self) -> bool;

    /// Makes an error from the text of another process, and splits it as `settle` does.
    ///
    /// Returns `None` if an error cannot be made from text.
    fn revive(&self, error: SharedLoadError, now: Nanos) -> Option<LoadedValue<R>>;

    /// Returns the longest time a load may take; `None` without a limit.
    fn load_timeout(&self) -> Option<Duration>;

    /// Returns the result of a load that exceeds `load_timeout`; `None` without one.
    fn too_late(&self) -> Option<R>;
}

/// Time at which a load ended, and the caller's settings for its value.
#[derive(Clone, Copy, Debug)]
pub struct LoadContext {
    /// Current time.
    pub now: Nanos,
    /// Ttl that overrides the function's own; zero keeps nothing.
    pub ttl: Option<Duration>,
    /// Random number between 0 and 1, for the jitter.
    pub random: f64,
}

impl LoadContext {
    pub(crate) fn now(clock: &Clock, ttl: Option<Duration>) -> Self {
        Self { now: clock.now(), ttl, random: random() }
    }
}

/// Returns a random number between 0 and 1.
pub(crate) fn random() -> f64 {
    // Each `RandomState` has another key. The number only spreads expiries, so this is random enough.
    let [a, b, c, d, ..] = RandomState::new().hash_one(0_u8).to_le_bytes();
    f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// Age and remaining life of a value, usually of one that comes from L2.
#[derive(Clone, Copy, Debug)]
pub struct Dates {
    /// Current time.
    pub now: Nanos,
    /// Time since the value was loaded.
    pub age: Duration,
    /// Time for which the value is still fresh.
    pub remaining: Duration,
    /// Time for which the value may be served after that.
    pub stale: Duration,
}

/// Outcome of a load.
pub struct LoadedValue<R> {
    /// Result for the caller.
    pub out: R,
    /// Content for followers and tiers; `None` if it cannot be shared.
    pub slot: Option<Arc<dyn ErasedValue>>,
    /// Time for which the slot may be kept; `None` if not at all.
    pub ttl: Option<Duration>,
    /// `true` if the load returned an error.
    pub is_error: bool,
}

/// Appends one value in a format, or in another one that has a form for it.
///
/// The encoder owns its input, so that it can run after the caller has its result. With `true`, the bytes
/// that it writes are known to be readable again.
pub type Encoder = Box<dyn FnOnce(&Format, bool, &mut Vec<u8>) -> Result<Encoded, Error> + Send>;

/// Outcome of an [`Encoder`].
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    pub(crate) by: Written,
    /// `true` if the value is the empty one (`None`).
    pub(crate) is_empty: bool,
}

type Predicate<T> = fn(&T) -> bool;
type TooLate<E> = fn(LoadTimeout) -> E;
type Encode<V> = fn(&Format, &V, bool, &mut Vec<u8>) -> Result<Written, Error>;
type Decode<V> = fn(&Format, &[u8]) -> Result<V, Error>;

/// Method by which an error reaches the followers.
pub struct Sharing<E>(Way<E>);

enum Way<E> {
    /// Each follower gets a copy of the error.
    Copies { copy: fn(&E) -> E, pack: fn(E, Freshness) -> Arc<dyn ErasedValue>, peek: Peek<E> },
    /// Each follower gets an error made from the text of the error.
    Words(Words<E>),
}

type Peek<E> = fn(&dyn ErasedValue) -> Option<&E>;

impl<E: Send + Sync + 'static> Sharing<E> {
    /// Shares copies of the error.
    ///
    /// The slot holds a copy as well, because the caller of the load keeps the error itself.
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

/// Conversion of an error to text, and of text to an error.
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

/// Policies of a function that returns an `R`: a value `V`, or a `Result<V, E>`.
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
    cache_err: Option<(Duration, Predicate<E>)>,
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
    /// Sets the time for which a value is fresh.
    #[must_use]
    pub fn ttl(self, ttl: fn() -> Duration) -> Self {
        Self { ttl, ..self }
    }

    /// Derives the time for which a value is fresh from the value.
    #[must_use]
    pub fn ttl_from(self, ttl_from: fn(&V) -> Duration) -> Self {
        Self { ttl_from: Some(ttl_from), ..self }
    }

    /// Derives further tags from the value.
    #[must_use]
    pub fn tags_from(self, tags_from: fn(&V) -> Vec<Tag>) -> Self {
        Self { tags_from: Some(tags_from), ..self }
    }

    /// Shortens each ttl by a random share of up to `jitter`.
    #[must_use]
    pub fn jitter(self, jitter: f64) -> Self {
        Self { jitter: jitter.clamp(0.0, 1.0), ..self }
    }

    /// Sets the time for which a value may be served after it was fresh.
    ///
    /// A stale value is served while it is loaded again, and when that load fails.
    #[must_use]
    pub fn stale(self, stale: fn() -> Duration) -> Self {
        Self { stale: Some(stale), ..self }
    }

    /// Sets the share of its life after which a value is loaded again.
    #[must_use]
    pub fn refresh_ahead(self, share: f64) -> Self {
        Self { refresh_ahead: Some(share), ..self }
    }

    /// Sets the longest time a load may take, and the error of one that takes longer.
    #[must_use]
    pub fn load_timeout(self, limit: Duration, error: fn(LoadTimeout) -> E) -> Self {
        Self { load_timeout: Some((limit, error)), ..self }
    }

    /// Sets the time for which a `None` is kept.
    #[must_use]
    pub fn empty_ttl(self, ttl: Duration) -> Self {
        Self { empty_ttl: Some(ttl), ..self }
    }

    /// Selects the values that are kept.
    #[must_use]
    pub fn cache_if(self, cache_if: fn(&V) -> bool) -> Self {
        Self { cache_if: Some(cache_if), ..self }
    }

    /// Keeps a `None` as well.
    #[must_use]
    pub fn cache_none(self) -> Self {
        Self { keep_empty: true, ..self }
    }

    /// Selects the errors that are kept, in this process, and sets their ttl.
    #[must_use]
    pub fn cache_err(self, ttl: Duration, which: fn(&E) -> bool) -> Self {
        Self { cache_err: Some((ttl, which)), ..self }
    }

    /// Sets the function that recognises a `None`.
    #[must_use]
    pub fn empty_if(self, is_empty: Option<fn(&V) -> bool>) -> Self {
        Self { is_empty, ..self }
    }

    /// Shares errors with the followers: as copies if possible, or else as text.
    ///
    /// Other processes get text only.
    #[must_use]
    pub fn share_errors(self, sharing: Option<Sharing<E>>, words: Option<Words<E>>) -> Self {
        let in_words = || words.map(|words| Sharing(Way::Words(words)));
        Self { sharing: sharing.or_else(in_words), words, ..self }
    }

    /// Makes the copies for the followers with `copy` instead.
    ///
    /// The text for other processes is that of the copy.
    #[must_use]
    pub fn share_err(self, copy: fn(&E) -> E) -> Self
    where
        E: Send + Sync + 'static,
    {
        Self { sharing: Some(Sharing::by(copy)), ..self }
    }

    /// Sets the function that estimates the bytes that a value holds on the heap.
    #[must_use]
    pub fn heap(self, heap: fn(&V) -> usize) -> Self {
        Self { heap, ..self }
    }

    /// Stores values in L2 as well, and estimates their heap size through `Serialize`.
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
    /// Restores a result from a value; `None` if the slot does not hold a `V`.
    ///
    /// This is the path of a hit, where the policies do not matter.
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

    /// Returns the time for which to keep the value; `None` if not at all.
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
            // A ttl that is too long to be multiplied is too long for the jitter to matter.
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
                // This is the user's code: a panic in it must not take the error from the caller.
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
        // A custom codec may write `Some(())` and `None` alike: a miss is better than a wrong value.
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
        // The slot of an error holds no value to derive tags from.
        let Some(Value { value, .. }) = (slot as &dyn Any).downcast_ref::<Value<V>>() else {
            return Some(Vec::new());
        };
        // This is the user's code, which may panic.
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
        // This is the user's code, which may panic.
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
            // The original text, and not that of the error that was made from it.
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
