//! Functions for the fuzz targets in `tests/fuzz/`, one for each. A function takes any bytes, and asserts
//! properties that hold for all of them.
//!
//! The functions are in this crate because they call private items. A unit test runs each of them as well, so
//! that they compile and hold without a fuzzer.

mod envelope;
mod exact;
mod key_text;
mod note;
#[cfg(test)]
mod tests;

pub use envelope::envelope;
pub use exact::exact;
pub use key_text::key_text;
pub use note::note;
