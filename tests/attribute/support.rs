//! Counters, assertions, and types that more than one test has.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

/// Counts the runs of a body.
#[derive(Debug, Default)]
pub(crate) struct Runs(AtomicUsize);

impl Runs {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// One more.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// The runs until now.
    pub(crate) fn peek(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// The runs since this was last asked.
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

/// It is neither `Clone` nor `Serialize`.
#[derive(Debug, PartialEq)]
pub(crate) struct DbError;
