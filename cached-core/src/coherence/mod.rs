//! Decides whether an entry may be served: epochs of names, proofs of silence, and invalidations that are still to be sent.

pub(crate) mod epoch;
pub(crate) mod fallen;
pub(crate) mod outbox;
pub(crate) mod staleness;
pub(crate) mod tag_log;
pub(crate) mod validity;
