//! A follower of a flight: it waits for the result, or takes a lead that is vacant or was abandoned.
//!
//! A follower registers a waker under its ticket. The ticket is its position in the order in which a vacant
//! lead is handed on.
//!
//! Invariant: no vacant lead is forgotten. A follower that is dropped hands on a lead that was handed to it.
//! If all followers were woken, it wakes another.
//!
//! `leader` has the other side, and `call::join` acts on the outcome.

use std::{
    collections::btree_map::Entry,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    flight::{
        leader::Leader,
        state::{Flight, FlightResult, FlightState, Phase},
    },
    sync::{Instant, Ordering},
};

/// Waits for the result of a flight. A follower may be dropped at any time.
pub(crate) struct Follower {
    pub(super) flight: Arc<Flight>,
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

impl FlightState {
    /// Adds a follower, which waits inside the loads `enclosing`.
    pub(super) fn follow(
        &mut self,
        flight: &Arc<Flight>,
        enclosing: Vec<Arc<Flight>>,
        stays_when_superseded: bool,
    ) -> Follower {
        flight.followers.fetch_add(1, Ordering::Relaxed);
        Follower {
            flight: flight.clone(),
            enclosing,
            ticket: None,
            stays_when_superseded,
            landing_since: self.landing_since,
        }
    }
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
            state.landing_since.map_or_else(|| self.flight.idle_time(&state), |since| since.elapsed());
        let may_take_lead = match state.phase {
            Phase::Running => idle_time >= idle_limit,
            Phase::Vacant => true,
            Phase::Done(_) => false,
        };
        may_take_lead.then(|| state.promote(&self.flight))
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
                return Poll::Ready(FollowOutcome::Lead(state.promote(&flight)));
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
        let others = self.flight.followers.fetch_sub(1, Ordering::Relaxed) - 1;
        if let Some(ticket) = self.ticket {
            state.wakers.remove(&ticket);
        }
        let is_vacant = matches!(state.phase, Phase::Vacant);
        let is_deserted = is_vacant && others == 0;
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
            self.flight.flights.remove_deserted(&self.flight);
        }
    }
}
