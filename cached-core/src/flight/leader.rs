//! The leader of a flight: the caller, or the task, that loads for all followers.
//!
//! A leader ends its flight (`land`, `land_if_valid`, `land_unfollowed`, `reject`), or passes the lead on
//! (`pass_lead`, a drop, and the first `fail`). A value is stored in L1 under the shard lock of the flight,
//! and an invalidation of the key takes the same lock. So it comes either before the fill, which it prevents,
//! or after it, and then invalidates the entry.

use std::{
    any::Any,
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    coherence::{
        epoch::DependentLoad,
        validity::{LoadRegistration, Validity},
    },
    flight::{
        liveness::Liveness,
        lock, nesting,
        state::{Flight, FlightResult, FlightState, Lead, Phase, Wakers, wake},
    },
    l1::deferred_drops::DeferredDrops,
    sync::{Instant, Ordering},
    value::erased::ErasedValue,
};

/// Leads a flight until it [lands](Leader::land) or [fails](Leader::fail). If dropped before, it passes the
/// lead to a follower.
pub(crate) struct Leader {
    /// The lead; `None` only while a part of the load runs, to whose chain it belongs then.
    lead: Option<Lead>,
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
    pub(super) fn promote(&mut self, flight: &Arc<Flight>) -> Leader {
        self.phase = Phase::Running;
        self.next_leader = None;
        self.landing_since = None;
        let liveness = Arc::new(Liveness::at_work());
        liveness.expect_poll();
        self.later_liveness = Some(liveness.clone());
        Leader::new(Lead::later(flight.clone(), liveness, nesting::innermost()))
    }
}

impl Leader {
    pub(super) fn new(lead: Lead) -> Self {
        Self { lead: Some(lead), has_ended: false }
    }

    fn lead(&self) -> &Lead {
        self.lead.as_ref().expect("the lead is back when a part of the load has run")
    }

    pub(super) fn flight(&self) -> &Arc<Flight> {
        self.lead().flight()
    }

    /// Runs a part of the load: see [`poll`](Self::poll).
    pub(crate) fn run<T>(&self, part: impl Future<Output = T>) -> impl Future<Output = Result<T, Panic>> {
        let lead = self.lead().clone();
        lead.liveness().expect_poll();
        // Its drop ends nothing.
        let mut second_handle = Self { lead: Some(lead), has_ended: true };
        async move {
            let mut part = pin!(part);
            poll_fn(|cx| second_handle.poll(cx, |cx| part.as_mut().poll(cx))).await
        }
    }

