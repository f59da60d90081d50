//! Supersession: the end of the flights that an invalidation overtakes.
//!
//! A load that began before an invalidation may have read the value from before it. So its result is never
//! stored, and callers that come later do not join its flight.
//!
//! Invariant: a flight leaves the map under the lock of its shard, under which `leader` stores a value. An
//! invalidation comes either before that, and prevents it, or after it, and then invalidates the entry.
//!
//! `cache::invalidation` supersedes the flight of a key, and `coherence::epoch` the flights that depend on
//! the epoch of a name.

use std::sync::Arc;

use crate::{
    coherence::epoch::DependentLoad,
    flight::{
        Flights, lock,
        state::{Flight, FlightState, Phase, Wakers, wake},
    },
    key::OwnedKey,
    l1::deferred_drops::DeferredDrops,
};

impl Flights {
    /// Supersedes the flight of `key`. `act` runs under the shard lock.
    ///
    /// Once this returns, no value of a load of `key` that began before is stored.
    pub(crate) fn supersede<T>(&self, key: &OwnedKey, act: impl FnOnce() -> T) -> T {
        let _deferred = DeferredDrops::begin();
        let mut shard = self.shard(key);
        let flight = shard.remove(key);
        let result = act();
        let wakers = flight.map(|flight| flight.state().supersede());
        drop(shard);
        wake(wakers.unwrap_or_default());
        result
    }

    /// Supersedes the flights of the functions with these templates.
    pub(crate) fn supersede_functions(&self, templates: &[&str]) {
        self.supersede_where(|key| templates.contains(&key.template()), || ());
    }

    /// Supersedes the flights of all keys.
    ///
    /// `act` runs under no lock, when no load from before can fill any more.
    pub(crate) fn supersede_all(&self, act: impl FnOnce()) {
        self.supersede_where(|_| true, act);
    }

    fn supersede_where(&self, is_match: impl Fn(&OwnedKey) -> bool, act: impl FnOnce()) {
        let mut flights = Vec::new();
        for shard in &self.shards {
            flights.extend(lock(shard).take_where(&is_match));
        }
        act();
        for flight in flights {
            let wakers = flight.state().supersede();
            wake(wakers);
        }
    }
}

impl DependentLoad for Flight {
    /// Supersedes this flight, as [`Flights::supersede`] does for a key.
    fn invalidate(self: Arc<Self>) {
        let mut shard = self.flights.shard(&self.key);
        shard.remove_flight(&self);
        let wakers = self.state().supersede();
        drop(shard);
        wake(wakers);
    }
}

impl FlightState {
    /// Marks the flight as superseded, unless it is done.
    ///
    /// The followers of a flight that is done were there before the invalidation, and have yet to be polled.
    #[must_use = "the caller must wake the wakers outside of the locks"]
    fn supersede(&mut self) -> Wakers {
        self.is_superseded |= !matches!(self.phase, Phase::Done(_));
        self.take_wakers()
    }
}
