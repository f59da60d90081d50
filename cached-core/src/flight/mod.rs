//! Single-flight: of many callers that miss one key, one loads and the others follow.
//!
//! A [`Flight`] is in one of three phases. **Running**: a leader is at work. **Vacant**: its leader went away
//! without a result, and the first follower that looks takes the lead. **Done**: the landing is there for all
//! followers. A flight that an invalidation overtook is *superseded*: it leaves the map at once, its result is
//! never stored, and its followers start over, on a load that begins after the invalidation.
//!
//! Locks are taken in the order shard, state; wakers run outside of both.

pub(crate) mod permits;

mod chain;
mod circle;
mod leader;
mod pulse;
#[cfg(test)]
mod tests;

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

pub(crate) use chain::{Inside, is_inside};
pub(crate) use leader::{Leader, Panic};
use pulse::Liveness;
use tokio::sync::Notify;

use crate::{
    coherence::{epoch::Stands, validity::Carried},
    key::{BuildPrehashed, Key},
    l1::leaving::Leaving,
    sync::{AtomicBool, Instant, Mutex, MutexGuard, Ordering, shards},
    value::erased::ErasedValue,
};

type Shard = HashMap<Key, Arc<Flight>, BuildPrehashed>;

const SHARDS: usize = shards(64);

/// The flights of one cache, by key.
pub(crate) struct Flights {
    shards: Box<[Mutex<Shard>]>,
}

/// One load and those who wait for it.
pub(crate) struct Flight {
    /// Among which it is: tells apart the flights of two caches.
    home: Weak<Flights>,
    key: Key,
    state: Mutex<State>,
    /// The flights that its load waits for.
    waits_for: Mutex<Vec<Arc<Flight>>>,
    /// What its load stands on.
    ground: Mutex<Option<Carried>>,
    /// Another load waits for it.
    is_wanted: AtomicBool,
    wanted: Notify,
}

struct State {
    phase: Phase,
    followers: usize,
    /// Of the followers that wait, by their seats: the one that came first has the lowest.
    wakers: BTreeMap<u64, Waker>,
    /// How many seats were taken.
    seats: u64,
    /// The seat of the follower that the lead was handed to, while the flight is vacant. No other one takes it, or newcomers
    /// would keep those that wait from their turn.
    heir: Option<u64>,
    superseded: bool,
    /// The load has ended, and it is being found out whether its value may be kept.
    landing: Option<Instant>,
    /// A load panicked, and one of the followers was given a second try.
    spent: bool,
    /// A load ended in an error that is its caller's own, so the followers load one after the other.
    is_serial: bool,
    /// Of the leader that counts. One that was overtaken has another.
    pulse: Arc<Liveness>,
}

enum Phase {
    Running,
    Vacant,
    Done(FlightResult),
}

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum FlightResult {
    /// A value, or an error for all.
    Shared(Arc<dyn ErasedValue>),
    /// Two loads panicked.
    Panicked,
}

/// What a caller that missed has to do.
pub(crate) enum Role {
    Lead(Leader),
    Follow(Follower),
    /// The caller is inside the load that it would wait for, or inside one that this load waits for.
    Recurse,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Follows the flight of `key`, or leads a new one. A `patient` follower stays with a flight that
    /// was superseded while it waited.
    pub(crate) fn join(self: &Arc<Self>, key: &Key, patient: bool) -> Role {
        let mut shard = self.shard(key);
        let Some(flight) = shard.get(key) else {
            // It would wait for the lease of a load that it is inside of, and that was superseded.
            let is_own =
                |outer: &Arc<Flight>| ptr::eq(outer.home.as_ptr(), Arc::as_ptr(self)) && outer.key == *key;
            if chain::flights().iter().any(is_own) {
                return Role::Recurse;
            }
            return Role::Lead(self.depart_in(&mut shard, key));
        };
        let mut state = flight.state();
        if matches!(state.phase, Phase::Vacant) && state.heir.is_none() {
            return Role::Lead(state.promote(self, flight));
        }
        let within = chain::flights();
        if !flight.begin_wait(&within) {
            return Role::Recurse;
        }
        if !within.is_empty() {
            flight.is_wanted.store(true, Ordering::SeqCst);
            flight.wanted.notify_waiters();
        }
        Role::Follow(state.follow(self, flight, within, patient))
    }

