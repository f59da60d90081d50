//! Place in which a body runs: a task of its own if its type allows that, its caller otherwise.
//!
//! The check whether a future is `Send` is in a function without `impl Future` in its signature. A cached
//! function that calls itself, directly or not, contains its own future. If the check were where that future
//! is defined, its answer would depend on itself.

use std::future::Future;

use super::argument::AllOwned;
use crate::call::load::{BoxedLoad, Load, TaskLoad};

/// Load in a task of its own.
pub struct Detached<R>(TaskLoad<R>);

impl<R> Detached<R> {
    /// Returns the load where the alternative runs in the caller, with the future `F`.
    pub fn load<F>(self) -> Load<R, F> {
        Load::Detached(self.0)
    }

    /// Returns the load where there is no alternative.
    pub fn only(self) -> Load<R, BoxedLoad<R>> {
        self.load()
    }
}

/// Creates a load in a task of its own.
///
/// With `detach = true`, the bounds make the compiler report a future that cannot run in a task.
pub fn detached<F>(future: F) -> Detached<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    Detached(TaskLoad::new(Box::pin(future)))
}

/// Stands for the return value of a body where only its type is needed, in code that never runs.
pub fn phantom_value<R>() -> R {
    unreachable!("code that needs only the type never runs")
}

/// Makes a call in a function of its own, where generated code can have no function beside a method.
#[inline(never)]
pub fn out_of_line<T>(make: impl FnOnce() -> T) -> T {
    make()
}

/// Arguments, and the closure that makes a load from them, with the marks of their holders.
pub struct Place<A, C>(A, C);

pub fn place<A, C, F, M>(arguments: A, make: C) -> Place<A, C>
where
    C: FnOnce(A) -> (F, M),
{
    Place(arguments, make)
}

impl<A, C, F, M> Place<A, C>
where
    C: FnOnce(A) -> (F, M),
    F: Future<Output: Send + 'static> + Send + 'static,
    M: AllOwned,
{
    pub fn __cached_place(self) -> Result<Detached<F::Output>, A> {
        let Self(arguments, make) = self;
        Ok(detached(make(arguments).0))
    }
}

/// Returns the arguments if there can be no task: the load in the caller still needs them.
pub trait Inline<R, A> {
    fn __cached_place(self) -> Result<Detached<R>, A>;
}

impl<A, C, F, M> Inline<F::Output, A> for Place<A, C>
where
    C: FnOnce(A) -> (F, M),
    F: Future,
{
    fn __cached_place(self) -> Result<Detached<F::Output>, A> {
        Err(self.0)
    }
}
