//! Freeing the memory of entries that this process has invalidated by a tag or a pattern.
//!
//! Such an invalidation ends a mark and does not look for the entries that stand on it. They are not served any more, but stay
//! in memory until they are asked for or others come. So the ends of marks are counted, and when many entries may have fallen,
//! all are looked at once, some at a time and beside the callers: each entry that falls pays for a bounded number of looks.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use tokio::runtime::Handle;

use crate::cache::{Cache, WeakCache};

/// Fewer than this are not worth a look at all.
const FEWEST: usize = 64;

/// Nor are fewer than one of so many entries.
const SHARE: usize = 8;

/// So many are looked at in a row.
const STEP: usize = 256;

/// How much has fallen since all entries were looked at.
#[derive(Debug, Default)]
pub(crate) struct Fallen {
    entries: AtomicUsize,
    is_reaped: Arc<AtomicBool>,
}

impl Fallen {
    /// About so many entries stood on a mark that has ended.
    pub(crate) fn add(&self, entries: usize) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    fn are_many_of(&self, entries: impl FnOnce() -> usize) -> bool {
        let fallen = self.entries.load(Ordering::Relaxed);
        fallen >= FEWEST && fallen >= entries() / SHARE
    }
}

impl Cache {
    /// Begins to look for what has fallen, if that is much, and unless that goes on already.
    pub(crate) fn reap(&self) {
        let fallen = &self.shared().marks.fallen;
        let entries = || usize::try_from(self.l1().usage().0).unwrap_or(usize::MAX);
        if !fallen.are_many_of(entries) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if fallen.is_reaped.swap(true, Ordering::AcqRel) {
            return;
        }
        fallen.entries.store(0, Ordering::Relaxed);
        runtime.spawn(reap(self.downgrade(), Reaping(fallen.is_reaped.clone())));
    }
}

/// Until it is dropped, no other task reaps.
struct Reaping(Arc<AtomicBool>);

impl Drop for Reaping {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn reap(cache: WeakCache, _reaping: Reaping) {
    let mut next = Some(0);
    while let (Some(from), Some(cache)) = (next, cache.upgrade()) {
        next = cache.l1().take_fallen(from, STEP);
        drop(cache);
        give_way().await;
    }
}

/// Lets other tasks run.
async fn give_way() {
    let mut has_given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
