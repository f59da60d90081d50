//! The caller, or the task, that loads for everyone.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{Flight, FlightResult, Flights, Phase, Wakers, chain, lock, pulse::Liveness, wake};
use crate::{
    coherence::{
        epoch::Stands,
        validity::{Carried, Validity},
    },
    l1::leaving::Leaving,
    sync::{Instant, Ordering},
    value::erased::ErasedValue,
};

/// Leads a flight until it [lands](Leader::land) or [fails](Leader::fail). Dropped before, it hands the lead to a
/// follower.
pub(crate) struct Leader {
    flights: Arc<Flights>,
    pub(super) flight: Arc<Flight>,
    pulse: Arc<Liveness>,
    link: Arc<chain::Link>,
    landed: bool,
}

/// How a leader leaves its flight without a result for all.
enum End {
    /// It was dropped.
    Gone,
    /// With an error that is its own.
    Unshared,
    /// If the second try fails as well, this is for all.
    Failed(FlightResult),
}

/// What a panic carries.
pub(crate) type Panic = Box<dyn Any + Send>;

impl Leader {
    pub(super) fn new(flights: Arc<Flights>, flight: Arc<Flight>, pulse: Arc<Liveness>) -> Self {
        let link = chain::extend(&flight);
        Self { flights, flight, pulse, link, landed: false }
    }

    /// Polls a part of the load: its panics are caught, calls inside it know that they are inside, and followers
    /// can tell whether it is being polled.
    pub(crate) fn watch<T>(&self, part: impl Future<Output = T>) -> impl Future<Output = Result<T, Panic>> {
        let link = self.link.clone();
        let pulse = self.pulse.clone();
        pulse.expect_poll();
        let waker = Waker::from(pulse.clone());
        async move {
            let mut part = pin!(part);
            poll_fn(|cx| {
                pulse.begin_poll(cx.waker());
                let mut cx = Context::from_waker(&waker);
                let polled =
                    catch_unwind(AssertUnwindSafe(|| chain::enter(&link, || part.as_mut().poll(&mut cx))));
                pulse.end_poll();
                polled.map_or_else(|panic| Poll::Ready(Err(panic)), |poll| poll.map(Ok))
            })
            .await
        }
    }

