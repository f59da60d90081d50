//! State that all clones of the tier in memory share: the entries, the journal of tags, and the switches.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use crate::{
    base::clock::Clock,
    testing::fake::{connection::Connection, lock, record::FakeRecord},
};

/// State that all clones share.
pub(super) struct Server {
    pub(super) clock: Clock,
    pub(super) entries: Mutex<HashMap<String, FakeRecord>>,
    pub(super) connections: Mutex<Vec<Weak<Connection>>>,
    /// Journal: the tags that were invalidated, in order.
    pub(super) invalidated: Mutex<Vec<String>>,
    pub(super) generations: AtomicUsize,
    pub(super) is_down: AtomicBool,
    pub(super) loses_lease_replies: AtomicBool,
    pub(super) fills_held: watch::Sender<bool>,
    pub(super) deletes_held: watch::Sender<bool>,
    pub(super) lookups_held: watch::Sender<bool>,
    pub(super) round_trips: AtomicUsize,
}

impl Server {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            entries: Mutex::default(),
            connections: Mutex::default(),
            invalidated: Mutex::default(),
            generations: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            loses_lease_replies: AtomicBool::new(false),
            fills_held: watch::Sender::new(false),
            deletes_held: watch::Sender::new(false),
            lookups_held: watch::Sender::new(false),
            round_trips: AtomicUsize::new(0),
        }
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, HashMap<String, FakeRecord>> {
        let mut entries = lock(&self.entries);
        let now = self.clock.now();
        entries.retain(|_, entry| entry.deadline.is_none_or(|deadline| now < deadline));
        entries
    }

    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.connections).iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn notify(&self, key: &str, by: Option<&Arc<Connection>>) {
        for connection in self.connections() {
            let was_watched = lock(&connection.watched).remove(key);
            let is_own = by.is_some_and(|by| Arc::ptr_eq(by, &connection));
            let is_delivered = was_watched && !is_own && !connection.is_silent.load(Ordering::SeqCst);
            if !is_delivered {
                continue;
            }
            let is_late =
                lock(&connection.delayed).as_mut().map(|delayed| delayed.push(key.to_owned())).is_some();
            if !is_late {
                connection.deliver(vec![key.to_owned()]);
            }
        }
    }

    pub(super) fn generation(&self, entries: &mut HashMap<String, FakeRecord>, tag: &str) -> u64 {
        let new_record = || {
            let number = self.generations.fetch_add(1, Ordering::Relaxed) as u64 + 1;
            FakeRecord { value: Some((number.to_le_bytes().to_vec(), number)), ..FakeRecord::default() }
        };
        let entry = entries.entry(tag.to_owned()).or_insert_with(new_record);
        entry.value.as_ref().map_or(0, |(_, generation)| *generation)
    }
}
