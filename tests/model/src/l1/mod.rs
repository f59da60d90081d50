//! The in-process tier of the models.

// Replaced, because Moka drops values at any time, possibly in another execution.
pub(crate) mod store;
// Replaced, because the values of the models have no code that runs on a drop.
pub(crate) mod deferred_drops;

#[path = "../../../../cached-core/src/l1/counters.rs"]
pub(crate) mod counters;
#[path = "../../../../cached-core/src/l1/entry.rs"]
pub(crate) mod entry;
#[path = "../../../../cached-core/src/l1/eviction/mod.rs"]
pub(crate) mod eviction;
#[path = "../../../../cached-core/src/l1/function.rs"]
pub(crate) mod function;
#[path = "../../../../cached-core/src/l1/heat.rs"]
pub(crate) mod heat;
#[path = "../../../../cached-core/src/l1/hot_keys.rs"]
pub(crate) mod hot_keys;
#[path = "../../../../cached-core/src/l1/memory.rs"]
pub(crate) mod memory;
#[path = "../../../../cached-core/src/l1/proof.rs"]
pub(crate) mod proof;
#[path = "../../../../cached-core/src/l1/thread_cache/mod.rs"]
pub(crate) mod thread_cache;
