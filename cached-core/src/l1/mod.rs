//! The in-process tier: its entries, the store, the eviction policy, the cache of each thread, and the keys that are used most.

pub(crate) mod counters;
pub(crate) mod entry;
pub(crate) mod eviction;
pub(crate) mod heat;
pub(crate) mod hot_keys;
pub(crate) mod leaving;
pub(crate) mod map;
pub(crate) mod store;
pub(crate) mod thread_cache;
