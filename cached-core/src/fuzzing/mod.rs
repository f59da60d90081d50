//! One function for each fuzz target in `tests/fuzz/`: it takes any bytes, and asserts what holds for all of them.
//!
//! Here and not there, because what they call is private to the crate. A test runs each of them as well, so that they are compiled
//! and kept true without a fuzzer.

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
