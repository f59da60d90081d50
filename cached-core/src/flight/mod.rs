//! Single-flight: of many callers that miss one key, one loads and the others follow.
//!
//! A [`Flight`] is in one of three phases:
//!
//! * **Running**: a leader is at work.
//! * **Vacant**: the leader went away without a result. The first caller that looks takes the lead. If the lead
//!   was handed to one follower, only that one takes it.
//! * **Done**: the result is there for all followers.
//!
//! An invalidation that overtakes a flight *supersedes* it. The flight leaves the map at once, its result is
//! never stored, and its followers start over, with a load that begins after the invalidation.
//!
//! A flight *lands* while its load has ended and its value is being published. A leader that could go on but
//! is not polled is *overtaken*: a follower takes the lead, and the first leader to end the flight counts.
//!
//! Locks are taken in the order shard, state, wait-for graph. Wakers run outside of all of them.
//!
//! The parts are `leader`, `nesting` (nested loads), `wait_graph`, `liveness` (idle leaders), and
//! `permits` (`max_loads`).

pub(crate) mod permits;

mod leader;
mod liveness;
mod nesting;
#[cfg(test)]
mod tests;
mod wait_graph;

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    fmt,
    future::Future,
    pin::Pin,
    ptr,
    sync::{Arc, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

pub(crate) use leader::{Leader, Panic};
use liveness::Liveness;
pub(crate) use nesting::{CapturedChain, is_inside_load};
use tokio::sync::Notify;

use crate::{
    coherence::{epoch::DependentLoad, validity::LoadRegistration},
    key::{BuildPrehashed, OwnedKey},
    l1::deferred_drops::DeferredDrops,
    sync::{AtomicBool, Instant, Mutex, MutexGuard, Ordering, shards},
    value::erased::ErasedValue,
};

type FlightShard = HashMap<OwnedKey, Arc<Flight>, BuildPrehashed>;

const SHARDS: usize = shards(64);

/// The flights of one cache, by key.
pub(crate) struct Flights {
    shards: Box<[Mutex<FlightShard>]>,
}

/// One load and the callers that wait for it.
pub(crate) struct Flight {
    /// Map that holds the flight. Distinguishes the flights of two caches.
    flights: Weak<Flights>,
    key: OwnedKey,
    state: Mutex<FlightState>,
    /// Flights that the load waits for: its edges in the wait-for graph.
    waits_for: Mutex<Vec<Arc<Flight>>>,
    /// Validity that the flight is bound to. An invalidation that ends it supersedes the flight.
    registration: Mutex<Option<LoadRegistration>>,
    /// Another load waits for this one.
    is_awaited_by_load: AtomicBool,
    awaited_by_load: Notify,
}

struct FlightState {
    phase: Phase,
    followers: usize,
    /// Wakers of the waiting followers, by ticket. The follower that came first has the lowest ticket.
    wakers: BTreeMap<u64, Waker>,
    /// Number of tickets issued so far.
    tickets_issued: u64,
    /// Ticket of the follower that the lead was handed to, while the flight is vacant.
    ///
    /// No other caller takes the lead, or newcomers would keep the waiting followers from their turn. The
    /// exception is [`Follower::overtake`].
    next_leader: Option<u64>,
    is_superseded: bool,
    /// Time at which the load ended, while it is being decided whether its value may be stored.
    landing_since: Option<Instant>,
    /// A load panicked, and one of the followers was given a second attempt.
    has_retried: bool,
    /// A load ended in an error that cannot be shared, so the followers load one after the other.
    is_serial: bool,
    /// Liveness of the current leader. A leader that was overtaken has another one.
    liveness: Arc<Liveness>,
}

enum Phase {
    Running,
    Vacant,
    Done(FlightResult),
}

/// Result of a flight.
#[derive(Clone)]
pub(crate) enum FlightResult {
    /// A value, or an error that all followers share.
    Shared(Arc<dyn ErasedValue>),
    /// Two loads panicked.
    Panicked,
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
        let mut shard = self.shard(key);
        let Some(flight) = shard.get(key) else {
            // The caller may be inside a load of this key that was superseded. A new load would wait for the
            // lease of that one.
            let is_own =
                |outer: &Arc<Flight>| ptr::eq(outer.flights.as_ptr(), Arc::as_ptr(self)) && outer.key == *key;
            if nesting::flights().iter().any(is_own) {
                return Role::Recurse;
            }
            return Role::Lead(self.start_in(&mut shard, key));
        };
        let mut state = flight.state();
        if matches!(state.phase, Phase::Vacant) && state.next_leader.is_none() {
            return Role::Lead(state.promote(self, flight));
        }
        let enclosing = nesting::flights();
        if !flight.begin_wait(&enclosing) {
            return Role::Recurse;
        }
        if !enclosing.is_empty() {
            flight.is_awaited_by_load.store(true, Ordering::SeqCst);
            flight.awaited_by_load.notify_waiters();
        }
        Role::Follow(state.follow(self, flight, enclosing, stays_when_superseded))
    }

    /// Follows the flight of `key` if its load has ended already.
    pub(crate) fn join_landing(self: &Arc<Self>, key: &OwnedKey) -> Option<Follower> {
        let shard = self.shard(key);
        let flight = shard.get(key)?;
        let mut state = flight.state();
        state.landing_since.is_some().then(|| state.follow(self, flight, Vec::new(), false))
    }

    /// Leads a new flight in any case. A flight under way keeps its followers, but its result is not stored.
    pub(crate) fn start(self: &Arc<Self>, key: &OwnedKey) -> Leader {
        let mut shard = self.shard(key);
        self.start_in(&mut shard, key)
    }

    fn start_in(self: &Arc<Self>, shard: &mut FlightShard, key: &OwnedKey) -> Leader {
        let liveness = Arc::new(Liveness::new());
        let state = FlightState {
            phase: Phase::Running,
            followers: 0,
            wakers: BTreeMap::new(),
            tickets_issued: 0,
            next_leader: None,
            is_superseded: false,
            landing_since: None,
            has_retried: false,
            is_serial: false,
            liveness: liveness.clone(),
        };
        let flight = Arc::new(Flight {
            flights: Arc::downgrade(self),
            key: key.clone(),
            state: Mutex::new(state),
            waits_for: Mutex::default(),
            registration: Mutex::default(),
            is_awaited_by_load: AtomicBool::new(false),
            awaited_by_load: Notify::new(),
        });
        shard.insert(key.clone(), flight.clone());
        Leader::new(self.clone(), flight, liveness)
    }

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

    /// Supersedes the flights of all keys.
    ///
    /// `act` runs under no lock, when no load from before can fill any more.
    pub(crate) fn supersede_all(&self, act: impl FnOnce()) {
        let mut flights = Vec::new();
        for shard in &self.shards {
            flights.extend(lock(shard).drain().map(|(_, flight)| flight));
        }
        act();
        for flight in flights {
            let wakers = flight.state().supersede();
            wake(wakers);
        }
    }

    /// Returns the number of loads under way.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Returns the number of callers that follow these loads.
    pub(crate) fn followers(&self) -> usize {
        let in_shard = |shard: &Mutex<FlightShard>| {
            lock(shard).values().map(|flight| flight.state().followers).sum::<usize>()
        };
        self.shards.iter().map(in_shard).sum()
    }

    fn shard(&self, key: &OwnedKey) -> MutexGuard<'_, FlightShard> {
        // The map of the shard uses the low and the topmost bits of the hash.
        lock(&self.shards[(key.hash() >> 40) as usize % SHARDS])
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("len", &self.len()).finish()
    }
}