    /// Follows the flight of `key` if its load has ended already.
    pub(crate) fn join_landing(self: &Arc<Self>, key: &Key) -> Option<Follower> {
        let shard = self.shard(key);
        let flight = shard.get(key)?;
        let mut state = flight.state();
        state.landing.is_some().then(|| state.follow(self, flight, Vec::new(), false))
    }

    /// Leads a new flight in any case. A flight under way keeps its followers, but its result is not stored.
    pub(crate) fn depart(self: &Arc<Self>, key: &Key) -> Leader {
        let mut shard = self.shard(key);
        self.depart_in(&mut shard, key)
    }

    fn depart_in(self: &Arc<Self>, shard: &mut Shard, key: &Key) -> Leader {
        let pulse = Arc::new(Liveness::new());
        let state = State {
            phase: Phase::Running,
            followers: 0,
            wakers: BTreeMap::new(),
            seats: 0,
            heir: None,
            superseded: false,
            landing: None,
            spent: false,
            is_serial: false,
            pulse: pulse.clone(),
        };
        let flight = Arc::new(Flight {
            home: Arc::downgrade(self),
            key: key.clone(),
            state: Mutex::new(state),
            waits_for: Mutex::default(),
            ground: Mutex::default(),
            is_wanted: AtomicBool::new(false),
            wanted: Notify::new(),
        });
        shard.insert(key.clone(), flight.clone());
        Leader::new(self.clone(), flight, pulse)
    }

    /// The fence: once this returns, no load of `key` that began before is stored. `act` runs inside it.
    pub(crate) fn supersede<T>(&self, key: &Key, act: impl FnOnce() -> T) -> T {
        let _leaving = Leaving::begin();
        let mut shard = self.shard(key);
        let flight = shard.remove(key);
        let result = act();
        let wakers = flight.map(|flight| flight.state().supersede());
        drop(shard);
        wake(wakers.unwrap_or_default());
        result
    }

    /// As [`supersede`](Self::supersede) for every key. `act` runs when no load from before can fill any more.
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

    /// How many loads are under way.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// How many callers follow them.
    pub(crate) fn followers(&self) -> usize {
        let in_shard =
            |shard: &Mutex<Shard>| lock(shard).values().map(|flight| flight.state().followers).sum::<usize>();
        self.shards.iter().map(in_shard).sum()
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        // The map inside uses the low and the topmost bits.
        lock(&self.shards[(key.hash() >> 40) as usize % SHARDS])
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("len", &self.len()).finish()
    }
}

impl Flight {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn is_in(self: &Arc<Self>, shard: &Shard) -> bool {
        shard.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, self))
    }
}

impl Stands for Flight {
    /// As [`Flights::supersede`], of this one.
    fn fall(self: Arc<Self>) {
        let Some(flights) = self.home.upgrade() else { return };
        let mut shard = flights.shard(&self.key);
        if self.is_in(&shard) {
            shard.remove(&self.key);
        }
        let wakers = self.state().supersede();
        drop(shard);
        wake(wakers);
    }
}

impl State {
    fn follow(
        &mut self,
        flights: &Arc<Flights>,
        flight: &Arc<Flight>,
        within: Vec<Arc<Flight>>,
        patient: bool,
    ) -> Follower {
        self.followers += 1;
        let (flights, flight) = (flights.clone(), flight.clone());
        Follower { flights, flight, within, seat: None, patient, landing_since: self.landing }
    }

    /// A follower takes the lead.
    fn promote(&mut self, flights: &Arc<Flights>, flight: &Arc<Flight>) -> Leader {
        self.phase = Phase::Running;
        self.heir = None;
        self.landing = None;
        self.pulse = Arc::new(Liveness::new());
        Leader::new(flights.clone(), flight.clone(), self.pulse.clone())
    }

    fn take_seat(&mut self) -> u64 {
        self.seats += 1;
        self.seats
    }

