//! One function for each fuzz target in `tests/fuzz/`: it takes any bytes, and asserts what holds for all of them.
//!
//! Here and not there, because what they call is private to the crate. A test runs each of them as well, so that they are compiled
//! and kept true without a fuzzer.

mod pushes;
#[cfg(test)]
mod tests;
mod trailer;
pub(crate) mod value;

#[cfg(feature = "cluster")]
pub use crate::cluster::fuzzing::cluster_map;
pub use pushes::pushes;
pub use trailer::trailer;
