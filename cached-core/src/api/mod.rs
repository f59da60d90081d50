//! The handles of an application: a call with its arguments, and a keyspace.

pub(crate) mod function;
pub(crate) mod keyspace;
