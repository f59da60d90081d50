//! Decisions by type in generated code.
//!
//! The attribute sees tokens: to it, an alias of `Result` is any type. So it asks the compiler, by calling a method
//! that exists twice: as an inherent method for the special type, which is preferred, and as a trait's for every
//! other. Where there are more than two answers, it calls the method on a reference: then what takes `&Probe` is
//! preferred, before what takes `&&Probe`, and that before what takes `Probe`. Their names begin with `__cached_`,
//! because a trait of the user's may have methods for every type. A method that exists in order to be refused has a
//! bound that nothing meets, with the message.

use std::{convert::Infallible, error::Error, marker::PhantomData, ops::Deref, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{load_timeout::LoadTimeout, shared::SharedLoadError},
    value::{
        erased::ErasedValue,
        policy::{Sharing, TypedPolicy, ValuePolicy, Words},
        weigh::weigh,
    },
};

/// Stands for a type.
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T> Probe<T> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// A method that takes a probe by value can be called on a reference.
impl<T> Clone for Probe<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Probe<T> {}

/// The type of the values.
pub fn value_of<V, E, R>(_: &TypedPolicy<V, E, R>) -> Probe<V> {
    Probe::new()
}

/// The type of the errors.
pub fn error_of<V, E, R>(_: &TypedPolicy<V, E, R>) -> Probe<E> {
    Probe::new()
}

/// Is it a `Result`?
pub trait PlainKind<R> {
    fn __cached_kind(self) -> TypedPolicy<R, Infallible, R>;
}

impl<R> PlainKind<R> for Probe<R> {
    fn __cached_kind(self) -> TypedPolicy<R, Infallible, R> {
        TypedPolicy::plain()
    }
}

impl<T, E> Probe<Result<T, E>> {
    pub fn __cached_kind(self) -> TypedPolicy<T, E, Result<T, E>> {
        TypedPolicy::fallible()
    }

    pub fn __cached_needs_error(self) {}
}

/// Is it an `Option`?
pub trait NeverEmpty<T> {
    fn __cached_empty(self) -> Option<fn(&T) -> bool>;
}

impl<T> NeverEmpty<T> for Probe<T> {
    fn __cached_empty(self) -> Option<fn(&T) -> bool> {
        None
    }
}

impl<T> Probe<Option<T>> {
    pub fn __cached_empty(self) -> Option<fn(&Option<T>) -> bool> {
        Some(Option::is_none)
    }

    pub fn __cached_needs_option(self) {}
}

/// `cache_none` on a function that returns no `Option`.
pub trait NoOption<T>: Sized {
    fn __cached_needs_option(self)
    where
        T: IsOption,
    {
    }
}

impl<T> NoOption<T> for Probe<T> {}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`cache_none` is about functions that return an `Option`",
    label = "this function never returns `None`",
    note = "every value of this type is cached anyway: leave `cache_none` out"
)]
pub trait IsOption {}

/// `cache_err` on a function that returns no `Result`.
pub trait NoError<T>: Sized {
    fn __cached_needs_error(self)
    where
        T: IsResult,
    {
    }
}

impl<T> NoError<T> for Probe<T> {}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`cache_err` is about functions that return a `Result`",
    label = "this function returns no error: leave `cache_err` out"
)]
pub trait IsResult {}

/// Can the followers get a copy of the error?
pub trait Unshared<E> {
    fn __cached_sharing(self) -> Option<Sharing<E>>;
}

impl<E> Unshared<E> for Probe<E> {
    fn __cached_sharing(self) -> Option<Sharing<E>> {
        None
    }
}

impl<E: Clone + Send + Sync + 'static> Probe<E> {
    pub fn __cached_sharing(self) -> Option<Sharing<E>> {
        Some(Sharing::by_clone())
    }

    pub fn __cached_keeps_error(&self) {}
}

