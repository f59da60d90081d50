//! One connection to the tier in memory: its watches, its listener and its change feed.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock, atomic::AtomicBool},
};

use crate::{
    base::clock::Nanos,
    testing::fake::lock,
    tier::{ChangeListener, feed::ChangeFeed},
};

/// Connection of one clone, and of the handles to it.
pub(super) struct Connection {
    pub(super) listener: OnceLock<Arc<dyn ChangeListener>>,
    pub(super) journal: OnceLock<String>,
    pub(super) feed: Mutex<Arc<ChangeFeed>>,
    pub(super) watched: Mutex<HashSet<String>>,
    pub(super) is_silent: AtomicBool,
    /// Changes that are not delivered yet, if delivery is late; `None` if it is immediate.
    pub(super) delayed: Mutex<Option<Vec<String>>>,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            listener: OnceLock::new(),
            journal: OnceLock::new(),
            feed: Mutex::new(ChangeFeed::local()),
            watched: Mutex::default(),
            is_silent: AtomicBool::new(false),
            delayed: Mutex::default(),
        }
    }

    pub(super) fn deliver(&self, keys: Vec<String>) {
        let Some(listener) = self.listener.get() else { return };
        for key in keys {
            listener.changed(key.as_bytes());
        }
    }

    pub(super) fn end_feed(&self, now: Nanos) {
        let feed = lock(&self.feed).clone();
        feed.advance_to(now);
        feed.end();
    }

    pub(super) fn restore_feed(&self) {
        *lock(&self.feed) = ChangeFeed::local();
        if let Some(listener) = self.listener.get() {
            listener.restored();
        }
    }
}
