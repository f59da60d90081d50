//! The shared tier as the core uses it: with names, envelopes and epochs around each question and each lease.

pub(crate) mod ask;
pub(crate) mod lease;
pub(crate) mod lookup;
pub(crate) mod note;
pub(crate) mod replay;
pub(crate) mod returning;
pub(crate) mod shared;
pub(crate) mod standing;
pub(crate) mod sweeps;
pub(crate) mod tags;
