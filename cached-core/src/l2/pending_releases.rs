//! Leases of this process that are being released.
//!
//! A load answers its callers before the shared tier knows that it has ended. Without this table, the next
//! call would find the lease of its own process and wait for it as for that of another load. It would then
//! get the error of a load that had ended before the call began.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    base::race::within,
    coherence::epoch::Epochs,
    sync::{AtomicUsize, Mutex, MutexGuard, Ordering},
};

/// Leases that are being released, counted by name.
#[derive(Default)]
pub(crate) struct PendingReleases {
    names: Mutex<HashMap<String, usize>>,
    /// Total number of these leases. It is usually zero, and then no call takes the lock.
    count: AtomicUsize,
}

/// Marks a lease as being released, until this is dropped.
pub(crate) struct PendingRelease {
    releases: Arc<PendingReleases>,
    epochs: Arc<Epochs>,
    name: String,
}

impl PendingReleases {
    pub(crate) fn begin(self: &Arc<Self>, name: &str, epochs: &Arc<Epochs>) -> PendingRelease {
        *self.names().entry(name.to_owned()).or_default() += 1;
        self.count.fetch_add(1, Ordering::SeqCst);
        PendingRelease { releases: self.clone(), epochs: epochs.clone(), name: name.to_owned() }
    }

    /// Returns whether a lease under `name` is being released.
    pub(crate) fn is_pending(&self, name: &str) -> bool {
        self.count.load(Ordering::SeqCst) > 0 && self.names().contains_key(name)
    }

    /// Waits until no lease under `name` is being released, but at most for `limit`.
    ///
    /// The releasing task may be on a blocked runtime, and the tier may hang.
    pub(crate) async fn wait(&self, name: &str, epochs: &Arc<Epochs>, limit: Duration) {
        within(limit, self.wait_unbounded(name, epochs)).await;
    }

    async fn wait_unbounded(&self, name: &str, epochs: &Arc<Epochs>) {
        while self.is_pending(name) {
            let epoch = epochs.current(name);
            let listener = epoch.listen();
            if self.is_pending(name) {
                listener.changed().await;
            }
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PendingRelease {
    fn drop(&mut self) {
        let mut names = self.releases.names();
        if let Some(remaining) = names.get_mut(&self.name) {
            *remaining -= 1;
            if *remaining == 0 {
                names.remove(&self.name);
            }
        }
        drop(names);
        self.releases.count.fetch_sub(1, Ordering::SeqCst);
        self.epochs.notify_listeners(&self.name);
    }
}

impl fmt::Debug for PendingReleases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingReleases")
            .field("count", &self.count.load(Ordering::SeqCst))
            .finish_non_exhaustive()
    }
}
