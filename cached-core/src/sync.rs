//! Locks, atomics, thread-locals and time that decide between threads.
//!
//! `tests/model` compiles the core a second time, with another module in place of this one. Its locks and
//! atomics run through every order of steps, and its time stands still. Therefore all state that decides
//! between threads, and all decisions by elapsed time, must use this module. Counters and the like use `std`.

pub(crate) use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread_local,
    time::Instant,
};

/// Declares a static that is initialized on first use.
macro_rules! lazy {
    (static $name:ident: $type:ty = $value:expr) => {
        static $name: std::sync::LazyLock<$type> = std::sync::LazyLock::new(|| $value);
    };
}
pub(crate) use lazy;

/// Number of shards of a table, so that threads do not wait for each other. The model has one instead.
pub(crate) const fn shards(count: usize) -> usize {
    count
}
