//! The leader of a flight: the caller, or the task, that loads for all followers.
//!
//! A leader ends its flight (`land`, `land_if_valid`, `reject`), or passes the lead on (`pass_lead`, a drop, and
//! the first `fail`). A value is stored in L1 under the shard lock of the flight, and an invalidation of the key
//! takes the same lock. So it comes either before the fill, which it prevents, or after it, and then
//! invalidates the entry.

use std::{
    any::Any,
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    coherence::{
        epoch::DependentLoad,
        validity::{LoadRegistration, Validity},
    },
    flight::{
        Flights,
        liveness::Liveness,
        lock, nesting,
        state::{Flight, FlightResult, FlightState, Phase, Wakers, wake},
    },
    l1::deferred_drops::DeferredDrops,
    sync::{Instant, Ordering},
    value::erased::ErasedValue,
};

/// Leads a flight until it [lands](Leader::land) or [fails](Leader::fail). If dropped before, it passes the
/// lead to a follower.
pub(crate) struct Leader {
    flights: Arc<Flights>,
    pub(super) flight: Arc<Flight>,
    liveness: Arc<Liveness>,
    link: Arc<nesting::Link>,
    has_ended: bool,
}

/// Reason why a leader leaves its flight without a result for all.
enum VacateReason {
    /// The leader was dropped.
    Dropped,
    /// The load ended in an error that cannot be shared.
    Unshared,
    /// The load failed. If the second attempt fails as well, all followers get this result.
    Failed(FlightResult),
}

/// Payload of a panic.
pub(crate) type Panic = Box<dyn Any + Send>;

impl FlightState {
    /// Gives the lead to a follower, or to a caller that has just come.
    pub(super) fn promote(&mut self, flights: &Arc<Flights>, flight: &Arc<Flight>) -> Leader {
        self.phase = Phase::Running;
        self.next_leader = None;
        self.landing_since = None;
        self.liveness = Arc::new(Liveness::new());
        Leader::new(flights.clone(), flight.clone(), self.liveness.clone())
    }
}

impl Leader {
    pub(super) fn new(flights: Arc<Flights>, flight: Arc<Flight>, liveness: Arc<Liveness>) -> Self {
        let link = nesting::extend(&flight);
        Self { flights, flight, liveness, link, has_ended: false }
    }

    /// Runs a part of the load: see [`poll`](Self::poll).
    pub(crate) fn run<T>(&self, part: impl Future<Output = T>) -> impl Future<Output = Result<T, Panic>> {
        let (link, liveness) = (self.link.clone(), self.liveness.clone());
        liveness.expect_poll();
        async move {
            let mut part = pin!(part);
            poll_fn(|cx| poll_inside(&link, &liveness, cx, |cx| part.as_mut().poll(cx))).await
        }
    }

