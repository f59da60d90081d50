//! Kind of a return type: a `Result`, an `Option`, or neither; and the options that need one of the two.

use std::convert::Infallible;

use super::Probe;
use crate::value::policy::TypedPolicy;

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