/// Can it be turned into text, and made of text? Called on a reference.
impl<E: Error + From<SharedLoadError> + 'static> Probe<E> {
    pub fn __cached_words(&self) -> Option<Words<E>> {
        Some(Words::read_by(|error| SharedLoadError::new(error)))
    }
}

/// A `String` is its own text.
pub trait WordsOfText {
    fn __cached_words(&self) -> Option<Words<String>>;
}

impl WordsOfText for Probe<String> {
    fn __cached_words(&self) -> Option<Words<String>> {
        Some(Words::read_by(|text| SharedLoadError::of_text(text)))
    }
}

/// `anyhow::Error` and its like have the text of what they dereference to.
pub trait WordsOfTarget<E> {
    fn __cached_words(&self) -> Option<Words<E>>;
}

impl<E: Deref<Target: AnyError> + From<SharedLoadError>> WordsOfTarget<E> for &Probe<E> {
    fn __cached_words(&self) -> Option<Words<E>> {
        Some(Words::read_by(|error| SharedLoadError::new(error.as_error())))
    }
}

/// Errors whose type is erased.
pub trait AnyError {
    fn as_error(&self) -> &(dyn Error + 'static);
}

impl AnyError for dyn Error {
    fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl AnyError for dyn Error + Send {
    fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl AnyError for dyn Error + Send + Sync {
    fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

/// All other types.
pub trait NoWords<E> {
    fn __cached_words(self) -> Option<Words<E>>;
}

impl<E> NoWords<E> for Probe<E> {
    fn __cached_words(self) -> Option<Words<E>> {
        None
    }
}

/// `cache_err` on an error that is kept as text. Called on a reference.
pub trait KeepsWords {
    fn __cached_keeps_error(&self);
}

impl<E: Error + From<SharedLoadError> + 'static> KeepsWords for Probe<E> {
    fn __cached_keeps_error(&self) {}
}

/// The same of `anyhow::Error` and its like.
pub trait KeepsTarget {
    fn __cached_keeps_error(&self);
}

impl<E: Deref<Target: AnyError> + From<SharedLoadError>> KeepsTarget for &Probe<E> {
    fn __cached_keeps_error(&self) {}
}

/// `cache_err` on an error that cannot be kept.
pub trait UnsharedError<E>: Sized {
    fn __cached_keeps_error(self)
    where
        Memory: KeepsError<E>,
    {
    }
}

impl<E> UnsharedError<E> for Probe<E> {}

/// `share_err` on a function that returns no `Result`.
pub trait NoErrorToShare<T>: Sized {
    fn __cached_has_error(self)
    where
        T: MayShareError,
    {
    }
}

impl<T> NoErrorToShare<T> for Probe<T> {}

impl<T, E> Probe<Result<T, E>> {
    pub fn __cached_has_error(self) {}
}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`share_err` is about functions that return a `Result`",
    label = "this function returns no error: leave `share_err` out"
)]
pub trait MayShareError {}

/// `load_timeout` on a function that returns no `Result`.
pub trait SureValue<T>: Sized {
    fn __cached_may_fail(self)
    where
        T: MayFail,
    {
    }
}

impl<T> SureValue<T> for Probe<T> {}

impl<T, E> Probe<Result<T, E>> {
    pub fn __cached_may_fail(self) {}
}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`load_timeout` is about functions that return a `Result`",
    label = "this function has no error for a load that took too long",
    note = "return a `Result` whose error implements `From<cached_aside::LoadTimeout>`, or leave `load_timeout` out"
)]
pub trait MayFail {}

/// `load_timeout` on a function whose error does not know it.
pub trait RefuseTimeout<E>: Sized {
    fn __cached_too_late(self) -> fn(LoadTimeout) -> E
    where
        Timeouts: BecomeError<E>,
    {
        |_| unreachable!()
    }
}

impl<E> RefuseTimeout<E> for Probe<E> {}

impl<E: From<LoadTimeout>> Probe<E> {
    pub fn __cached_too_late(self) -> fn(LoadTimeout) -> E {
        E::from
    }
}

