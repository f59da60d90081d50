//! Values of cached functions: type erasure, policies, bytes and weights.
//!
//! `erased` hides the type of a value behind one trait, and `policy` applies the options of a function to it.
//! `codec` and `envelope` make the bytes that L2 holds. `weigh` estimates the bytes that a value takes in L1.

pub(crate) mod codec;
pub(crate) mod envelope;
pub(crate) mod erased;
pub(crate) mod policy;
pub(crate) mod weigh;
