//! Where a body runs: in a task of its own if its type allows it, in its caller otherwise.
//!
//! Whether a future is `Send` is asked in a function whose signature has no `impl Future`. A function that calls itself,
//! directly or not, contains its own future, and the answer would depend on itself where that future is defined.

use std::{future::Future, pin::Pin};

use super::argument::AllOwned;
use crate::call::load::{Load, Spawn};

/// A load in a task of its own.
pub struct Detached<R>(Boxed<R>, Spawn<R>);

type Boxed<R> = Pin<Box<dyn Future<Output = R> + Send>>;

impl<R> Detached<R> {
    /// Where there could be another load.
    pub fn load<F>(self) -> Load<R, F> {
        Load::Detached(self.0, self.1)
    }

    /// Where there is no other.
    pub fn only(self) -> Load<R, Boxed<R>> {
        self.load()
    }
}

/// `detach = true`: there must be no reason why not.
pub fn detached<F>(future: F) -> Detached<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    Detached(Box::pin(future), |runtime, lander, future| runtime.spawn(lander.land(future)))
}

/// Stands for what a body returns, where only its type is needed.
pub fn edge<R>() -> R {
    unreachable!("it is not called")
}

/// Arguments, and what makes a load of them, with the marks of its holders.
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

/// The other case: the arguments are still needed.
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
