//! How a body runs, and what that comes to.

use std::{future::Future, panic::resume_unwind, pin::Pin, thread};

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    call::run::{LoadOutput, LoadRun},
    flight::Panic,
    l2::lookup::Acceptable,
};

/// How a body runs.
pub enum Load<R, F> {
    /// In a task of its own: nothing that happens to the caller ends it.
    Detached(Pin<Box<dyn Future<Output = R> + Send>>, Spawn<R>),
    /// In the caller, because it borrows from it. When the caller goes away, a follower loads again.
    Inline(F),
}

/// Starts the task. Only where the body's type was known could it be seen that it may move to another thread.
pub type Spawn<R> = fn(&Handle, LoadRun<R>, Pin<Box<dyn Future<Output = R> + Send>>) -> LoadTask<R>;

/// A load in a task of its own.
pub type LoadTask<R> = JoinHandle<thread::Result<LoadOutput<R>>>;

impl<R, F: Future<Output = R>> Load<R, F> {
    /// A stale value will do if a fresh one can be loaded beside the caller.
    pub(crate) fn wants(&self) -> Acceptable {
        let is_beside = matches!(self, Self::Detached(..)) && Handle::try_current().is_ok();
        if is_beside { Acceptable::Usable } else { Acceptable::Fresh }
    }

    pub(crate) async fn here(self) -> R {
        match self {
            Self::Detached(future, _) => future.await,
            Self::Inline(future) => future.await,
        }
    }
}

/// Why there is no result.
pub(crate) enum Panicked {
    /// This call's load panicked, with this.
    Here(Panic),
    /// The load that this call waited for panicked, and so did the second try.
    Elsewhere,
    /// The runtime that ran the load was shut down.
    Lost,
}

impl Panicked {
    /// Goes on as the function would have without a cache.
    pub(crate) fn resume(self) -> ! {
        match self {
            Self::Here(panic) => resume_unwind(panic),
            Self::Elsewhere => panic!("the load of a cached function panicked in another call, twice"),
            Self::Lost => panic!("the runtime that ran the load of a cached function was shut down"),
        }
    }
}