/// Stands for what a load ends in that took too long.
pub enum Timeouts {}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`{E}` cannot say that a load took too long",
    label = "the error does not implement `From<cached_aside::LoadTimeout>`",
    note = "`load_timeout` ends a load in an error of the function: write `impl From<cached_aside::LoadTimeout> for` its \
            error type"
)]
pub trait BecomeError<E> {}

/// Can the heap that a local value holds be estimated?
pub trait AnyHeap<T> {
    fn __cached_heap(self) -> fn(&T) -> usize;
}

impl<T> AnyHeap<T> for Probe<T> {
    fn __cached_heap(self) -> fn(&T) -> usize {
        |_| 0
    }
}

impl<T: Serialize> Probe<T> {
    pub fn __cached_heap(self) -> fn(&T) -> usize {
        weigh
    }
}

/// Can the value be read out of a slot? Where it cannot, [`RefuseValue`] says so.
pub trait NeverHit<R>: Sized {
    fn __cached_hit(self, _: &dyn ErasedValue) -> Option<R> {
        None
    }
}

impl<V, E, R> NeverHit<R> for TypedPolicy<V, E, R> {}

impl<V, E, R> TypedPolicy<V, E, R>
where
    V: Clone + Send + Sync + 'static,
{
    #[inline]
    pub fn __cached_hit(self, slot: &dyn ErasedValue) -> Option<R> {
        self.restore_value(slot)
    }

    /// The end of a chain of policies.
    pub fn __cached_boxed(self) -> Arc<dyn ValuePolicy<R>>
    where
        E: 'static,
        R: 'static,
    {
        Arc::new(self)
    }
}

/// Catches values that cannot be kept.
pub trait RefuseValue<V, R>: Sized {
    fn __cached_boxed(self) -> Arc<dyn ValuePolicy<R>>
    where
        Memory: Keeps<V>,
    {
        unreachable!()
    }
}

impl<V, E, R> RefuseValue<V, R> for TypedPolicy<V, E, R> {}

impl<V: Serialize + DeserializeOwned, E, R> TypedPolicy<V, E, R> {
    pub fn __cached_shared(self) -> Self {
        self.shared()
    }
}

/// Catches values that cannot be written or read.
pub trait RefuseShared<V>: Sized {
    fn __cached_shared(self) -> Self
    where
        SharedTier: Stores<V>,
    {
        self
    }
}

impl<V, E, R> RefuseShared<V> for TypedPolicy<V, E, R> {}

/// Stands for the in-process tier in a message.
pub enum Memory {}

/// Stands for the shared tier in a message.
pub enum SharedTier {}

/// Implemented for nothing: it carries the message. The type is its parameter, not its `Self`, because the compiler
/// would advise to bound a type parameter by it.
#[diagnostic::on_unimplemented(
    message = "`{V}` cannot be cached",
    label = "this value is not `Clone + Send + Sync + 'static`",
    note = "a hit hands out a clone, perhaps in another thread: derive `Clone` for it, or return it in an `Arc` (without `local`, \
            that needs serde's feature `rc`); a type parameter needs the bounds"
)]
pub trait Keeps<V> {}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`{V}` cannot go to a shared tier",
    label = "this value is not `serde::Serialize + serde::de::DeserializeOwned`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it and for what it is made of, or add `local` to keep \
            it in this process; a type parameter needs the bounds",
    note = "an `Arc` needs serde's feature `rc` besides: `features = [\"derive\", \"rc\"]`"
)]
pub trait Stores<V> {}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`cache_err` keeps errors, and `{E}` cannot be kept",
    label = "the error is not `Clone + Send + Sync + 'static`, nor `Error + From<cached_aside::SharedLoadError>`",
    note = "derive `Clone` for it, return it in an `Arc`, write `impl From<cached_aside::SharedLoadError> for` it, or say \
            with `share_err = |e| ..` what others get instead"
)]
pub trait KeepsError<E> {}

/// Stands where an option names an argument that is not there.
pub struct NoArgumentsHere;
