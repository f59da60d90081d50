//! The values of cached functions: typed behind one trait, with their policies, their bytes and their weight.

pub(crate) mod codec;
pub(crate) mod envelope;
pub(crate) mod erased;
pub(crate) mod policy;
pub(crate) mod weigh;
