//! A flight and its state: the phase, the followers, and the lead that is handed on.
//!
//! A [`Lead`] is the position of one leader in its flight, and in the chain of loads that enclose it.
//!
//! Invariants: the state is changed only under its lock, and a flight that is done stays done. Wakers are
//! taken under the lock, and run outside of all locks.
//!
//! `leader` and `follower` act on the state, and `supersede` marks a flight that an invalidation overtakes.

use std::{
    collections::BTreeMap,
    mem,
    sync::Arc,
    task::{Wake, Waker},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    coherence::validity::LoadRegistration,
    flight::{Flights, liveness::Liveness, lock},
    key::OwnedKey,
    sync::{AtomicBool, AtomicUsize, Instant, Mutex, MutexGuard, Ordering},
    value::erased::ErasedValue,
};

/// One load and the callers that wait for it.
pub(super) struct Flight {
    /// Flights of the cache, whose map holds this one. A flight leaves the map before its last leader and follower
    /// are gone, so the two do not keep each other alive.
    pub(super) flights: Arc<Flights>,
    pub(super) key: OwnedKey,
    /// Parts of the first lead, which most flights never pass on.
    pub(super) first_lead: LeadParts,
    /// Number of followers. It changes under the lock of the state, and grows only under that of the shard as well.
    pub(super) followers: AtomicUsize,
    state: Mutex<FlightState>,
    /// Flights that the load waits for: its edges in the wait-for graph.
    pub(super) waits_for: Mutex<Vec<Arc<Flight>>>,
    /// Validity that the flight is bound to. An invalidation that ends it supersedes the flight.
    pub(super) registration: Mutex<Option<LoadRegistration>>,
    /// There is, or was, a registration.
    pub(super) was_registered: AtomicBool,
    /// Another load waits for this one.
    pub(super) is_awaited_by_load: AtomicBool,
    pub(super) awaited_by_load: Notify,
}

/// The lead of a flight.
///
/// The first one is a part of its flight, which saves a miss an allocation. One that was passed on, or taken over,
/// is allocated separately.
#[derive(Clone)]
pub(super) enum Lead {
    First(Arc<Flight>),
    Later(Arc<LaterLead>),
}

/// Parts of a lead besides its flight.
pub(super) struct LeadParts {
    pub(super) liveness: Liveness,
    /// Load that the leader was called from.
    outer: Option<Lead>,
}

/// A lead that another leader had before.
pub(super) struct LaterLead {
    flight: Arc<Flight>,
    liveness: Arc<Liveness>,
    outer: Option<Lead>,
}

/// State of a flight, which its lock protects.
pub(super) struct FlightState {
    pub(super) phase: Phase,
    /// Wakers of the waiting followers, by ticket. The follower that came first has the lowest ticket.
    pub(super) wakers: BTreeMap<u64, Waker>,
    /// Number of tickets issued so far.
    tickets_issued: u64,
    /// Ticket of the follower that the lead was handed to, while the flight is vacant.
    ///
    /// No other caller takes the lead, or newcomers would keep the waiting followers from their turn. The
    /// exception is [`Follower::overtake`](super::Follower::overtake).
    pub(super) next_leader: Option<u64>,
    pub(super) is_superseded: bool,
    /// Time at which the load ended, while it is being decided whether its value may be stored.
    pub(super) landing_since: Option<Instant>,
    /// A load panicked, and one of the followers was given a second attempt.
    pub(super) has_retried: bool,
    /// A load ended in an error that cannot be shared, so the followers load one after the other.
    pub(super) is_serial: bool,
    /// Liveness of the current leader; `None` for the first one. A leader that was overtaken has another one.
    pub(super) later_liveness: Option<Arc<Liveness>>,
}

