//! The protocol with a server: commands, batches, scripts, records and errors.
//!
//! `batch` sends `commands` and `scripts`. `record` is the layout of a stored value, and `journal` that of
//! invalidated tags. `failure` classifies errors, and `server_clock` tracks the clock by which values and
//! leases end.

pub(crate) mod batch;
pub(crate) mod commands;
pub(crate) mod failure;
pub(crate) mod journal;
pub(crate) mod random;
pub(crate) mod record;
pub(crate) mod scripts;
pub(crate) mod server_clock;
