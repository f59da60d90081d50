//! In the place of `cached_core::sync`, and of `tokio::sync`.

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

/// In the place of `tokio::sync::futures`.
pub mod futures {
    pub use super::notify::Notified;
}

/// A static of one execution.
macro_rules! lazy {
    (static $name:ident: $type:ty = $value:expr) => {
        loom::lazy_static! { static ref $name: $type = $value; }
    };
}
pub(crate) use lazy;

/// One part is enough to find what can go wrong between threads, and more of them are more orders of steps.
pub(crate) const fn shards(_: usize) -> usize {
    1
}
