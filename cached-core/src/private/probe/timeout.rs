//! Errors that a load can end in when it exceeds `load_timeout`.

use super::Probe;
use crate::error::load_timeout::LoadTimeout;

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
