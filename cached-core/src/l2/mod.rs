//! L2: the shared tier as the core uses it.
//!
//! A `Tier` stores opaque bytes under keys. This room adds names, envelopes and epochs around each read and
//! each lease.
//!
//! * `shared`: the tier of one cache, with its names, envelopes, epochs and outbox.
//! * `lookup`: the protocol of a miss, which yields a value or the right to load one.
//! * `lease`: the right of one load to store its value.
//! * `pending_releases`: leases of this process that are being released.
//! * `note`: the text of an error, left in the key for callers that wait.
//! * `replay`: the listener of the change feed, and the task that sends the outbox.
//! * `sweeps`: deletions by pattern.
//! * `health`: reports of the tier's state.
//! * `read`: reads with their metrics and spans.
//! * `tags`: collects the tags of a call.
//!
//! `tier` has the contract of a tier, `coherence` the rules for serving entries. On a miss, `call::context`
//! calls `lookup`.

pub(crate) mod health;
pub(crate) mod lease;
pub(crate) mod lookup;
pub(crate) mod note;
pub(crate) mod pending_releases;
pub(crate) mod read;
pub(crate) mod replay;
pub(crate) mod shared;
pub(crate) mod sweeps;
pub(crate) mod tags;
