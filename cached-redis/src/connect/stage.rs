//! The current step of a connection attempt.

use std::sync::{Mutex, PoisonError};

use cached_core::TierCause;

/// Current step of a connection attempt: the cause to report if the attempt times out in it.
#[derive(Debug)]
pub(crate) struct Stage(Mutex<TierCause>);

impl Stage {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(TierCause::Timeout))
    }

    pub(crate) fn set(&self, cause: TierCause) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    pub(crate) fn cause(&self) -> TierCause {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
