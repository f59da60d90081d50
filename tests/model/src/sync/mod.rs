//! Replacements for `cached_core::sync` and `tokio::sync`.

mod atomic;
mod instant;
mod local;
mod notify;
mod semaphore;
pub mod watch;

pub(crate) use atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub(crate) use instant::Instant;
pub(crate) use local::{Local, thread_local};
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::Ordering};
pub use notify::Notify;
pub use semaphore::{OwnedSemaphorePermit, Semaphore};

/// Replacement for `tokio::sync::futures`.
pub mod futures {
    pub use super::notify::Notified;
}

/// Declares a static that lives for one execution.
macro_rules! lazy {
    (static $name:ident: $type:ty = $value:expr) => {
        loom::lazy_static! { static ref $name: $type = $value; }
    };
}
pub(crate) use lazy;

/// Returns one shard: it is enough to find faults between threads, and more mean more orders of steps.
pub(crate) const fn shards(_: usize) -> usize {
    1
}
