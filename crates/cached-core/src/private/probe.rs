//! Decisions by type in generated code.
//!
//! The attribute sees tokens: to it, an alias of `Result` is any type. So it asks the compiler, by calling a method
//! that exists twice: as an inherent method for the special type, which is preferred, and as a trait's for every
//! other. Their names begin with `__cached_`, because a trait of the user's may have methods for every type. A method
//! that exists in order to be refused has a bound that nothing meets, with the message.

use std::{convert::Infallible, marker::PhantomData, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    LoadTimeout,
    key::weigh,
    shape::{Shape, Sharing, Typed},
    slot::Slot,
};

/// Stands for a type.
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T> Probe<T> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// The type of the values.
pub fn value_of<V, E, R>(_: &Typed<V, E, R>) -> Probe<V> {
    Probe::new()
}

/// The type of the errors.
pub fn error_of<V, E, R>(_: &Typed<V, E, R>) -> Probe<E> {
    Probe::new()
}

/// Is it a `Result`?
pub trait PlainKind<R> {
    fn __cached_kind(self) -> Typed<R, Infallible, R>;
}

impl<R> PlainKind<R> for Probe<R> {
    fn __cached_kind(self) -> Typed<R, Infallible, R> {
        Typed::plain()
    }
}

impl<T, E> Probe<Result<T, E>> {
    pub fn __cached_kind(self) -> Typed<T, E, Result<T, E>> {
        Typed::fallible()
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

/// Can the error be handed to those who waited?
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

    pub fn __cached_needs_clone(self) {}
}

/// `cache_err` on an error that cannot be kept.
pub trait UnsharedError<E>: Sized {
    fn __cached_needs_clone(self)
    where
        Memory: KeepsError<E>,
    {
    }
}

impl<E> UnsharedError<E> for Probe<E> {}

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
    fn __cached_hit(self, _: &dyn Slot) -> Option<R> {
        None
    }
}

impl<V, E, R> NeverHit<R> for Typed<V, E, R> {}

impl<V, E, R> Typed<V, E, R>
where
    V: Clone + Send + Sync + 'static,
{
    #[inline]
    pub fn __cached_hit(self, slot: &dyn Slot) -> Option<R> {
        self.restore_value(slot)
    }

    /// The end of a chain of policies.
    pub fn __cached_boxed(self) -> Arc<dyn Shape<R>>
    where
        E: 'static,
        R: 'static,
    {
        Arc::new(self)
    }
}

/// Catches values that cannot be kept.
pub trait RefuseValue<V, R>: Sized {
    fn __cached_boxed(self) -> Arc<dyn Shape<R>>
    where
        Memory: Keeps<V>,
    {
        unreachable!()
    }
}

impl<V, E, R> RefuseValue<V, R> for Typed<V, E, R> {}

impl<V: Serialize + DeserializeOwned, E, R> Typed<V, E, R> {
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

impl<V, E, R> RefuseShared<V> for Typed<V, E, R> {}

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
    label = "the error is not `Clone + Send + Sync + 'static`",
    note = "derive `Clone` for it, or return it in an `Arc`"
)]
pub trait KeepsError<E> {}

/// Stands where an option names an argument that is not there.
pub struct NoArgumentsHere;