    /// Polls a part of the load.
    ///
    /// Panics of the part are caught. Calls inside it find the load in their chain, and followers can see
    /// whether it is being polled.
    pub(crate) fn poll<T>(
        &self,
        cx: &Context<'_>,
        part: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Panic>> {
        poll_inside(&self.link, &self.liveness, cx, part)
    }

    /// Runs a part of the load that does not wait. Panics of the part are caught.
    pub(crate) fn enter<T>(&self, part: impl FnOnce() -> T) -> Result<T, Panic> {
        self.liveness.begin_poll(Waker::noop());
        let result = catch_unwind(AssertUnwindSafe(|| nesting::enter(&self.link, part)));
        self.liveness.end_poll();
        result
    }

    /// Waits until another load waits for this one.
    ///
    /// From then on, this load must not wait for a permit that the other load may hold.
    pub(crate) fn awaited_by_load(&self) -> impl Future<Output = ()> + Send + use<> {
        let flight = self.flight.clone();
        async move {
            let mut awaited = pin!(flight.awaited_by_load.notified());
            awaited.as_mut().enable();
            if !flight.is_awaited_by_load.load(Ordering::SeqCst) {
                awaited.await;
            }
        }
    }

    /// Returns whether the load runs inside another one.
    pub(crate) fn is_nested(&self) -> bool {
        self.link.is_nested()
    }

    /// Begins to count idle time: the load waits for a poll, like any load that was handed to a runtime.
    pub(crate) fn expect_poll(&self) {
        self.liveness.expect_poll();
    }

    /// Ends the flight with a value or an error for all followers.
    ///
    /// `fill` runs under the shard lock, and only if no invalidation superseded the flight. Returns whether
    /// it ran.
    pub(crate) fn land(self, erased: Arc<dyn ErasedValue>, fill: impl FnOnce()) -> bool {
        self.end(erased, |is_current| {
            if is_current {
                fill();
            }
            true
        })
    }

    /// Ends the flight like [`land`](Self::land) if `validity` is intact. Otherwise the followers start over.
    ///
    /// The check runs under the shard lock: a caller that joins after an invalidation does not get a value
    /// from before it.
    pub(crate) fn land_if_valid(
        self,
        validity: Validity,
        erased: Arc<dyn ErasedValue>,
        fill: impl FnOnce(Validity),
    ) -> bool {
        self.end(erased, |is_current| {
            let is_intact = validity.is_intact();
            if is_current && is_intact {
                fill(validity);
            }
            is_intact
        })
    }

    /// Returns whether the flight has followers now.
    pub(crate) fn is_followed(&self) -> bool {
        self.flight.state().followers > 0
    }

    /// Ends the flight like [`land`](Self::land) if it has no followers. Otherwise the flight goes on.
    pub(crate) fn land_unfollowed(self, erased: &Arc<dyn ErasedValue>) -> Option<Self> {
        let mut shard = self.flights.shard(&self.flight.key);
        let is_followed = self.flight.state().followers > 0;
        if !is_followed && self.flight.is_in(&shard) {
            shard.remove(&self.flight.key);
        }
        drop(shard);
        if is_followed {
            return Some(self);
        }
        // No caller can join any more, because the flight has left the map.
        self.land(erased.clone(), || ());
        None
    }

    /// Ends the flight.
    ///
    /// `settle` gets whether the flight is current, that is, was not superseded. It returns whether followers
    /// may have `erased`.
    fn end(mut self, erased: Arc<dyn ErasedValue>, settle: impl FnOnce(bool) -> bool) -> bool {
        let _deferred = DeferredDrops::begin();
        let mut shard = self.flights.shard(&self.flight.key);
        let is_current = self.flight.is_in(&shard);
        let is_shared = settle(is_current);
        if is_current {
            shard.remove(&self.flight.key);
        }
        // Set only after the fill: if that panics, a follower takes the lead.
        self.has_ended = true;
        let mut state = self.flight.state();
        state.is_superseded |= !is_shared;
        if !matches!(state.phase, Phase::Done(_)) {
            state.phase = Phase::Done(FlightResult::Shared(erased));
        }
        let wakers = state.take_wakers();
        drop(state);
        drop(shard);
        wake(wakers);
        is_current && is_shared
    }

    /// Binds the flight to `validity`. Returns whether `validity` is still intact.
    ///
    /// From here on, an invalidation of any name of `validity` supersedes the flight.
    pub(crate) fn bind(&self, validity: &Validity) -> bool {
        self.binder()(validity);
        validity.is_intact()
    }

    /// Unbinds the flight: later invalidations of the names that it was bound to do not supersede it.
    pub(crate) fn unbind(&self) {
        let previous = lock(&self.flight.registration).take();
        drop(previous);
    }

    /// Supersedes the flight: followers start over, and its result is not stored.
    pub(crate) fn supersede(&self) {
        self.flight.clone().invalidate();
    }

    /// Returns a function that binds the flight like [`bind`](Self::bind), without a borrow of the leader.
    pub(crate) fn binder(&self) -> impl Fn(&Validity) + Send + use<> {
        let flight = self.flight.clone();
        move |validity| {
            let load = || -> Weak<dyn DependentLoad> { Arc::<Flight>::downgrade(&flight) };
            let registration = LoadRegistration::new(validity, load);
            let previous = mem::replace(&mut *lock(&flight.registration), registration);
            // Dropped outside of the lock: the drop may take the lock of an epoch.
            drop(previous);
        }
    }

    /// Returns a function that checks whether the load is polled in time: within `idle_limit` after it could
    /// go on.
    pub(crate) fn progress_check(&self, idle_limit: Duration) -> impl Fn() -> bool + Send + 'static {
        let liveness = self.liveness.clone();
        move || liveness.idle_time() < idle_limit
    }

