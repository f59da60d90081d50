//! Freeing the memory of entries that this process has invalidated by a tag or a pattern.
//!
//! Such an invalidation ends a mark and does not look for the entries that stand on it. They are not served any more, but stay
//! in memory until they are asked for or others come. So the ends of marks are counted, and when many entries may have fallen,
//! all are looked at once, some at a time and beside the callers: each entry that falls pays for a bounded number of looks.

use tokio::runtime::Handle;

use crate::{
    base::background::give_way,
    cache::{Cache, WeakCache},
    coherence::fallen::Reaping,
};

/// So many are looked at in a row.
const STEP: usize = 256;

impl Cache {
    /// Begins to look for what has fallen, if that is much, and unless that goes on already.
    pub(crate) fn reap(&self) {
        let fallen = &self.shared().marks.fallen;
        let entries = || usize::try_from(self.l1().usage().0).unwrap_or(usize::MAX);
        let Ok(runtime) = Handle::try_current() else { return };
        if let Some(reaping) = fallen.begin_reaping(entries) {
            runtime.spawn(reap(self.downgrade(), reaping));
        }
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
