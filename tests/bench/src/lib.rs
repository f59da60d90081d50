//! Benchmarks of `cached-aside` and its peers, on the same work in the same run.
//!
//! The suite is started by `cargo bench --manifest-path tests/bench/Cargo.toml`. `README.md` describes the
//! measurements, how to read them, and how to add to them.

mod arms;
mod child;
mod crew;
mod functions;
pub mod groups;
pub mod kinds;
pub mod large;
pub mod options;
pub mod page;
mod peers;
mod plot;
mod programs;
pub mod race;
pub mod recursion;
pub mod regions;
mod remote;
pub mod report;
mod setting;
mod table;
pub mod work;

pub use remote::work as remote_work;
