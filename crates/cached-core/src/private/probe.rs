//! Decisions by type in generated code.
//!
//! The attribute sees tokens: to it, an alias of `Result` is any type. So it asks the compiler, by calling a method
//! that exists twice: as an inherent method of [`Probe`] for the special type, which is preferred, and as a trait's
//! for every other.

use std::{convert::Infallible, marker::PhantomData};

use serde::Serialize;

use crate::{
    key::weigh,
    shape::{Shape, Sharing, Typed},
};

/// Stands for a type.
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T> Probe<T> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<V, E, R> Typed<V, E, R> {
    pub fn value(&self) -> Probe<V> {
        Probe::new()
    }

    pub fn error(&self) -> Probe<E> {
        Probe::new()
    }
}

/// Is it a `Result`?
pub trait PlainKind<R> {
    fn kind(&self) -> Typed<R, Infallible, R>;
}

impl<R> PlainKind<R> for Probe<R> {
    fn kind(&self) -> Typed<R, Infallible, R> {
        Typed::plain()
    }
}

impl<T, E> Probe<Result<T, E>> {
    pub fn kind(&self) -> Typed<T, E, Result<T, E>> {
        Typed::fallible()
    }

    pub fn needs_error(&self) {}
}

/// Is it an `Option`?
pub trait NeverEmpty<T> {
    fn empty(&self) -> Option<fn(&T) -> bool>;
}

impl<T> NeverEmpty<T> for Probe<T> {
    fn empty(&self) -> Option<fn(&T) -> bool> {
        None
    }
}

impl<T> Probe<Option<T>> {
    pub fn empty(&self) -> Option<fn(&Option<T>) -> bool> {
        Some(Option::is_none)
    }

    pub fn needs_option(&self) {}
}

/// `cache_none` on a function that returns no `Option`.
pub trait NoOption<T> {
    fn needs_option(&self)
    where
        T: IsOption;
}

impl<T> NoOption<T> for Probe<T> {
    fn needs_option(&self)
    where
        T: IsOption,
    {
    }
}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`cache_none` is about functions that return an `Option`",
    label = "this value is never `None`",
    note = "every value of this type is cached anyway: leave `cache_none` out"
)]
pub trait IsOption {}

/// `cache_err` on a function that returns no `Result`.
pub trait NoError<T> {
    fn needs_error(&self)
    where
        T: IsResult;
}

impl<T> NoError<T> for Probe<T> {
    fn needs_error(&self)
    where
        T: IsResult,
    {
    }
}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`cache_err` is about functions that return a `Result`",
    label = "this function returns no error"
)]
pub trait IsResult {}

/// Can the error be handed to those who waited?
pub trait Unshared<E> {
    fn sharing(&self) -> Option<Sharing<E>>;
}

impl<E> Unshared<E> for Probe<E> {
    fn sharing(&self) -> Option<Sharing<E>> {
        None
    }
}

impl<E: Clone + Send + Sync + 'static> Probe<E> {
    pub fn sharing(&self) -> Option<Sharing<E>> {
        Some(Sharing::by_clone())
    }

    pub fn needs_clone(&self) {}
}

/// `cache_err` on an error that cannot be kept.
pub trait UnsharedError<E> {
    fn needs_clone(&self)
    where
        E: ErrorToKeep;
}

impl<E> UnsharedError<E> for Probe<E> {
    fn needs_clone(&self)
    where
        E: ErrorToKeep,
    {
    }
}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`cache_err` keeps errors, and `{Self}` cannot be kept",
    label = "this error is not `Clone + Send + Sync + 'static`",
    note = "derive `Clone`, or return the error in an `Arc`"
)]
pub trait ErrorToKeep {}

/// Can the heap that a local value holds be estimated?
pub trait AnyHeap<T> {
    fn heap(&self) -> fn(&T) -> usize;
}

impl<T> AnyHeap<T> for Probe<T> {
    fn heap(&self) -> fn(&T) -> usize {
        |_| 0
    }
}

impl<T: Serialize> Probe<T> {
    pub fn heap(&self) -> fn(&T) -> usize {
        weigh
    }
}

/// The end of a chain of policies.
pub fn boxed<V, E, R>(shape: Typed<V, E, R>) -> Box<dyn Shape<R>>
where
    V: Clone + Send + Sync + 'static,
    E: 'static,
    R: 'static,
{
    Box::new(shape)
}
