//! The work of all arms: keys, values, and the order of requests.

mod key;
mod order;
mod trace;
mod value;

use std::{
    fs,
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

/// Ttl in all caches that have one. Nothing expires in a run.
pub const TTL: Duration = Duration::from_hours(1);

/// Number of loads of all caches.
static LOADS: AtomicUsize = AtomicUsize::new(0);

/// Loads a value. This is the function behind every cache.
pub fn load<V: Value>(number: u64) -> V {
    LOADS.fetch_add(1, Ordering::Relaxed);
    V::new(number)
}

/// Returns the number of calls of [`load`] since the program began.
pub fn loads() -> usize {
    LOADS.load(Ordering::SeqCst)
}

/// Returns the output of a future at its first poll, and panics if it is pending.
///
/// A hit never waits, so it needs no runtime.
#[inline]
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("it is ready at the first poll"),
    }
}

/// Returns the runtime for calls that wait.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("threads can be started"))
}

/// Returns keys that no earlier race has used.
///
/// The caches under attributes are static, and keep their entries from race to race.
pub fn keys_of<K: Key>(count: u32) -> Arc<Vec<K>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    Arc::new((first..first + count).map(|number| K::new(number.into())).collect())
}

/// Returns the resident bytes of this process, as counted by the kernel.
pub fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux reports it");
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number") * 4_096
}

/// Installs the default cache.
///
/// As in an application, all `cached-aside` functions without a cache of their own share it. Nothing is
/// evicted, and the environment cannot add Redis.
pub fn install() {
    let cache = Cache::builder().l1_max_bytes(16 << 30).build().and_then(Cache::install);
    cache.expect("no function was called before");
}