    /// Hands the lead to the follower that has waited longest.
    #[must_use = "the waker is to be woken outside of the locks"]
    fn choose_heir(&mut self) -> Option<Waker> {
        let (seat, waker) = self.wakers.pop_first()?;
        self.heir = Some(seat);
        Some(waker)
    }

    /// A flight that has ended is not overtaken any more: its followers were there before the invalidation, and have yet to be
    /// polled.
    #[must_use = "the wakers are to be woken outside of the locks"]
    fn supersede(&mut self) -> Wakers {
        self.superseded |= !matches!(self.phase, Phase::Done(_));
        self.take_wakers()
    }

    /// Followers that are still there register anew when they are polled.
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

/// Waits for the leader of a flight. It may be dropped at any time.
pub(crate) struct Follower {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    /// The loads that it waits in.
    within: Vec<Arc<Flight>>,
    seat: Option<u64>,
    patient: bool,
    /// When the load ended, if it had when this one came.
    pub(crate) landing_since: Option<Instant>,
}

/// What a follower waited for.
pub(crate) enum FollowOutcome {
    Landed(FlightResult),
    /// The leader went away: load.
    Lead(Leader),
    /// An invalidation overtook the flight: start over.
    Superseded,
}

impl Follower {
    /// Takes the lead if the leader could have gone on for `patience` and was not polled, as happens when its
    /// caller holds it without polling, or its runtime is gone; or if the lead is vacant, and the follower that it was handed to has
    /// not taken it.
    pub(crate) fn overtake(&mut self, patience: Duration) -> Option<Leader> {
        let mut state = self.flight.state();
        // A landing takes milliseconds, unless nobody drives the runtime that it was handed to.
        let idle = state.landing.map_or_else(|| state.pulse.idle(), |since| since.elapsed());
        let parked = match state.phase {
            Phase::Running => idle >= patience,
            Phase::Vacant => true,
            Phase::Done(_) => false,
        };
        parked.then(|| state.promote(&self.flights, &self.flight))
    }

    /// Whether loads fail here, one after the other.
    pub(crate) fn loads_fail(&self) -> impl Fn() -> bool + Send + use<> {
        let flight = self.flight.clone();
        move || flight.state().is_serial
    }
}

impl Future for Follower {
    type Output = FollowOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FollowOutcome> {
        let flight = self.flight.clone();
        let mut state = flight.state();
        if state.superseded && !self.patient {
            return Poll::Ready(FollowOutcome::Superseded);
        }
        match &state.phase {
            Phase::Done(landing) => return Poll::Ready(FollowOutcome::Landed(landing.clone())),
            Phase::Vacant if state.heir.is_none() || state.heir == self.seat => {
                return Poll::Ready(FollowOutcome::Lead(state.promote(&self.flights, &flight)));
            }
            Phase::Vacant | Phase::Running => {}
        }
        let seat = *self.seat.get_or_insert_with(|| state.take_seat());
        match state.wakers.entry(seat) {
            Entry::Occupied(mut known) => known.get_mut().clone_from(cx.waker()),
            Entry::Vacant(free) => _ = free.insert(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.flight.end_wait(&self.within);
        let mut state = self.flight.state();
        state.followers -= 1;
        if let Some(seat) = self.seat {
            state.wakers.remove(&seat);
        }
        let is_vacant = matches!(state.phase, Phase::Vacant);
        let deserted = is_vacant && state.followers == 0;
        let next = match state.heir {
            _ if !is_vacant => None,
            // The lead goes to the next one.
            Some(_) if state.heir == self.seat => {
                state.heir = None;
                state.choose_heir()
            }
            Some(_) => None,
            // All were woken, and this may have been the only one that came.
            None => state.wakers.pop_first().map(|(_, waker)| waker),
        };
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
        if deserted {
            self.flights.remove_deserted(&self.flight);
        }
    }
}

impl Flights {
    /// Nobody leads or follows: unless somebody came meanwhile, the flight is over.
    fn remove_deserted(&self, flight: &Arc<Flight>) {
        let mut shard = self.shard(&flight.key);
        let state = flight.state();
        if matches!(state.phase, Phase::Vacant) && state.followers == 0 && flight.is_in(&shard) {
            shard.remove(&flight.key);
        }
    }
}