impl Flight {
    fn state(&self) -> MutexGuard<'_, FlightState> {
        lock(&self.state)
    }

    fn is_in(self: &Arc<Self>, shard: &FlightShard) -> bool {
        shard.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, self))
    }
}

impl DependentLoad for Flight {
    /// Supersedes this flight, as [`Flights::supersede`] does for a key.
    fn invalidate(self: Arc<Self>) {
        let Some(flights) = self.flights.upgrade() else { return };
        let mut shard = flights.shard(&self.key);
        if self.is_in(&shard) {
            shard.remove(&self.key);
        }
        let wakers = self.state().supersede();
        drop(shard);
        wake(wakers);
    }
}

impl FlightState {
    fn follow(
        &mut self,
        flights: &Arc<Flights>,
        flight: &Arc<Flight>,
        enclosing: Vec<Arc<Flight>>,
        stays_when_superseded: bool,
    ) -> Follower {
        self.followers += 1;
        let (flights, flight) = (flights.clone(), flight.clone());
        Follower {
            flights,
            flight,
            enclosing,
            ticket: None,
            stays_when_superseded,
            landing_since: self.landing_since,
        }
    }

    /// Gives the lead to a follower, or to a caller that has just come.
    fn promote(&mut self, flights: &Arc<Flights>, flight: &Arc<Flight>) -> Leader {
        self.phase = Phase::Running;
        self.next_leader = None;
        self.landing_since = None;
        self.liveness = Arc::new(Liveness::new());
        Leader::new(flights.clone(), flight.clone(), self.liveness.clone())
    }

    fn issue_ticket(&mut self) -> u64 {
        self.tickets_issued += 1;
        self.tickets_issued
    }

    /// Hands the lead to the follower that has waited longest.
    #[must_use = "the caller must wake the waker outside of the locks"]
    fn choose_next_leader(&mut self) -> Option<Waker> {
        let (ticket, waker) = self.wakers.pop_first()?;
        self.next_leader = Some(ticket);
        Some(waker)
    }

