//! Reads of the tier in memory by a test, and changes as a foreign program would make them.

use std::sync::atomic::Ordering;

use crate::testing::fake::{FakeTier, record::FakeRecord};

impl FakeTier {
    /// Returns the number of operations on all clones.
    pub fn round_trips(&self) -> usize {
        self.server.round_trips.load(Ordering::Relaxed)
    }

    /// Returns the keys that hold a value, sorted.
    pub fn keys(&self) -> Vec<String> {
        let entries = self.server.entries();
        let filled = entries.iter().filter(|(key, entry)| entry.value.is_some() && !key.contains(":%"));
        let mut keys: Vec<_> = filled.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    /// Replaces the bytes of a key by arbitrary ones, as a foreign program would.
    pub fn overwrite(&self, key: &str, bytes: Vec<u8>) {
        let mut entries = self.server.entries();
        let deadline = entries.get(key).and_then(|entry| entry.deadline);
        entries.insert(
            key.to_owned(),
            FakeRecord { value: Some((bytes, 0)), deadline, ..FakeRecord::default() },
        );
        drop(entries);
        self.server.notify(key, None);
    }

    /// Removes a key, as a foreign program would.
    pub fn remove(&self, key: &str) {
        self.server.entries().remove(key);
        self.server.notify(key, None);
    }

    /// Returns the bytes of the value under a key.
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        self.server.entries().get(key).and_then(|entry| Some(entry.value.as_ref()?.0.clone()))
    }
}
