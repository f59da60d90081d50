//! Whether the server may be asked now, and how long an answer is waited for.

pub(crate) mod awaited;
pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod gate;
pub(crate) mod health;
pub(crate) mod status;
