//! The fault matrix: two caches, as two processes have them, with a real Redis, steady calls, and one fault after the other.
//!
//! Each row of [`matrix`] is a test. What it asserts are counts, and limits in time that follow from the promises and
//! leave out the time in which the machine itself was late. What it measures goes into the table of `docs/resilience.md` when that is asked for:
//!
//! ```sh
//! RESILIENCE_TABLE=write cargo test --release -p cached-tests --test faults -- --test-threads=1
//! ```
//!
//! Without the variable, no file is changed. `RESILIENCE_KEYS=1000000` has the row of many keys use so many.

mod access;
mod broken;
mod channel;
mod clocks;
mod cluster;
mod docs;
mod emptied;
mod episode;
mod fleet;
mod frozen;
mod gone;
mod loads;
mod many;
mod matrix;
mod poison;
mod refusing;
mod runtimes;
mod sizes;
mod slow;
mod source;
mod table;
mod tally;
mod traffic;
mod world;