    /// Polls a part of the load.
    ///
    /// Panics of the part are caught. Calls inside it find the load in their chain, and followers can see
    /// whether it is being polled.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        part: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Panic>> {
        let waker = self.lead().waker();
        self.lead().liveness().begin_poll(cx.waker());
        let mut cx = Context::from_waker(&waker);
        let polled = self.catch(|| part(&mut cx));
        self.lead().liveness().end_poll();
        polled.map_or_else(|panic| Poll::Ready(Err(panic)), |poll| poll.map(Ok))
    }

    /// Runs a part of the load that does not wait. Panics of the part are caught.
    ///
    /// The leader is at work from here on: the caller goes on with the load in this thread.
    pub(crate) fn enter<T>(&mut self, part: impl FnOnce() -> T) -> Result<T, Panic> {
        self.lead().liveness().begin_work();
        self.catch(part)
    }

    fn catch<T>(&mut self, part: impl FnOnce() -> T) -> Result<T, Panic> {
        catch_unwind(AssertUnwindSafe(|| nesting::enter(&mut self.lead, part)))
    }

    /// Waits until another load waits for this one.
    ///
    /// From then on, this load must not wait for a permit that the other load may hold.
    pub(crate) fn awaited_by_load(&self) -> impl Future<Output = ()> + Send + use<> {
        let flight = self.flight().clone();
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
        self.lead().outer().is_some()
    }

    /// Begins to count idle time: the load waits for a poll, like any load that was handed to a runtime.
    pub(crate) fn expect_poll(&self) {
        self.lead().liveness().expect_poll();
    }

    /// Ends the flight with a value or an error for all followers.
    ///
    /// `fill` runs under the shard lock, and only if no invalidation superseded the flight. Returns whether
    /// it ran.
    pub(crate) fn land(self, erased: Arc<dyn ErasedValue>, fill: impl FnOnce()) -> bool {
        self.end(erased, |is_current, _| {
            if is_current {
                fill();
            }
            true
        })
    }

    /// Ends the flight like [`land`](Self::land) if `validity` is intact. Otherwise the followers start over.
    ///
    /// `fill` gets `validity`, and the value.
    ///
    /// The check runs under the shard lock: a caller that joins after an invalidation does not get a value
    /// from before it.
    pub(crate) fn land_if_valid(
        self,
        validity: Validity,
        erased: Arc<dyn ErasedValue>,
        fill: impl FnOnce(Validity, Arc<dyn ErasedValue>),
    ) -> bool {
        self.end(erased, |is_current, erased| {
            let is_intact = validity.is_intact();
            if is_current
                && is_intact
                && let Some(erased) = erased.take()
            {
                fill(validity, erased);
            }
            is_intact
        })
    }

    /// Returns whether the flight has followers now.
    pub(crate) fn is_followed(&self) -> bool {
        self.flight().followers() > 0
    }

    /// Ends the flight like [`land`](Self::land) if it has no followers. Otherwise the flight goes on.
    pub(crate) fn land_unfollowed(self, erased: &Arc<dyn ErasedValue>) -> Option<Self> {
        let flight = self.flight();
        let mut shard = flight.flights.shard(&flight.key);
        if flight.followers() > 0 {
            drop(shard);
            return Some(self);
        }
        shard.remove_flight(flight);
        drop(shard);
        // No caller can join any more, because the flight has left the map.
        self.land(erased.clone(), || ());
        None
    }

    /// Ends the flight.
    ///
    /// `settle` gets whether the flight is current, that is, was not superseded, and may take the value. It
    /// returns whether followers may have the value.
    fn end(
        mut self,
        erased: Arc<dyn ErasedValue>,
        settle: impl FnOnce(bool, &mut Option<Arc<dyn ErasedValue>>) -> bool,
    ) -> bool {
        let _deferred = DeferredDrops::begin();
        // Declared before the lock: a value that is not stored is dropped outside of it.
        let mut value = Some(erased);
        let flight = self.flight();
        let mut shard = flight.flights.shard(&flight.key);
        if flight.followers() == 0 {
            // No caller can join any more, so the state of the flight is not read again.
            let is_current = shard.remove_flight(flight);
            let is_shared = settle(is_current, &mut value);
            drop(shard);
            flight.unregister();
            self.has_ended = true;
            return is_current && is_shared;
        }
        let is_current = shard.has(flight);
        let landed = value.clone();
        let is_shared = settle(is_current, &mut value);
        if is_current {
            shard.remove_flight(flight);
        }
        let mut state = flight.state();
        state.is_superseded |= !is_shared;
        if let Some(landed) = landed.filter(|_| !matches!(state.phase, Phase::Done(_))) {
            state.phase = Phase::Done(FlightResult::Shared(landed));
        }
        let wakers = state.take_wakers();
        drop(state);
        drop(shard);
        flight.unregister();
        // Set only after the fill: if that panics, a follower takes the lead.
        self.has_ended = true;
        wake(wakers);
        is_current && is_shared
    }

    /// Binds the flight to `validity`. Returns whether `validity` is still intact.
    ///
    /// From here on, an invalidation of any name of `validity` supersedes the flight.
    pub(crate) fn bind(&self, validity: &Validity) -> bool {
        bind(self.flight(), validity);
        validity.is_intact()
    }

    /// Unbinds the flight: later invalidations of the names that it was bound to do not supersede it.
    pub(crate) fn unbind(&self) {
        self.flight().unregister();
    }

    /// Supersedes the flight: followers start over, and its result is not stored.
    pub(crate) fn supersede(&self) {
        self.flight().clone().invalidate();
    }

    /// Returns a function that binds the flight like [`bind`](Self::bind), without a borrow of the leader.
    pub(crate) fn binder(&self) -> impl Fn(&Validity) + Send + use<> {
        let flight = self.flight().clone();
        move |validity| bind(&flight, validity)
    }

    /// Returns a function that checks whether the load is polled in time: within `idle_limit` after it could
    /// go on.
    pub(crate) fn progress_check(&self, idle_limit: Duration) -> impl Fn() -> bool + Send + 'static {
        let lead = self.lead().clone();
        move || lead.liveness().idle_time() < idle_limit
    }

    /// Marks the load as ended. Its flight goes on until the value is published.
    ///
    /// From here on, followers do not take the lead because of a lack of polls, but only if the landing takes
    /// too long.
    pub(crate) fn begin_landing(&self) {
        let mut state = self.flight().state();
        // Not for a leader that was overtaken, because another load is under way.
        if state.is_led_by(self.lead()) {
            state.landing_since = Some(Instant::now());
        }
    }

    /// Ends the flight without storing its result: followers start over.
    pub(crate) fn reject(self, erased: Arc<dyn ErasedValue>) {
        self.end(erased, |_, _| false);
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
        let flight = self.flight();
        let mut shard = flight.flights.shard(&flight.key);
        let mut state = flight.state();
        let is_followed = flight.followers() > 0;
        let was_overtaken = !state.is_led_by(self.lead());
        if was_overtaken || matches!(state.phase, Phase::Done(_)) {
            return is_followed;
        }
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
        if is_over {
            shard.remove_flight(flight);
        }
        drop(shard);
        if is_over {
            flight.unregister();
        }
        wake(wakers);
        if let Some(next_leader) = next_leader {
            next_leader.wake();
        }
        is_followed
    }
}

/// Binds a flight to `validity`, and to no other one: see [`Leader::bind`].
fn bind(flight: &Arc<Flight>, validity: &Validity) {
    let load = || -> Weak<dyn DependentLoad> { Arc::<Flight>::downgrade(flight) };
    let registration = LoadRegistration::new(validity, load);
    // Most loads of this process alone depend on nothing that notifies them.
    if registration.is_none() && !flight.was_registered.load(Ordering::SeqCst) {
        return;
    }
    flight.was_registered.store(true, Ordering::SeqCst);
    let previous = mem::replace(&mut *lock(&flight.registration), registration);
    // Dropped outside of the lock: the drop may take the lock of an epoch.
    drop(previous);
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.has_ended {
            self.vacate(VacateReason::Dropped);
        }
    }
}
