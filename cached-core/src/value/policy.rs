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
        codec::{CodecId, Format},
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
    fn split_result(&self, result: R, context: &LoadContext) -> LoadedValue<R>;

    /// Returns the encoder of the value for L2; `None` if the value is not stored there.
    fn encoder(&self, slot: &Arc<dyn ErasedValue>) -> Option<Encoder>;

    /// Decodes a value of L2.
    fn decode(
        &self,
        payload: &[u8],
        is_empty: bool,
        format: &Format,
        dates: Dates,
    ) -> Result<Arc<dyn ErasedValue>, Error>;

    /// Returns the times of a value that L2 cannot hold, and represents by a stub.
    fn stub_freshness(&self, dates: Dates) -> Freshness;

    /// Returns the fingerprint that identifies the function, the type and the version of values.
    ///
    /// A `schema` replaces the function and the type.
    fn schema(&self, spec: &FunctionSpec) -> u64;

    /// Returns whether values determine tags (`tags_from`).
    fn has_value_tags(&self) -> bool;

    /// Returns the names of the tags that a value determines; `None` if it fails to.
    fn value_tags(&self, slot: &dyn ErasedValue, hasher: &dyn KeyHasher) -> Option<Vec<String>>;

    /// Returns the longest time a value is fresh; `None` if the value determines it.
    fn ttl_hint(&self) -> Option<Duration>;

    /// Returns the time for which a value may be served after it was fresh.
    fn stale(&self) -> Duration;

    /// Returns whether a value is loaded again while an earlier one is still there.
    fn has_early_renewal(&self) -> bool;

    /// Returns whether a slot of this function holds a value, and not an error.
    fn is_value(&self, slot: &dyn ErasedValue) -> bool;

    /// Returns whether the function's result is an error.
    fn is_error_result(&self, result: R) -> bool;

    /// Returns the text of the error in a slot of this function; `None` if it has none.
    fn shared_error(&self, slot: &dyn ErasedValue) -> Option<SharedLoadError>;

    /// Returns whether an error can be made from text.
    fn can_rebuild_errors(&self) -> bool;

    /// Makes an error from the text of another process, and splits it as `split_result` does.
    ///
    /// Returns `None` if an error cannot be made from text.
    fn rebuild_error(&self, error: SharedLoadError, now: Nanos) -> Option<LoadedValue<R>>;

    /// Returns the longest time a load may take; `None` without a limit.
    fn load_timeout(&self) -> Option<Duration>;

    /// Returns the result of a load that exceeds `load_timeout`; `None` without one.
    fn timeout_result(&self) -> Option<R>;
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
    pub(crate) fn new(clock: &Clock, ttl: Option<Duration>) -> Self {
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
    pub result: R,
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
    pub(crate) codec: CodecId,
    /// `true` if the value is the empty one (`None`).
    pub(crate) is_empty: bool,
}

type Predicate<T> = fn(&T) -> bool;
type MakeTimeoutError<E> = fn(LoadTimeout) -> E;
type Encode<V> = fn(&Format, &V, bool, &mut Vec<u8>) -> Result<CodecId, Error>;
type Decode<V> = fn(&Format, &[u8]) -> Result<V, Error>;

/// Method by which an error reaches the followers.
pub struct Sharing<E>(SharingMethod<E>);

enum SharingMethod<E> {
    /// Each follower gets a copy of the error.
    Copies { copy: fn(&E) -> E, erase: fn(E, Freshness) -> Arc<dyn ErasedValue>, downcast: DowncastError<E> },
    /// Each follower gets an error made from the text of the error.
    Text(Words<E>),
}

type DowncastError<E> = fn(&dyn ErasedValue) -> Option<&E>;

impl<E: Send + Sync + 'static> Sharing<E> {
    /// Shares copies of the error.
    ///
    /// The slot holds a copy as well, because the caller of the load keeps the error itself.
    pub(crate) fn by_copy(copy: fn(&E) -> E) -> Self {
        Self(SharingMethod::Copies {
            copy,
            erase: |error, freshness| Arc::new(Failure { freshness, error }),
            downcast: downcast_error::<E>,
        })
    }
}

fn downcast_error<E: 'static>(slot: &dyn ErasedValue) -> Option<&E> {
    (slot as &dyn Any).downcast_ref::<Failure<E>>().map(|failure| &failure.error)
}

impl<E: Clone + Send + Sync + 'static> Sharing<E> {
    pub(crate) fn by_clone() -> Self {
        Self::by_copy(E::clone)
    }
}

impl<E> Sharing<E> {
    fn erase(&self, error: &E, freshness: Freshness) -> Arc<dyn ErasedValue> {
        match &self.0 {
            SharingMethod::Copies { copy, erase, .. } => erase(copy(error), freshness),
            SharingMethod::Text(words) => Arc::new(Failure { freshness, error: (words.to_text)(error) }),
        }
    }

