//! What the core locks and shares between threads with.
//!
//! It stands here alone because `tests/model` compiles the core once more with another module in this place, whose
//! locks and atomics run through every order of steps, and whose time stands still. So what decides between threads, and what
//! is decided by how much time has passed, comes from here; counters and the like do not.

pub(crate) use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread_local,
    time::Instant,
};

/// A static that is made when it is first used.
macro_rules! lazy {
    (static $name:ident: $type:ty = $value:expr) => {
        static $name: std::sync::LazyLock<$type> = std::sync::LazyLock::new(|| $value);
    };
}
pub(crate) use lazy;

/// Into how many parts a table is cut, so that threads do not wait for each other.
pub(crate) const fn shards(many: usize) -> usize {
    many
}
