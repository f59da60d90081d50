//! What is sent to a server, and what comes back: batches, scripts, records and errors.

pub(crate) mod batch;
pub(crate) mod commands;
pub(crate) mod failure;
pub(crate) mod journal;
pub(crate) mod random;
pub(crate) mod record;
pub(crate) mod scripts;
pub(crate) mod server_clock;
