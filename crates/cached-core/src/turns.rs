//! Writes to one name of the shared tier, one after the other.
//!
//! Values are handed over in the background. Without an order, the value of a load that ended before an invalidation
//! could arrive after it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// The last write under way to each name.
#[derive(Debug)]
pub(crate) struct Turns {
    last: Mutex<HashMap<String, watch::Receiver<()>>>,
    batch: Mutex<()>,
    count: watch::Sender<usize>,
}

/// The right to write to a name, once the writes before are over. The next one waits until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    name: String,
    previous: Option<watch::Receiver<()>>,
    /// Closes when this is dropped.
    over: watch::Sender<()>,
}

impl Turns {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { last: Mutex::default(), batch: Mutex::default(), count: watch::Sender::new(0) })
    }

    /// Takes the next turn. The order of turns is the order of these calls.
    pub(crate) fn take(self: &Arc<Self>, name: &str) -> Turn {
        let (over, watcher) = watch::channel(());
        self.count.send_modify(|count| *count += 1);
        let previous = self.last().insert(name.to_owned(), watcher);
        Turn { turns: self.clone(), name: name.to_owned(), previous, over }
    }

    /// Held by one who takes several turns and keeps them: two who took them crosswise would wait for each other.
    pub(crate) fn batch(&self) -> MutexGuard<'_, ()> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no write is under way.
    pub(crate) async fn idle(&self) {
        // It fails only without a sender, and `self` holds one.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    fn last(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<()>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits until the writes before are over.
    pub(crate) async fn come(&mut self) {
        if let Some(mut previous) = self.previous.take() {
            // Nothing is ever sent: it ends when the sender is dropped.
            let _ = previous.changed().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut last = self.turns.last();
        if last.get(&self.name).is_some_and(|last| last.same_channel(&self.over.subscribe())) {
            last.remove(&self.name);
        }
        drop(last);
        self.turns.count.send_modify(|count| *count -= 1);
    }
}
