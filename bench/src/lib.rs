//! What a hit in the in-process tier costs: `cached-aside` beside its peers, on the same keys and values.
//!
//! `cargo bench --manifest-path bench/Cargo.toml`; `README.md` says how to read the output.

mod arms;
mod harness;
mod table;

pub use arms::{futures, races};
pub use harness::{Arm, Effort, measure, quartiles, sequence};
pub use table::aligned;
