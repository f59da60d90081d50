//! Counters, assertions, and types that several tests use.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

/// Counter of the runs of a body.
#[derive(Debug, Default)]
pub(crate) struct Runs(AtomicUsize);

impl Runs {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Counts one run.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the number of runs so far.
    pub(crate) fn peek(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns the number of runs since the last `take`.
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

pub(crate) fn is_send<T: Send>(value: T) -> T {
    value
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) name: String,
}

/// Error that is neither `Clone` nor `Serialize`.
#[derive(Debug, PartialEq)]
pub(crate) struct DbError;
