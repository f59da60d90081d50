//! Execution of a function body, in a task or in the caller, and its failures.

use std::{future::Future, panic::resume_unwind, pin::Pin, thread};

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    call::run::{LoadOutput, LoadRun},
    flight::Panic,
    l2::lookup::Acceptable,
};

/// A function body, and the place where it runs.
pub enum Load<R, F> {
    /// Runs in a task of its own, which goes on when the caller is dropped.
    Detached(Pin<Box<dyn Future<Output = R> + Send>>, Spawn<R>),
    /// Runs in the caller, usually because it borrows from the caller. If the caller is dropped, a follower
    /// loads again.
    Inline(F),
}

/// Starts the task of a load.
///
/// Only code that knows the body's type can prove that the load may move to another thread. That code passes
/// this function.
pub type Spawn<R> = fn(&Handle, LoadRun<R>, BoxedLoad<R>) -> LoadTask<R>;

/// A body that may move to another thread.
pub(crate) type BoxedLoad<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// Handle of a load in a task of its own.
pub type LoadTask<R> = JoinHandle<thread::Result<LoadOutput<R>>>;

impl<R, F: Future<Output = R>> Load<R, F> {
    /// Returns which values of L2 are acceptable.
    ///
    /// A stale value is acceptable if a fresh one can be loaded in the background.
    pub(crate) fn acceptable(&self) -> Acceptable {
        let is_detached = matches!(self, Self::Detached(..)) && Handle::try_current().is_ok();
        if is_detached { Acceptable::Usable } else { Acceptable::Fresh }
    }

    /// Runs the body in the caller.
    pub(crate) async fn run_in_caller(self) -> R {
        match self {
            Self::Detached(future, _) => future.await,
            Self::Inline(future) => future.await,
        }
    }
}

/// Reason why a call has no result.
pub(crate) enum Panicked {
    /// The load of this call panicked, with this payload.
    Here(Panic),
    /// The load that this call waited for panicked, and so did the second attempt.
    Elsewhere,
    /// The runtime that ran the load was shut down.
    Lost,
}

impl Panicked {
    /// Panics, as the function would without a cache.
    pub(crate) fn resume(self) -> ! {
        match self {
            Self::Here(panic) => resume_unwind(panic),
            Self::Elsewhere => panic!("the load of a cached function panicked in another call, twice"),
            Self::Lost => panic!("the runtime that ran the load of a cached function was shut down"),
        }
    }
}
