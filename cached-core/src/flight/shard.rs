//! A part of the map of flights, by key.

use std::sync::Arc;

use hashbrown::{
    HashTable,
    hash_table::{Entry, OccupiedEntry},
};

use crate::{flight::state::Flight, key::OwnedKey};

/// Flights of the keys that share a lock. The key of a flight is in the flight.
#[derive(Default)]
pub(super) struct FlightShard(HashTable<Arc<Flight>>);

impl FlightShard {
    pub(super) fn get(&self, key: &OwnedKey) -> Option<&Arc<Flight>> {
        self.0.find(key.hash(), |flight| flight.key == *key)
    }

    /// Adds a flight, in the place of another one of its key.
    pub(super) fn insert(&mut self, flight: Arc<Flight>) {
        let is_same_key = |other: &Arc<Flight>| other.key == flight.key;
        match self.0.entry(flight.key.hash(), is_same_key, hash) {
            Entry::Occupied(mut other) => *other.get_mut() = flight,
            Entry::Vacant(free) => _ = free.insert(flight),
        }
    }

    pub(super) fn remove(&mut self, key: &OwnedKey) -> Option<Arc<Flight>> {
        let found = self.0.find_entry(key.hash(), |flight| flight.key == *key).ok()?;
        Some(found.remove().0)
    }

    /// Returns whether this flight is in the map.
    pub(super) fn has(&self, flight: &Arc<Flight>) -> bool {
        self.0.find(flight.key.hash(), |other| Arc::ptr_eq(other, flight)).is_some()
    }

    /// Removes this flight, and no other one of its key. Returns whether it was in the map.
    pub(super) fn remove_flight(&mut self, flight: &Arc<Flight>) -> bool {
        let found = self.0.find_entry(flight.key.hash(), |other| Arc::ptr_eq(other, flight));
        found.map(OccupiedEntry::remove).is_ok()
    }

    /// Removes and returns the flights of which the keys match.
    pub(super) fn take_where(&mut self, is_match: impl Fn(&OwnedKey) -> bool) -> Vec<Arc<Flight>> {
        self.0.extract_if(|flight| is_match(&flight.key)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Flight>> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn hash(flight: &Arc<Flight>) -> u64 {
    flight.key.hash()
}
