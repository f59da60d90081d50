//! What all arms work on: keys, values, and the order in which keys are asked for.

mod key;
mod order;
mod trace;
mod value;

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use cached_aside::Cache;
use tokio::runtime::Runtime;

pub use key::{Key, Prompt, Text};
pub use order::{Order, Shuffle, Zipf};
pub use trace::Trace;
pub use value::Value;

/// How long values are fresh, where a cache knows such a thing: nothing expires.
pub const TTL: Duration = Duration::from_hours(1);

/// Runs of the functions behind all the caches.
static LOADS: AtomicUsize = AtomicUsize::new(0);

/// The function behind every cache.
pub fn load<V: Value>(number: u64) -> V {
    LOADS.fetch_add(1, Ordering::Relaxed);
    V::new(number)
}

/// Runs of [`load`] since the program began.
pub fn loads() -> usize {
    LOADS.load(Ordering::SeqCst)
}

/// A hit never waits, so it needs no runtime.
#[inline]
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("it is ready at the first poll"),
    }
}

/// For whatever does wait.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("threads can be started"))
}

/// Keys that no race before has asked for, because the functions under attributes keep what they have.
pub fn keys_of<K: Key>(count: u32) -> Arc<Vec<K>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    Arc::new((first..first + count).map(|number| K::new(number.into())).collect())
}

/// One cache for all functions of ours that name none, as in an application. Nothing is evicted from it, and the environment
/// cannot put Redis behind it.
pub fn install() {
    let cache = Cache::builder().l1_max_bytes(16 << 30).build().and_then(Cache::install);
    cache.expect("no function was called before");
}
