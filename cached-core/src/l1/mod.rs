//! The in-process tier (L1).
//!
//! `store` keeps each `entry` in one of two `regions` (a window, and Moka behind it) and bounds their bytes;
//! `eviction` selects the entries that leave. `thread_cache` is the shorter path to the entries that a thread
//! used last. `heat` counts the uses of a key, and `hot_keys` schedules renewals of the most used ones.
//! `function` is the state that the entries of a function share, `proof` the proof that an entry is current,
//! and `memory` the accounting of the tier. `deferred_drops` keeps values from being dropped under a lock.
//! `counters` are the counters of a process that has no shared tier.

pub(crate) mod counters;
pub(crate) mod deferred_drops;
pub(crate) mod entry;
pub(crate) mod eviction;
pub(crate) mod function;
pub(crate) mod heat;
pub(crate) mod hot_keys;
pub(crate) mod memory;
pub(crate) mod proof;
pub(crate) mod regions;
pub(crate) mod store;
pub(crate) mod thread_cache;
