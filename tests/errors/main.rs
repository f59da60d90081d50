//! A load that fails, and the many callers that wait for it. Loads are counted.

#![allow(unused_variables, reason = "an argument that only names the cache")]

mod cached;
mod fleet;
mod kinds;
mod support;
mod unrestorable;
mod unshared;