    fn restore_error(&self, slot: &dyn ErasedValue) -> Option<E> {
        match &self.0 {
            SharingMethod::Copies { copy, downcast, .. } => downcast(slot).map(copy),
            SharingMethod::Text(words) => {
                downcast_error::<SharedLoadError>(slot).cloned().map(words.from_text)
            }
        }
    }
}

/// Conversion of an error to text, and of text to an error.
pub struct Words<E> {
    to_text: fn(&E) -> SharedLoadError,
    from_text: fn(SharedLoadError) -> E,
}

impl<E: From<SharedLoadError>> Words<E> {
    pub(crate) fn new(to_text: fn(&E) -> SharedLoadError) -> Self {
        Self { to_text, from_text: E::from }
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
    load_timeout: Option<(Duration, MakeTimeoutError<E>)>,
    empty_ttl: Option<Duration>,
    cache_if: Option<fn(&V) -> bool>,
    is_empty: Option<fn(&V) -> bool>,
    caches_empty: bool,
    cache_err: Option<(Duration, Predicate<E>)>,
    sharing: Option<Sharing<E>>,
    words: Option<Words<E>>,
    heap_bytes: fn(&V) -> usize,
    codec: Option<(Encode<V>, Decode<V>)>,
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
            caches_empty: false,
            cache_err: None,
            sharing: None,
            words: None,
            heap_bytes: |_| 0,
            codec: None,
            marker: PhantomData,
        }
    }
}

impl<T> TypedPolicy<T, Infallible, T> {
    pub(crate) fn plain() -> Self {
        Self::new(Ok, |result| match result {
            Ok(value) => value,
            Err(never) => match never {},
        })
    }
}

impl<V, E> TypedPolicy<V, E, Result<V, E>> {
    pub(crate) fn fallible() -> Self {
        Self::new(|result| result, |result| result)
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
        Self { caches_empty: true, ..self }
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
        let as_text = || words.map(|words| Sharing(SharingMethod::Text(words)));
        Self { sharing: sharing.or_else(as_text), words, ..self }
    }

    /// Makes the copies for the followers with `copy` instead.
    ///
    /// The text for other processes is that of the copy.
    #[must_use]
    pub fn share_err(self, copy: fn(&E) -> E) -> Self
    where
        E: Send + Sync + 'static,
    {
        Self { sharing: Some(Sharing::by_copy(copy)), ..self }
    }

    /// Sets the function that estimates the bytes that a value holds on the heap.
    #[must_use]
    pub fn heap(self, heap: fn(&V) -> usize) -> Self {
        Self { heap_bytes: heap, ..self }
    }

    /// Stores values in L2 as well, and estimates their heap size through `Serialize`.
    #[must_use]
    pub fn shared(self) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        Self { codec: Some((Format::write, Format::decode)), heap_bytes: weigh, ..self }
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

    fn freshness_at(&self, dates: Dates, weight: usize) -> Freshness {
        let freshness = Freshness::new(dates.now, dates.age, dates.remaining, weight);
        let freshness = self.refresh_ahead.map_or(freshness, |share| freshness.with_refresh_ahead(share));
        freshness.with_stale(dates.stale.min(self.stale_period()))
    }

    fn stale_period(&self) -> Duration {
        self.stale.map_or(Duration::ZERO, |stale| stale())
    }

