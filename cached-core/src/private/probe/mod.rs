//! Decisions by type in generated code, made by method resolution.
//!
//! The attribute sees tokens only: to it, an alias of `Result` is any type. So the generated code calls a
//! method that exists twice. The special type has it as an inherent method, which the compiler prefers. All
//! other types have it from a trait.
//!
//! Where there are more than two cases, the method is called on a reference. The compiler then prefers a
//! method that takes `&Probe` to one that takes `&&Probe`, and that to one that takes `Probe`.
//!
//! Method names begin with `__cached_`, because a user's trait may have methods for every type. A method that
//! exists only to be rejected has a bound that nothing satisfies, and the bound carries the compiler's
//! message.

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

/// Stands for a type in method resolution.
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T> Probe<T> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// Makes a probe `Copy`, so that a method that takes it by value can be called on a reference.
impl<T> Clone for Probe<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Probe<T> {}

/// Returns a probe of the type of the values.
pub fn value_of<V, E, R>(_: &TypedPolicy<V, E, R>) -> Probe<V> {
    Probe::new()
}

/// Returns a probe of the type of the errors.
pub fn error_of<V, E, R>(_: &TypedPolicy<V, E, R>) -> Probe<E> {
    Probe::new()
}

/// Return types that are no `Result`: all of the return value is cached.
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

/// Value types that are no `Option`: no value is empty.
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

/// Rejects `cache_none` on a function that returns no `Option`.
pub trait NoOption<T>: Sized {
    fn __cached_needs_option(self)
    where
        T: IsOption,
    {
    }
}

impl<T> NoOption<T> for Probe<T> {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`cache_none` needs a function that returns an `Option`",
    label = "this function never returns `None`",
    note = "every value of this type is cached anyway: leave `cache_none` out"
)]
pub trait IsOption {}

/// Rejects `cache_err` on a function that returns no `Result`.
pub trait NoError<T>: Sized {
    fn __cached_needs_error(self)
    where
        T: IsResult,
    {
    }
}

impl<T> NoError<T> for Probe<T> {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`cache_err` needs a function that returns a `Result`",
    label = "this function returns no error: leave `cache_err` out"
)]
pub trait IsResult {}

/// Errors that are not `Clone + Send + Sync + 'static`, of which followers cannot get a copy.
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

/// Errors that can be turned into text and made from text. Called on a reference.
impl<E: Error + From<SharedLoadError> + 'static> Probe<E> {
    pub fn __cached_words(&self) -> Option<Words<E>> {
        Some(Words::new(|error| SharedLoadError::new(error)))
    }
}

/// Errors that are a `String`, which is its own text.
pub trait WordsOfText {
    fn __cached_words(&self) -> Option<Words<String>>;
}

impl WordsOfText for Probe<String> {
    fn __cached_words(&self) -> Option<Words<String>> {
        Some(Words::new(|text| SharedLoadError::from_text(text)))
    }
}

/// Errors such as `anyhow::Error`, which have the text of the error that they dereference to.
pub trait WordsOfTarget<E> {
    fn __cached_words(&self) -> Option<Words<E>>;
}

impl<E: Deref<Target: AnyError> + From<SharedLoadError>> WordsOfTarget<E> for &Probe<E> {
    fn __cached_words(&self) -> Option<Words<E>> {
        Some(Words::new(|error| SharedLoadError::new(error.as_error())))
    }
}

/// Errors behind a trait object.
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

/// Errors of all other types, which have no text to share.
pub trait NoWords<E> {
    fn __cached_words(self) -> Option<Words<E>>;
}

impl<E> NoWords<E> for Probe<E> {
    fn __cached_words(self) -> Option<Words<E>> {
        None
    }
}

/// Accepts `cache_err` on an error that is kept as text. Called on a reference.
pub trait KeepsWords {
    fn __cached_keeps_error(&self);
}

impl<E: Error + From<SharedLoadError> + 'static> KeepsWords for Probe<E> {
    fn __cached_keeps_error(&self) {}
}

