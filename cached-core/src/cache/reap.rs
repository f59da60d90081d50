//! Freeing the memory of entries that this process has invalidated by a tag or a pattern.
//!
//! Such an invalidation ends an epoch, and does not search for the entries under it. They are not served any
//! more, but stay in memory until they are looked up or evicted. So the number of entries under ended epochs
//! is counted. When it is large, a background task checks all entries of L1, some at a time and beside the
//! callers. The threshold is a share of the entries, so each invalidated entry pays for a bounded number of
//! checks (see `coherence::invalid_count`).

use tokio::runtime::Handle;

use crate::{
    base::background::yield_now,
    cache::{Cache, WeakCache},
    coherence::invalid_count::Reaping,
};

/// Number of entries that are checked before the task yields.
const ENTRIES_PER_STEP: usize = 256;

impl Cache {
    /// Starts the task that frees invalidated entries, if there are many and no such task is running.
    pub(crate) fn reap(&self) {
        let invalid_count = &self.shared().epochs.invalid_count;
        let entries = || usize::try_from(self.l1().usage().0).unwrap_or(usize::MAX);
        let Ok(runtime) = Handle::try_current() else { return };
        if let Some(reaping) = invalid_count.begin_reaping(entries) {
            runtime.spawn(reap(self.downgrade(), reaping));
        }
    }
}

async fn reap(cache: WeakCache, _reaping: Reaping) {
    let mut next = Some(0);
    while let (Some(from), Some(cache)) = (next, cache.upgrade()) {
        next = cache.l1().remove_invalidated(from, ENTRIES_PER_STEP);
        drop(cache);
        yield_now().await;
    }
}
