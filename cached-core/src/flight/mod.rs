//! Single-flight: of many callers that miss one key, one loads and the others follow.
//!
//! A [`Flight`] is in one of three phases:
//!
//! * **Running**: a leader is at work.
//! * **Vacant**: the leader went away without a result. The first caller that looks takes the lead. If the lead
//!   was handed to one follower, only that one takes it.
//! * **Done**: the result is there for all followers.
//!
//! A flight that ends without followers leaves the map, and keeps its phase.
//!
//! An invalidation that overtakes a flight *supersedes* it. The flight leaves the map at once, its result is
//! never stored, and its followers start over, with a load that begins after the invalidation.
//!
//! A flight *lands* while its load has ended and its value is being published. A leader that could go on but
//! is not polled is *overtaken*: a follower takes the lead, and the first leader to end the flight counts.
//!
//! Locks are taken in the order shard, state, wait-for graph or liveness. The registration with epochs is dropped,
//! and wakers run, outside of all of them.
//!
//! This file has the flights of a cache, and the ways in which a caller comes to its role. The parts are:
//!
//! * `state`: one flight, with its phase, its followers and its leads.
//! * `shard`: a part of the map of flights.
//! * `leader`: the caller that loads, and the ends of its flight.
//! * `follower`: a caller that waits, and may take the lead.
//! * `supersede`: the invalidations that overtake flights.
//! * `liveness`: the detection of idle leaders.
//! * `nesting`: the loads that enclose a call.
//! * `wait_graph`: the loads that wait for each other.
//! * `permits`: the limit of concurrent loads (`max_loads`).
//!
//! `call::join` joins a flight, `call::lead` leads one, and `call::publish` ends it.

pub(crate) mod permits;

mod follower;
mod leader;
mod liveness;
mod nesting;
mod shard;
mod state;
mod supersede;
#[cfg(test)]
mod tests;
mod wait_graph;

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

pub(crate) use self::{
    follower::{FollowOutcome, Follower},
    leader::{Leader, Panic},
    nesting::is_inside_load,
    state::FlightResult,
};
use self::{
    shard::FlightShard,
    state::{Flight, Lead, LeadParts, Phase},
};
use crate::{
    key::OwnedKey,
    sync::{Mutex, MutexGuard, Ordering, shards},
};

const SHARDS: usize = shards(64);

/// The flights of one cache, by key.
pub(crate) struct Flights {
    shards: Box<[Mutex<FlightShard>]>,
}

/// Role of a caller that missed.
pub(crate) enum Role {
    Lead(Leader),
    Follow(Follower),
    /// The caller is inside the load that it would wait for, or inside a load that this one waits for.
    Recurse,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Follows the flight of `key`, or leads a new one.
    ///
    /// With `stays_when_superseded`, the follower stays with a flight that was superseded while it waited.
    pub(crate) fn join(self: &Arc<Self>, key: &OwnedKey, stays_when_superseded: bool) -> Role {
        self.join_at_work(key, stays_when_superseded).expect_poll()
    }

    /// Joins a flight like [`join`](Self::join), for a caller that begins to load at once if it leads.
    ///
    /// The idle time of such a leader is not counted until [`Leader::expect_poll`].
    pub(crate) fn join_at_work(self: &Arc<Self>, key: &OwnedKey, stays_when_superseded: bool) -> Role {
        let mut shard = self.shard(key);
        let Some(flight) = shard.get(key) else {
            // The caller may be inside a load of this key that was superseded. A new load would wait for the
            // lease of that one.
            if nesting::is_inside(|outer| Arc::ptr_eq(&outer.flights, self) && outer.key == *key) {
                return Role::Recurse;
            }
            return Role::Lead(self.start_in(&mut shard, key));
        };
        let mut state = flight.state();
        if matches!(state.phase, Phase::Vacant) && state.next_leader.is_none() {
            return Role::Lead(state.promote(flight));
        }
        let enclosing = nesting::flights();
        if !flight.begin_wait(&enclosing) {
            return Role::Recurse;
        }
        if !enclosing.is_empty() {
            flight.is_awaited_by_load.store(true, Ordering::SeqCst);
            flight.awaited_by_load.notify_waiters();
        }
        Role::Follow(state.follow(flight, enclosing, stays_when_superseded))
    }

    /// Follows the flight of `key` if its load has ended already.
    pub(crate) fn join_landing(self: &Arc<Self>, key: &OwnedKey) -> Option<Follower> {
        let shard = self.shard(key);
        let flight = shard.get(key)?;
        let mut state = flight.state();
        state.landing_since.is_some().then(|| state.follow(flight, Vec::new(), false))
    }

    /// Leads a new flight in any case. A flight under way keeps its followers, but its result is not stored.
    pub(crate) fn start(self: &Arc<Self>, key: &OwnedKey) -> Leader {
        let mut shard = self.shard(key);
        let leader = self.start_in(&mut shard, key);
        drop(shard);
        leader.expect_poll();
        leader
    }

    fn start_in(self: &Arc<Self>, shard: &mut FlightShard, key: &OwnedKey) -> Leader {
        let flight = Arc::new(Flight::new(self.clone(), key.clone(), LeadParts::new(nesting::innermost())));
        shard.insert(flight.clone());
        Leader::new(Lead::First(flight))
    }

    /// Returns the number of loads under way.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Returns the number of callers that follow these loads.
    pub(crate) fn followers(&self) -> usize {
        let in_shard =
            |shard: &Mutex<FlightShard>| lock(shard).iter().map(|flight| flight.followers()).sum::<usize>();
        self.shards.iter().map(in_shard).sum()
    }

    /// Removes a flight without leader and followers, unless a caller has joined meanwhile.
    fn remove_deserted(&self, flight: &Arc<Flight>) {
        let mut shard = self.shard(&flight.key);
        let state = flight.state();
        if matches!(state.phase, Phase::Vacant) && flight.followers() == 0 {
            shard.remove_flight(flight);
        }
    }

    fn shard(&self, key: &OwnedKey) -> MutexGuard<'_, FlightShard> {
        // The map of the shard uses the low and the topmost bits of the hash.
        lock(&self.shards[(key.hash() >> 40) as usize % SHARDS])
    }
}

impl Role {
    /// Counts the idle time of a leader from here on, because its load may be polled later, or never.
    pub(crate) fn expect_poll(self) -> Self {
        if let Self::Lead(leader) = &self {
            leader.expect_poll();
        }
        self
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("len", &self.len()).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