/// Accepts `cache_err` on an error such as `anyhow::Error`.
pub trait KeepsTarget {
    fn __cached_keeps_error(&self);
}

impl<E: Deref<Target: AnyError> + From<SharedLoadError>> KeepsTarget for &Probe<E> {
    fn __cached_keeps_error(&self) {}
}

/// Rejects `cache_err` on an error that cannot be kept.
pub trait UnsharedError<E>: Sized {
    fn __cached_keeps_error(self)
    where
        Memory: KeepsError<E>,
    {
    }
}

impl<E> UnsharedError<E> for Probe<E> {}

/// Rejects `share_err` on a function that returns no `Result`.
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

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`share_err` needs a function that returns a `Result`",
    label = "this function returns no error: leave `share_err` out"
)]
pub trait MayShareError {}

/// Rejects `load_timeout` on a function that returns no `Result`.
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

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`load_timeout` needs a function that returns a `Result`",
    label = "this function has no error for a load that times out",
    note = "return a `Result` whose error implements `From<cached_aside::LoadTimeout>`, or leave `load_timeout` out"
)]
pub trait MayFail {}

/// Rejects `load_timeout` on a function with an error that cannot be made from `LoadTimeout`.
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

/// Stands for load timeouts in a compiler message.
pub enum Timeouts {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`{E}` cannot be made from a `LoadTimeout`",
    label = "the error does not implement `From<cached_aside::LoadTimeout>`",
    note = "`load_timeout` ends a load in an error of the function: write `impl From<cached_aside::LoadTimeout> for` its \
            error type"
)]
pub trait BecomeError<E> {}

/// Local values that are not `Serialize`: their memory on the heap cannot be estimated and counts as 0.
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

/// Values that cannot be read from a slot, which [`RefuseValue`] rejects with a message.
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

    /// Ends a chain of policies.
    pub fn __cached_boxed(self) -> Arc<dyn ValuePolicy<R>>
    where
        E: 'static,
        R: 'static,
    {
        Arc::new(self)
    }
}

/// Rejects values that cannot be cached.
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

/// Rejects values that cannot be written to a shared tier, or read from it.
pub trait RefuseShared<V>: Sized {
    fn __cached_shared(self) -> Self
    where
        SharedTier: Stores<V>,
    {
        self
    }
}

impl<V, E, R> RefuseShared<V> for TypedPolicy<V, E, R> {}

/// Stands for the in-process tier in a compiler message.
pub enum Memory {}

/// Stands for the shared tier in a compiler message.
pub enum SharedTier {}

/// Carries the compiler's message, and is implemented for nothing.
///
/// The rejected type is a parameter and not `Self`. Otherwise the compiler would advise to bound a type
/// parameter by this trait.
#[diagnostic::on_unimplemented(
    message = "`{V}` cannot be cached",
    label = "this value is not `Clone + Send + Sync + 'static`",
    note = "a hit returns a clone, possibly in another thread: derive `Clone` for it, or return it in an \
            `Arc` (without `local`, that needs serde's feature `rc`); a type parameter needs the bounds"
)]
pub trait Keeps<V> {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`{V}` cannot be stored in a shared tier",
    label = "this value is not `serde::Serialize + serde::de::DeserializeOwned`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it and for the types in it, or add \
            `local` to keep it in this process; a type parameter needs the bounds",
    note = "an `Arc` also needs serde's feature `rc`: `features = [\"derive\", \"rc\"]`"
)]
pub trait Stores<V> {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`cache_err` cannot cache `{E}`",
    label = "the error is not `Clone + Send + Sync + 'static`, nor `Error + From<cached_aside::SharedLoadError>`",
    note = "derive `Clone` for it, return it in an `Arc`, write `impl From<cached_aside::SharedLoadError> \
            for` it, or make the copy that other callers get with `share_err = |e| ..`"
)]
pub trait KeepsError<E> {}

/// Appears in the compiler's message if a policy names an argument, which does not exist there.
pub struct NoArgumentsHere;
