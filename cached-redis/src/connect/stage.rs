//! What an attempt to connect is at.

use std::sync::{Mutex, PoisonError};

use cached_core::TierCause;

/// What an attempt to connect is at: the cause, if its time is over then.
#[derive(Debug)]
pub(crate) struct Stage(Mutex<TierCause>);

impl Stage {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(TierCause::Timeout))
    }

    pub(crate) fn is(&self, cause: TierCause) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    pub(crate) fn cause(&self) -> TierCause {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
