//! Functions of the fuzz targets in `tests/fuzz/`.
//!
//! Each function takes any bytes, and asserts properties that hold for all of them. The functions are in this
//! crate because they call private items. A test runs each of them as well, so that they compile and stay
//! valid without a fuzzer.

mod pushes;
#[cfg(test)]
mod tests;
mod trailer;
pub(crate) mod value;

#[cfg(feature = "cluster")]
pub use crate::cluster::fuzzing::cluster_map;
pub use pushes::pushes;
pub use trailer::trailer;