    /// Returns the time for which to keep the value; `None` if not at all.
    fn ttl_of(&self, value: &V, context: &LoadContext) -> Option<Duration> {
        if self.cache_if.is_some_and(|keep| !keep(value)) || (!self.caches_empty && self.is_empty(value)) {
            return None;
        }
        let own_ttl = || match self.empty_ttl.filter(|_| self.is_empty(value)) {
            Some(ttl) => ttl,
            None => self.ttl_from.map_or_else(self.ttl, |from| from(value)),
        };
        let ttl = context.ttl.unwrap_or_else(own_ttl);
        let ttl = match self.jitter * context.random {
            0.0 => ttl,
            // A ttl that is too long to be multiplied is too long for the jitter to matter.
            reduction => Duration::try_from_secs_f64(ttl.as_secs_f64() * (1.0 - reduction)).unwrap_or(ttl),
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
            let error = self.sharing.as_ref()?.restore_error(slot)?;
            Some((self.join)(Err(error)))
        })
    }

    fn split_result(&self, result: R, context: &LoadContext) -> LoadedValue<R> {
        match (self.split)(result) {
            Ok(value) => {
                let ttl = self.ttl_of(&value, context);
                let (now, remaining, stale) = (context.now, ttl.unwrap_or_default(), self.stale_period());
                let dates = Dates { now, age: Duration::ZERO, remaining, stale };
                let freshness = self.freshness_at(dates, size_of::<V>() + (self.heap_bytes)(&value));
                let result = (self.join)(Ok(value.clone()));
                LoadedValue { result, slot: Some(Arc::new(Value { freshness, value })), ttl, is_error: false }
            }
            Err(error) => {
                let cache_err = self.cache_err.filter(|_| context.ttl.is_none_or(|ttl| !ttl.is_zero()));
                let ttl = cache_err.and_then(|(ttl, which)| which(&error).then_some(ttl));
                let freshness =
                    Freshness::new(context.now, Duration::ZERO, ttl.unwrap_or_default(), size_of::<E>());
                // This is the user's code: a panic in it must not take the error from the caller.
                let erase = |sharing: &Sharing<E>| {
                    catch_unwind(AssertUnwindSafe(|| sharing.erase(&error, freshness))).ok()
                };
                let slot = self.sharing.as_ref().and_then(erase);
                LoadedValue { result: (self.join)(Err(error)), slot, ttl, is_error: true }
            }
        }
    }

    fn encoder(&self, slot: &Arc<dyn ErasedValue>) -> Option<Encoder> {
        let (encode, _) = self.codec?;
        let slot = slot.clone();
        let is_empty = self.is_empty;
        Some(Box::new(move |format, is_checked, out| {
            let any: &dyn Any = &*slot;
            let Value { value, .. } = any.downcast_ref::<Value<V>>().ok_or_else(not_shared)?;
            let codec = encode(format, value, is_checked, out)?;
            Ok(Encoded { codec, is_empty: is_empty.is_some_and(|is_empty| is_empty(value)) })
        }))
    }

    fn decode(
        &self,
        payload: &[u8],
        is_empty: bool,
        format: &Format,
        dates: Dates,
    ) -> Result<Arc<dyn ErasedValue>, Error> {
        let (_, decode) = self.codec.as_ref().ok_or_else(not_shared)?;
        let value = decode(format, payload)?;
        // A custom codec may write `Some(())` and `None` alike: a miss is better than a wrong value.
        if self.is_empty(&value) != is_empty {
            return Err(Error::codec("the codec writes a value and its absence alike"));
        }
        let freshness = self.freshness_at(dates, size_of::<V>() + (self.heap_bytes)(&value));
        Ok(Arc::new(Value { freshness, value }))
    }

    fn stub_freshness(&self, dates: Dates) -> Freshness {
        self.freshness_at(dates, 0)
    }

    fn schema(&self, spec: &FunctionSpec) -> u64 {
        let names = match spec.owned_by() {
            Owner::Anyone => &[type_name::<V>()][..],
            Owner::Function(path) => &[path, type_name::<V>()],
            Owner::Schema(name) => &[name],
        };
        schema_fingerprint(names, spec.schema_version())
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
        let tags = catch_unwind(AssertUnwindSafe(|| tags_from(value))).ok()?;
        tags.iter().map(|tag| tag.name(hasher).ok()).collect()
    }

    fn ttl_hint(&self) -> Option<Duration> {
        self.ttl_from.is_none().then(|| (self.ttl)().max(self.empty_ttl.unwrap_or_default()))
    }

    fn stale(&self) -> Duration {
        self.stale_period()
    }

    fn has_early_renewal(&self) -> bool {
        self.stale.is_some() || self.refresh_ahead.is_some()
    }

    fn is_value(&self, slot: &dyn ErasedValue) -> bool {
        (slot as &dyn Any).is::<Value<V>>()
    }

    fn is_error_result(&self, result: R) -> bool {
        (self.split)(result).is_err()
    }

    fn shared_error(&self, slot: &dyn ErasedValue) -> Option<SharedLoadError> {
        let words = self.words?;
        let describe = || match &self.sharing.as_ref()?.0 {
            SharingMethod::Copies { downcast, .. } => downcast(slot).map(words.to_text),
            SharingMethod::Text(_) => downcast_error::<SharedLoadError>(slot).cloned(),
        };
        // This is the user's code, which may panic.
        catch_unwind(AssertUnwindSafe(describe)).ok()?
    }

    fn can_rebuild_errors(&self) -> bool {
        self.words.is_some()
    }

    fn rebuild_error(&self, error: SharedLoadError, now: Nanos) -> Option<LoadedValue<R>> {
        let words = self.words?;
        let freshness = Freshness::new(now, Duration::ZERO, Duration::ZERO, size_of::<E>());
        let own_error = (words.from_text)(error.clone());
        let slot: Arc<dyn ErasedValue> = match &self.sharing.as_ref()?.0 {
            SharingMethod::Copies { copy, erase, .. } => erase(copy(&own_error), freshness),
            // The original text, and not that of the error that was made from it.
            SharingMethod::Text(_) => Arc::new(Failure { freshness, error }),
        };
        Some(LoadedValue { result: (self.join)(Err(own_error)), slot: Some(slot), ttl: None, is_error: true })
    }

    fn load_timeout(&self) -> Option<Duration> {
        self.load_timeout.map(|(limit, _)| limit)
    }

    fn timeout_result(&self) -> Option<R> {
        let (limit, error) = self.load_timeout?;
        Some((self.join)(Err(error(LoadTimeout { limit }))))
    }
}

fn not_shared() -> Error {
    Error::codec("values of this type are not shared")
}