/// Phase of a flight.
pub(super) enum Phase {
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

/// Wakers of followers, by ticket.
pub(super) type Wakers = BTreeMap<u64, Waker>;

impl Flight {
    /// Creates a flight with a leader and no followers.
    pub(super) fn new(flights: Arc<Flights>, key: OwnedKey, first_lead: LeadParts) -> Self {
        let state = FlightState {
            phase: Phase::Running,
            wakers: BTreeMap::new(),
            tickets_issued: 0,
            next_leader: None,
            is_superseded: false,
            landing_since: None,
            has_retried: false,
            is_serial: false,
            later_liveness: None,
        };
        Self {
            flights,
            key,
            first_lead,
            followers: AtomicUsize::new(0),
            state: Mutex::new(state),
            waits_for: Mutex::default(),
            registration: Mutex::default(),
            was_registered: AtomicBool::new(false),
            is_awaited_by_load: AtomicBool::new(false),
            awaited_by_load: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, FlightState> {
        lock(&self.state)
    }

    /// Returns the number of followers. Under the lock of the shard, it does not grow.
    pub(super) fn followers(&self) -> usize {
        self.followers.load(Ordering::Relaxed)
    }

    /// Ends the registration with epochs. A waker that the load has left somewhere may keep the flight for long.
    pub(super) fn unregister(&self) {
        if self.was_registered.load(Ordering::SeqCst) {
            let registration = lock(&self.registration).take();
            // Dropped outside of the lock: the drop may take the lock of an epoch.
            drop(registration);
        }
    }

    /// Returns how long the current leader could have gone on and was not polled.
    pub(super) fn idle_time(&self, state: &FlightState) -> Duration {
        state.later_liveness.as_deref().unwrap_or(&self.first_lead.liveness).idle_time()
    }
}

impl LeadParts {
    /// Creates the parts of a lead whose leader is at work, inside the load `outer`.
    pub(super) fn new(outer: Option<Lead>) -> Self {
        Self { liveness: Liveness::at_work(), outer }
    }
}

impl Lead {
    /// Creates a lead that is taken from another leader, inside the load `outer`.
    pub(super) fn later(flight: Arc<Flight>, liveness: Arc<Liveness>, outer: Option<Self>) -> Self {
        Self::Later(Arc::new(LaterLead { flight, liveness, outer }))
    }

    pub(super) fn flight(&self) -> &Arc<Flight> {
        match self {
            Self::First(flight) => flight,
            Self::Later(lead) => &lead.flight,
        }
    }

    pub(super) fn liveness(&self) -> &Liveness {
        match self {
            Self::First(flight) => &flight.first_lead.liveness,
            Self::Later(lead) => &lead.liveness,
        }
    }

    /// Returns the liveness of a lead that is not the first one of its flight.
    pub(super) fn later_liveness(&self) -> Option<&Arc<Liveness>> {
        match self {
            Self::First(_) => None,
            Self::Later(lead) => Some(&lead.liveness),
        }
    }

    /// Returns the load that the leader was called from.
    pub(super) fn outer(&self) -> Option<&Self> {
        match self {
            Self::First(flight) => flight.first_lead.outer.as_ref(),
            Self::Later(lead) => lead.outer.as_ref(),
        }
    }

    /// Returns the waker for the polls of the leader.
    pub(super) fn waker(&self) -> Waker {
        match self {
            Self::First(flight) => Waker::from(flight.clone()),
            Self::Later(lead) => Waker::from(lead.liveness.clone()),
        }
    }
}

/// Wakes the first leader.
impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.first_lead.liveness.wake_leader();
    }
}

impl FlightState {
    /// Returns whether this is the lead of the current leader, and was not taken over.
    pub(super) fn is_led_by(&self, lead: &Lead) -> bool {
        match (&self.later_liveness, lead.later_liveness()) {
            (None, None) => true,
            (Some(current), Some(liveness)) => Arc::ptr_eq(current, liveness),
            _ => false,
        }
    }

    pub(super) fn issue_ticket(&mut self) -> u64 {
        self.tickets_issued += 1;
        self.tickets_issued
    }

    /// Hands the lead to the follower that has waited longest.
    #[must_use = "the caller must wake the waker outside of the locks"]
    pub(super) fn choose_next_leader(&mut self) -> Option<Waker> {
        let (ticket, waker) = self.wakers.pop_first()?;
        self.next_leader = Some(ticket);
        Some(waker)
    }

    /// Takes all wakers. Followers that still wait register again when they are polled.
    pub(super) fn take_wakers(&mut self) -> Wakers {
        mem::take(&mut self.wakers)
    }
}

/// Wakes followers. The caller holds no lock.
pub(super) fn wake(wakers: Wakers) {
    for waker in wakers.into_values() {
        waker.wake();
    }
}