    /// Waits until another load waits for this one: then it must not wait for what that one holds.
    pub(crate) fn wanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let flight = self.flight.clone();
        async move {
            let mut wanted = pin!(flight.wanted.notified());
            wanted.as_mut().enable();
            if !flight.is_wanted.load(Ordering::SeqCst) {
                wanted.await;
            }
        }
    }

    /// Whether its load is inside of another one.
    pub(crate) fn is_nested(&self) -> bool {
        self.link.is_nested()
    }

    /// From now on this waits for a poll, as does a load that was handed to a runtime.
    pub(crate) fn expect_poll(&self) {
        self.pulse.expect_poll();
    }

    /// Ends the flight with a slot for everyone. `fill` runs inside the fence, and only if no invalidation
    /// overtook the flight; returns whether it ran.
    pub(crate) fn land(self, slot: Arc<dyn ErasedValue>, fill: impl FnOnce()) -> bool {
        self.end(slot, |is_current| {
            if is_current {
                fill();
            }
            true
        })
    }

    /// As [`land`](Self::land), if nothing was said about what `claim` names; otherwise those who follow start over. It is
    /// asked inside the fence: who joins after a word does not get what is from before it.
    pub(crate) fn land_on(
        self,
        claim: Validity,
        slot: Arc<dyn ErasedValue>,
        fill: impl FnOnce(Validity),
    ) -> bool {
        self.end(slot, |is_current| {
            let is_intact = claim.is_intact();
            if is_current && is_intact {
                fill(claim);
            }
            is_intact
        })
    }

    /// As [`land`](Self::land), if nobody follows; otherwise the flight goes on.
    pub(crate) fn land_unfollowed(self, slot: &Arc<dyn ErasedValue>) -> Option<Self> {
        let mut shard = self.flights.shard(&self.flight.key);
        let is_followed = self.flight.state().followers > 0;
        if !is_followed && self.flight.is_in(&shard) {
            shard.remove(&self.flight.key);
        }
        drop(shard);
        if is_followed {
            return Some(self);
        }
        // Nobody can come any more.
        self.land(slot.clone(), || ());
        None
    }

    /// `settle` is told whether the flight was not overtaken, and says whether those who follow may have the slot.
    fn end(mut self, slot: Arc<dyn ErasedValue>, settle: impl FnOnce(bool) -> bool) -> bool {
        let _leaving = Leaving::begin();
        let mut shard = self.flights.shard(&self.flight.key);
        let current = self.flight.is_in(&shard);
        let is_shared = settle(current);
        if current {
            shard.remove(&self.flight.key);
        }
        // Only now: should `fill` panic, a follower takes over.
        self.landed = true;
        let mut state = self.flight.state();
        state.superseded |= !is_shared;
        if !matches!(state.phase, Phase::Done(_)) {
            state.phase = Phase::Done(FlightResult::Shared(slot));
        }
        let wakers = state.take_wakers();
        drop(state);
        drop(shard);
        wake(wakers);
        current && is_shared
    }

    /// From now on, whatever is said about what `claim` names overtakes this flight. Returns whether nothing was said yet.
    pub(crate) fn stand_on(&self, claim: &Validity) -> bool {
        self.standing()(claim);
        claim.is_intact()
    }

    /// What is said about what it stood on until now is not about this flight any more.
    pub(crate) fn stand_down(&self) {
        let before = lock(&self.flight.ground).take();
        drop(before);
    }

    /// What the load stands on has fallen: followers start over, and its result is not stored.
    pub(crate) fn fall(&self) {
        self.flight.clone().fall();
    }

    /// Does the same later.
    pub(crate) fn standing(&self) -> impl Fn(&Validity) + Send + use<> {
        let flight = self.flight.clone();
        move |claim| {
            let load: Weak<Flight> = Arc::downgrade(&flight);
            let ground = Carried::new(claim.clone(), load);
            let before = lock(&flight.ground).replace(ground);
            // Outside of the lock: it may take that of a mark.
            drop(before);
        }
    }

    /// Whether the load is being polled whenever it could go on.
    pub(crate) fn is_at_work(&self, patience: Duration) -> impl Fn() -> bool + Send + 'static {
        let pulse = self.pulse.clone();
        move || pulse.idle() < patience
    }

    /// The load has ended. From now on nobody takes the lead from this one.
    pub(crate) fn begin_landing(&self) {
        let mut state = self.flight.state();
        // Of one that was overtaken it does not count: another one loads.
        if Arc::ptr_eq(&state.pulse, &self.pulse) {
            state.landing = Some(Instant::now());
        }
    }

    /// Ends the flight: its result is not stored, and those who follow start over.
    pub(crate) fn reject(self, slot: Arc<dyn ErasedValue>) {
        self.end(slot, |_| false);
    }

    /// Ends the load without anything to share. One follower is given a second try; when that fails too, every
    /// follower gets `landing`.
    pub(crate) fn fail(mut self, landing: FlightResult) {
        self.landed = true;
        self.vacate(End::Failed(landing));
    }

    /// Ends the load with an error that the followers cannot share. They lead one after the other, until one has something
    /// for all. Returns whether there were any.
    pub(crate) fn hand_on(mut self) -> bool {
        self.landed = true;
        self.vacate(End::Unshared)
    }

    /// Returns whether there are followers.
    fn vacate(&self, end: End) -> bool {
        let mut shard = self.flights.shard(&self.flight.key);
        let mut state = self.flight.state();
        let was_overtaken = !Arc::ptr_eq(&state.pulse, &self.pulse);
        if was_overtaken || matches!(state.phase, Phase::Done(_)) {
            return state.followers > 0;
        }
        let is_followed = state.followers > 0;
        let mut is_over = !is_followed;
        let mut heir = None;
        let wakers = match end {
            End::Failed(landing) if state.spent || !is_followed => {
                state.phase = Phase::Done(landing);
                is_over = true;
                state.take_wakers()
            }
            end => {
                state.phase = Phase::Vacant;
                state.spent |= matches!(end, End::Failed(_));
                if matches!(end, End::Unshared) {
                    state.is_serial = true;
                    // One is enough, and so are a thousand wakes for a thousand loads.
                    heir = state.choose_heir();
                    Wakers::new()
                } else {
                    state.take_wakers()
                }
            }
        };
        drop(state);
        if is_over && self.flight.is_in(&shard) {
            shard.remove(&self.flight.key);
        }
        drop(shard);
        wake(wakers);
        if let Some(heir) = heir {
            heir.wake();
        }
        is_followed
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.landed {
            self.vacate(End::Gone);
        }
    }
}
