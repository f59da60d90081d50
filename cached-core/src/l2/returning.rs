//! Leases of this process that are being given back.
//!
//! A load that has ended answers its callers before the shared tier knows. The call that comes next would find the lease of its own
//! process, wait for it as for that of another load, and get the error of a load that was over before it came.

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

/// The names of these leases, and how many there are of each.
#[derive(Default)]
pub(crate) struct Returning {
    names: Mutex<HashMap<String, usize>>,
    /// As a rule there is none, and no call has to lock.
    count: AtomicUsize,
}

/// Until this is dropped, a lease is being given back.
pub(crate) struct Return {
    returning: Arc<Returning>,
    marks: Arc<Epochs>,
    name: String,
}

impl Returning {
    pub(crate) fn begin(self: &Arc<Self>, name: &str, marks: &Arc<Epochs>) -> Return {
        *self.names().entry(name.to_owned()).or_default() += 1;
        self.count.fetch_add(1, Ordering::SeqCst);
        Return { returning: self.clone(), marks: marks.clone(), name: name.to_owned() }
    }

    /// Whether a lease under `name` is being given back.
    pub(crate) fn is_under_way(&self, name: &str) -> bool {
        self.count.load(Ordering::SeqCst) > 0 && self.names().contains_key(name)
    }

    /// Waits until no lease under `name` is being given back, but no longer than `limit`: the task that gives it back may be on
    /// a runtime that stands still, and the tier may hang.
    pub(crate) async fn wait(&self, name: &str, marks: &Arc<Epochs>, limit: Duration) {
        within(limit, self.wait_on(name, marks)).await;
    }

    async fn wait_on(&self, name: &str, marks: &Arc<Epochs>) {
        while self.is_under_way(name) {
            let mark = marks.of(name);
            let listener = mark.listen();
            if self.is_under_way(name) {
                listener.moved().await;
            }
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Return {
    fn drop(&mut self) {
        let mut names = self.returning.names();
        if let Some(left) = names.get_mut(&self.name) {
            *left -= 1;
            if *left == 0 {
                names.remove(&self.name);
            }
        }
        drop(names);
        self.returning.count.fetch_sub(1, Ordering::SeqCst);
        self.marks.nudge(&self.name);
    }
}

impl fmt::Debug for Returning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Returning").field("count", &self.count.load(Ordering::SeqCst)).finish_non_exhaustive()
    }
}