    /// Marks the load as ended. Its flight goes on until the value is published.
    ///
    /// From here on, followers do not take the lead because of a lack of polls, but only if the landing takes
    /// too long.
    pub(crate) fn begin_landing(&self) {
        let mut state = self.flight.state();
        // Not for a leader that was overtaken, because another load is under way.
        if Arc::ptr_eq(&state.liveness, &self.liveness) {
            state.landing_since = Some(Instant::now());
        }
    }

    /// Ends the flight without storing its result: followers start over.
    pub(crate) fn reject(self, erased: Arc<dyn ErasedValue>) {
        self.end(erased, |_| false);
    }

    /// Ends the load without a result to share.
    ///
    /// One follower makes a second attempt. If that fails too, every follower gets `result`.
    pub(crate) fn fail(mut self, result: FlightResult) {
        self.has_ended = true;
        self.vacate(VacateReason::Failed(result));
    }

    /// Ends the load with an error that the followers cannot share.
    ///
    /// They lead one after the other, until one of them has a result for all. Returns whether there are
    /// followers.
    pub(crate) fn pass_lead(mut self) -> bool {
        self.has_ended = true;
        self.vacate(VacateReason::Unshared)
    }

    /// Leaves the flight without a result for all. Returns whether there are followers.
    fn vacate(&self, reason: VacateReason) -> bool {
        let mut shard = self.flights.shard(&self.flight.key);
        let mut state = self.flight.state();
        let was_overtaken = !Arc::ptr_eq(&state.liveness, &self.liveness);
        if was_overtaken || matches!(state.phase, Phase::Done(_)) {
            return state.followers > 0;
        }
        let is_followed = state.followers > 0;
        let mut is_over = !is_followed;
        let mut next_leader = None;
        let wakers = match reason {
            VacateReason::Failed(result) if state.has_retried || !is_followed => {
                state.phase = Phase::Done(result);
                is_over = true;
                state.take_wakers()
            }
            reason => {
                state.phase = Phase::Vacant;
                state.has_retried |= matches!(reason, VacateReason::Failed(_));
                if matches!(reason, VacateReason::Unshared) {
                    state.is_serial = true;
                    // One wake per load is enough. To wake all followers each time would cost the square of
                    // their number.
                    next_leader = state.choose_next_leader();
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
        if let Some(next_leader) = next_leader {
            next_leader.wake();
        }
        is_followed
    }
}

fn poll_inside<T>(
    link: &Arc<nesting::Link>,
    liveness: &Arc<Liveness>,
    cx: &Context<'_>,
    part: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<Result<T, Panic>> {
    let waker = Waker::from(liveness.clone());
    liveness.begin_poll(cx.waker());
    let mut cx = Context::from_waker(&waker);
    let polled = catch_unwind(AssertUnwindSafe(|| nesting::enter(link, || part(&mut cx))));
    liveness.end_poll();
    polled.map_or_else(|panic| Poll::Ready(Err(panic)), |poll| poll.map(Ok))
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.has_ended {
            self.vacate(VacateReason::Dropped);
        }
    }
}
