//! Policies of a return type: which values and errors are kept, and for how long.
//!
//! Most of the runtime handles a `dyn ErasedValue` and does not know the types of values and errors, nor the
//! return type. It applies the options of the attribute through a [`ValuePolicy`]. Only the two ends of a call
//! know the return type `R`: there, a [`ResultPolicy`] converts a result to an erased value and back.
//! [`TypedPolicy`] implements both. The result of a load has two parts: one for the caller, and one that
//! followers and tiers share.
//!
//! * `options`: a method for each option of the attribute, which sets it.
//! * `apply`: the implementation of [`ValuePolicy`], which applies the options.
//! * `result`: the implementation of [`ResultPolicy`].
//! * `slot`: the place of a result, which untyped code fills and splits.
//! * `freshness`: the ttl of a value, and the times that follow from it.
//! * `weight`: the bytes that a value counts for.
//! * `sharing`: the method by which an error reaches followers and other processes.
//! * `load`: the input and the output of a split.
//! * `stored`: the times and the encoder of a value in L2.
//!
//! `private::probe` creates the policies of a function, and `call` applies them.

mod apply;
mod freshness;
mod load;
mod options;
mod result;
mod sharing;
mod slot;
mod stored;
mod weight;

use std::{convert::Infallible, marker::PhantomData, sync::Arc, time::Duration};

pub(crate) use self::{
    load::random,
    slot::{ResultSlot, TypedSlot},
    stored::Encoded,
};
pub use self::{
    load::{LoadContext, LoadedValue},
    sharing::{ErrorText, Sharing},
    stored::{Encoder, Lifespan},
};
use crate::{
    base::clock::Nanos,
    error::{Error, load_timeout::LoadTimeout, shared::SharedLoadError},
    key::{KeyHasher, tag::Tag},
    spec::FunctionSpec,
    value::{
        codec::{CodecId, Format},
        erased::{ErasedValue, Freshness},
    },
};

/// Policies of a return type, for code that does not know its value and error types.
pub trait ValuePolicy: Send + Sync {
    /// Returns the encoder of the value for L2; `None` if the value is not stored there.
    fn encoder(&self, erased: &Arc<dyn ErasedValue>) -> Option<Encoder>;

    /// Decodes a value of L2.
    fn decode(
        &self,
        payload: &[u8],
        is_empty: bool,
        format: &Format,
        lifespan: Lifespan,
    ) -> Result<Arc<dyn ErasedValue>, Error>;

    /// Returns the times of a value that L2 cannot hold, and represents by a stub.
    fn stub_freshness(&self, lifespan: Lifespan) -> Freshness;

    /// Returns the fingerprint that identifies the function, the type and the version of values.
    ///
    /// A `schema` replaces the function and the type.
    fn schema(&self, spec: &FunctionSpec) -> u64;

    /// Returns whether values determine tags (`tags_from`).
    fn has_value_tags(&self) -> bool;

    /// Returns the names of the tags that a value determines; `None` if it fails to.
    fn value_tags(&self, erased: &dyn ErasedValue, hasher: &dyn KeyHasher) -> Option<Vec<String>>;

    /// Returns the longest time a value is fresh; `None` if the value determines it.
    fn ttl_hint(&self) -> Option<Duration>;

    /// Returns the time for which a value may be served after it was fresh.
    fn stale(&self) -> Duration;

    /// Returns whether a value is loaded again while an earlier one is still there.
    fn has_early_renewal(&self) -> bool;

    /// Returns whether `erased` is a value of this function, and not an error.
    fn is_value(&self, erased: &dyn ErasedValue) -> bool;

    /// Returns whether `erased` is a value or an error of this function.
    ///
    /// Only the attempt to restore an error shows whether that succeeds: it is the user's code.
    fn is_result(&self, erased: &dyn ErasedValue) -> bool;

    /// Returns whether `erased` is a value of this function, or an error that can be restored.
    ///
    /// Restores an error and drops it.
    fn can_restore(&self, erased: &dyn ErasedValue) -> bool;

    /// Returns the text of the error in an erased value of this function; `None` if it has none.
    fn shared_error(&self, erased: &dyn ErasedValue) -> Option<SharedLoadError>;

    /// Returns whether an error can be made from text.
    fn can_rebuild_errors(&self) -> bool;

    /// Makes an error from the text of another process.
    ///
    /// Returns `None` if an error cannot be made from text.
    fn rebuild_error(&self, error: SharedLoadError, now: Nanos) -> Option<Arc<dyn ErasedValue>>;

    /// Returns the longest time a load may take; `None` without a limit.
    fn load_timeout(&self) -> Option<Duration>;
}

/// Policies of the return type `R`, for the code at the ends of a call.
pub trait ResultPolicy<R>: ValuePolicy {
    /// Restores the function's result from `erased`; `None` if that is another function's, or if the user's
    /// code cannot restore an error.
    fn restore(&self, erased: &dyn ErasedValue) -> Option<R>;

    /// Splits a result into the part for the caller and the part that others share.
    fn split_result(&self, result: R, context: &LoadContext) -> (R, LoadedValue);

    /// Returns whether the function's result is an error.
    fn is_error_result(&self, result: R) -> bool;

    /// Returns the result of a load that exceeds `load_timeout`; `None` without one.
    fn timeout_result(&self) -> Option<R>;
}

type Predicate<T> = fn(&T) -> bool;
type MakeTimeoutError<E> = fn(LoadTimeout) -> E;
type Encode<V> = fn(&Format, &V, bool, &mut Vec<u8>) -> Result<CodecId, Error>;
type Decode<V> = fn(&Format, &[u8]) -> Result<V, Error>;

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
    error_text: Option<ErrorText<E>>,
    heap_bytes: fn(&V) -> usize,
    weight: Option<fn(&V) -> usize>,
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
            error_text: None,
            heap_bytes: |_| 0,
            weight: None,
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