    /// Marks the flight as superseded, unless it is done.
    ///
    /// The followers of a flight that is done were there before the invalidation, and have yet to be polled.
    #[must_use = "the caller must wake the wakers outside of the locks"]
    fn supersede(&mut self) -> Wakers {
        self.is_superseded |= !matches!(self.phase, Phase::Done(_));
        self.take_wakers()
    }

    /// Takes all wakers. Followers that still wait register again when they are polled.
    fn take_wakers(&mut self) -> Wakers {
        std::mem::take(&mut self.wakers)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Wakers = BTreeMap<u64, Waker>;

fn wake(wakers: Wakers) {
    for waker in wakers.into_values() {
        waker.wake();
    }
}

/// Waits for the result of a flight. A follower may be dropped at any time.
pub(crate) struct Follower {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    /// Loads that enclose the caller, and so wait for the flight as well.
    enclosing: Vec<Arc<Flight>>,
    ticket: Option<u64>,
    stays_when_superseded: bool,
    /// Time at which the load ended, if that was before this follower joined.
    pub(crate) landing_since: Option<Instant>,
}

/// Outcome of following a flight.
pub(crate) enum FollowOutcome {
    Landed(FlightResult),
    /// The leader went away: the follower leads, and has to load.
    Lead(Leader),
    /// An invalidation superseded the flight: the follower has to start over.
    Superseded,
}

impl Follower {
    /// Takes the lead if the leader could have gone on for `idle_limit` and was not polled.
    ///
    /// This happens when the caller of the leader holds its future without polling it, or when its runtime is
    /// gone. A vacant lead is taken as well: the follower that it was handed to has not taken it.
    pub(crate) fn overtake(&mut self, idle_limit: Duration) -> Option<Leader> {
        let mut state = self.flight.state();
        // A landing takes milliseconds, unless the runtime that it was handed to is not driven any more.
        let idle_time =
            state.landing_since.map_or_else(|| state.liveness.idle_time(), |since| since.elapsed());
        let may_take_lead = match state.phase {
            Phase::Running => idle_time >= idle_limit,
            Phase::Vacant => true,
            Phase::Done(_) => false,
        };
        may_take_lead.then(|| state.promote(&self.flights, &self.flight))
    }

    /// Returns a function that checks whether the loads of this flight fail one after the other.
    pub(crate) fn serial_failure_check(&self) -> impl Fn() -> bool + Send + use<> {
        let flight = self.flight.clone();
        move || flight.state().is_serial
    }
}

impl Future for Follower {
    type Output = FollowOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FollowOutcome> {
        let flight = self.flight.clone();
        let mut state = flight.state();
        if state.is_superseded && !self.stays_when_superseded {
            return Poll::Ready(FollowOutcome::Superseded);
        }
        match &state.phase {
            Phase::Done(result) => return Poll::Ready(FollowOutcome::Landed(result.clone())),
            Phase::Vacant if state.next_leader.is_none() || state.next_leader == self.ticket => {
                return Poll::Ready(FollowOutcome::Lead(state.promote(&self.flights, &flight)));
            }
            Phase::Vacant | Phase::Running => {}
        }
        let ticket = *self.ticket.get_or_insert_with(|| state.issue_ticket());
        match state.wakers.entry(ticket) {
            Entry::Occupied(mut known) => known.get_mut().clone_from(cx.waker()),
            Entry::Vacant(free) => _ = free.insert(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.flight.end_wait(&self.enclosing);
        let mut state = self.flight.state();
        state.followers -= 1;
        if let Some(ticket) = self.ticket {
            state.wakers.remove(&ticket);
        }
        let is_vacant = matches!(state.phase, Phase::Vacant);
        let is_deserted = is_vacant && state.followers == 0;
        let next = match state.next_leader {
            _ if !is_vacant => None,
            // The next leader goes away, so the lead is handed to the next follower.
            Some(_) if state.next_leader == self.ticket => {
                state.next_leader = None;
                state.choose_next_leader()
            }
            Some(_) => None,
            // All followers were woken, and this may have been the only one to take the lead. Wake another.
            None => state.wakers.pop_first().map(|(_, waker)| waker),
        };
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
        if is_deserted {
            self.flights.remove_deserted(&self.flight);
        }
    }
}

impl Flights {
    /// Removes a flight without leader and followers, unless a caller has joined meanwhile.
    fn remove_deserted(&self, flight: &Arc<Flight>) {
        let mut shard = self.shard(&flight.key);
        let state = flight.state();
        if matches!(state.phase, Phase::Vacant) && state.followers == 0 && flight.is_in(&shard) {
            shard.remove(&flight.key);
        }
    }
}
