//! `cached-aside` beside its peers, on the same work in the same run.
//!
//! `cargo bench --manifest-path tests/bench/Cargo.toml`; `README.md` says what is measured, how to read it, and how to add to it.

mod arms;
mod child;
mod contender;
mod crew;
mod functions;
pub mod groups;
pub mod kinds;
pub mod large;
pub mod options;
pub mod page;
mod peers;
mod plot;
pub mod race;
mod remote;
pub mod report;
mod setting;
mod table;
pub mod work;

pub use remote::work as remote_work;
