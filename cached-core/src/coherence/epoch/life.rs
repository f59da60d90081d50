//! The life of one epoch, and its end.
//!
//! Most epochs have no loads and no listeners at their end. So their parts for those are in a box, which the
//! first load or the first wait makes.
//!
//! Invariants: a change is recorded in the state before the watchers are looked for, and a load or a listener is
//! there before it looks at the state. So at least one of the two sees the other.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use tokio::sync::Notify;

use super::{EpochShard, lock, remove};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Bit of the state that is set if the epoch has ended. The other bits count the changes before that.
const ENDED: u64 = 1;

/// One change in the state.
const CHANGE: u64 = 2;

/// The period of a name from one invalidation to the next.
///
/// While it is alive, the name has not been invalidated since the epoch was created.
pub(crate) struct Epoch {
    state: AtomicU64,
    name: Box<str>,
    /// Hash of the name in the table; 0 for the epoch of a function.
    hash: u64,
    /// Place of the epoch in the table; dangling for the epoch of a function.
    shard: Weak<EpochShard>,
    watchers: Mutex<Option<Box<Watchers>>>,
}

/// A load that depends on epochs, and becomes invalid when one of them ends.
pub(crate) trait DependentLoad: Send + Sync {
    /// Called when one of the epochs has ended. The caller holds no lock of the epochs.
    fn invalidate(self: Arc<Self>);
}

/// The loads and listeners that an epoch notifies.
#[derive(Default)]
struct Watchers {
    /// A load that depends on the epoch; `None` if there is none.
    load: Option<Weak<dyn DependentLoad>>,
    /// Further loads.
    more_loads: Vec<Weak<dyn DependentLoad>>,
    /// Notified of each change, once a listener waits.
    changed: Option<Arc<Notify>>,
}

impl Epoch {
    pub(super) fn new(name: Box<str>, hash: u64, shard: Weak<EpochShard>) -> Self {
        Self { state: AtomicU64::new(0), name, hash, shard, watchers: Mutex::default() }
    }

    /// Returns whether this is the epoch of all entries of a function, and of no name.
    pub(crate) fn is_of_function(&self) -> bool {
        self.shard.ptr_eq(&Weak::new())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        self.state.load(Ordering::SeqCst) & ENDED == 0
    }

    /// Registers `load`, which is notified when this epoch ends, until [`detach_load`](Self::detach_load).
    pub(crate) fn attach_load(&self, load: &Weak<dyn DependentLoad>) {
        let mut watchers = lock(&self.watchers);
        let watchers = watchers.get_or_insert_default();
        match &mut watchers.load {
            Some(_) => watchers.more_loads.push(load.clone()),
            first => *first = Some(load.clone()),
        }
    }

    /// Unregisters a load that has ended.
    pub(crate) fn detach_load(&self, load: &Weak<dyn DependentLoad>) {
        let mut watchers = lock(&self.watchers);
        let Some(list) = watchers.as_deref_mut() else { return };
        if list.load.as_ref().is_some_and(|first| first.ptr_eq(load)) {
            list.load = list.more_loads.pop();
        } else if let Some(at) = list.more_loads.iter().position(|other| other.ptr_eq(load)) {
            list.more_loads.swap_remove(at);
        }
        if list.load.is_none() && list.changed.is_none() {
            *watchers = None;
        }
    }

    pub(super) fn end(&self) {
        self.state.fetch_or(ENDED, Ordering::SeqCst);
        let Some(watchers) = lock(&self.watchers).take() else { return };
        let Watchers { load, more_loads, changed } = *watchers;
        if let Some(changed) = changed {
            changed.notify_waiters();
        }
        for load in load.into_iter().chain(more_loads).filter_map(|load| load.upgrade()) {
            load.invalidate();
        }
    }

    /// Wakes the listeners, and goes on.
    pub(super) fn notify_listeners(&self) {
        self.state.fetch_add(CHANGE, Ordering::SeqCst);
        let changed = lock(&self.watchers).as_ref().and_then(|watchers| watchers.changed.clone());
        if let Some(changed) = changed {
            changed.notify_waiters();
        }
    }

    /// Begins to listen for changes of the name. The caller must do this before it looks.
    pub(crate) fn listen(self: &Arc<Self>) -> Listener {
        Listener { epoch: self.clone(), state: self.state.load(Ordering::SeqCst) }
    }
}

/// A listener that receives every change of a name since its own creation.
pub(crate) struct Listener {
    epoch: Arc<Epoch>,
    /// State of the epoch when the listener was created.
    state: u64,
}

impl Listener {
    /// Waits until the name is invalidated or changes otherwise. Returns at once if that has happened already.
    pub(crate) async fn changed(self) {
        let changed = {
            let mut watchers = lock(&self.epoch.watchers);
            watchers.get_or_insert_default().changed.get_or_insert_default().clone()
        };
        // It receives every notification from here on, even before it is polled.
        let notified = changed.notified();
        let state = self.epoch.state.load(Ordering::SeqCst);
        if state == self.state && state & ENDED == 0 {
            notified.await;
        }
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        // An epoch that has ended has left the table.
        if self.is_alive()
            && let Some(shard) = self.shard.upgrade()
        {
            remove(&shard, self.hash, self);
        }
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoch").field("is_alive", &self.is_alive()).finish_non_exhaustive()
    }
}
