//! The fault matrix: two caches like those of two processes, a real Redis, steady calls, and one fault after
//! the other.
//!
//! Each row of [`matrix`] is a test. It asserts counts, and limits in time that follow from the promises.
//! Time in which the machine itself was late does not count. On request, the measurements are written into
//! the table of `docs/resilience.md`:
//!
//! ```sh
//! RESILIENCE_TABLE=write cargo test --release -p cached-tests --test faults -- --test-threads=1
//! ```
//!
//! Without the variable, no file is changed. `RESILIENCE_KEYS=1000000` sets the number of keys for the row of
//! many keys.

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
