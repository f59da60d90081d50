//! Where a body runs: in a task of its own if its type allows it, in its caller otherwise.

use std::future::Future;

use super::argument::AllOwned;
use crate::call::Load;

/// A load, with the marks of its arguments.
pub struct Place<F, M>(pub F, pub M);

impl<F, M> Place<F, M>
where
    F: Future<Output: Send + 'static> + Send + 'static,
    M: AllOwned,
{
    pub fn place(self) -> Load<F::Output, F> {
        detached(self.0)
    }

    /// As [`place`](Self::place), where there is no other way.
    pub fn place_or_refuse(self) -> Load<F::Output, F> {
        detached(self.0)
    }
}

/// The other case.
pub trait Inline<F: Future> {
    fn place(self) -> Load<F::Output, F>;
}

impl<F: Future, M> Inline<F> for Place<F, M> {
    fn place(self) -> Load<F::Output, F> {
        Load::Inline(self.0)
    }
}

/// `detach = true`: there must be no reason why not.
pub fn detached<F>(future: F) -> Load<F::Output, F>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    Load::Detached(Box::pin(future), |runtime, lander, future| runtime.spawn(lander.land(future)))
}
