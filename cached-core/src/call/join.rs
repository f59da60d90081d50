//! Single-flight from the view of one call: it leads a flight, or follows another call's load.
//!
//! `flight` has the state machine. This file adds time limits, checks of values that other calls have
//! loaded, and the takeover from leaders that are not polled any more.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use futures_timer::Delay;

use crate::{
    base::clock::{Clock, Nanos, nanos},
    call::{
        context::CallContext,
        control::{CacheOutcome, Layer, Reply},
        load::Panicked,
    },
    flight::{FlightResult, FollowOutcome, Follower, Leader, Role},
    sync::Instant,
    telemetry::stats::Count,
    value::erased::ErasedValue,
};

/// Result of joining a flight.
pub(crate) enum Joined<R> {
    /// The call leads, and has to load for its followers.
    Lead(Leader),
    /// The call has the result of another load.
    Reply(Reply<R>),
    /// The call has to load for itself only.
    Alone,
    /// Waiting would never end: see `Role::Recurse`.
    Recurse,
}

impl<R> CallContext<R> {
    /// Takes the lead of the key's flight, or returns the role of a call that does not lead.
    ///
    /// A call that must not read cached values leads a flight of its own.
    pub(crate) fn begin(&self) -> Result<Leader, Role> {
        let (flights, key) = (self.cache.flights(), &self.entry.key);
        if !self.terms.read {
            return Ok(flights.depart(key));
        }
        match flights.join(key, false) {
            Role::Lead(leader) => Ok(leader),
            role => Err(role),
        }
    }

    /// Waits for the leader of the flight, and takes over the lead if the leader goes away.
    pub(crate) async fn join(&self, first: Role) -> Result<Joined<R>, Panicked> {
        // A follower may see its flights superseded again and again. The last retry then accepts the result
        // of a superseded flight: the value was current at some time during the call.
        const RETRIES: usize = 2;
        let (flights, key) = (self.cache.flights(), &self.entry.key);
        // A leader waits for other loads as long as a load may take, and as long again for its own load. A
        // follower waits for both.
        let clock = self.cache.clock();
        let limits = self.shape.load_timeout().map(|limit| {
            let after = |limit| clock.now().saturating_add(nanos(limit));
            (after(limit), after(limit.saturating_mul(2)))
        });
        let mut first = Some(first);
        for retry in 0.. {
            let role = first.take().unwrap_or_else(|| flights.join(key, retry == RETRIES));
            let follower = match role {
                Role::Lead(leader) => return Ok(Joined::Lead(leader)),
                Role::Recurse => return Ok(Joined::Recurse),
                Role::Follow(follower) => follower,
            };
            let landing_since = follower.landing_since;
            let arrival = match limits {
                Some((soon, last)) => arrive_by(clock, follower, soon, last).await,
                None => Some(arrive(follower).await),
            };
            let Some(arrival) = arrival else {
                let reply = self.too_late().map(|out| Reply::new(out, CacheOutcome::Joined));
                return Ok(reply.map_or(Joined::Alone, Joined::Reply));
            };
            match arrival {
                FollowOutcome::Lead(leader) => return Ok(Joined::Lead(leader)),
                FollowOutcome::Superseded => {}
                FollowOutcome::Landed(FlightResult::Panicked) => return Err(Panicked::Elsewhere),
                FollowOutcome::Landed(FlightResult::Shared(slot)) => {
                    let age = slot.meta().age(self.cache.clock().now());
                    if self.fresh_enough(age).is_none() {
                        return Ok(Joined::Lead(flights.depart(key)));
                    }
                    if self.is_too_late(landing_since) {
                        continue;
                    }
                    let Some(reply) = self.reply_joined(&*slot, landing_since.is_some()) else {
                        return Ok(Joined::Alone);
                    };
                    return Ok(Joined::Reply(reply));
                }
            }
        }
        Ok(Joined::Alone)
    }

    /// Returns the value of a flight that is about to end.
    ///
    /// The value is in this process, but not in L1 yet.
    pub(crate) async fn find_landing(&self) -> Option<Reply<R>> {
        if !self.terms.read {
            return None;
        }
        let follower = self.cache.flights().join_landing(&self.entry.key)?;
        let landing_since = follower.landing_since;
        match arrive(follower).await {
            FollowOutcome::Landed(FlightResult::Shared(slot)) if !self.is_too_late(landing_since) => {
                self.fresh_enough(slot.meta().age(self.cache.clock().now()))?.reply_joined(&*slot, true)
            }
            _ => None,
        }
    }

    /// Returns whether a value is too old for a follower that joined after the end of its load.
    ///
    /// Such a value was current when it was stored, not when the follower joined. So the staleness bound
    /// applies to it, as to an entry.
    fn is_too_late(&self, landing_since: Option<Instant>) -> bool {
        landing_since.is_some_and(|since| {
            self.asks_l2() && nanos(since.elapsed()) >= self.cache.staleness().bound_of(&self.site)
        })
    }

    /// Builds the reply of a follower. A value that was loaded before the follower joined counts as an L1
    /// hit.
    pub(crate) fn reply_joined(&self, slot: &dyn ErasedValue, came_after_load: bool) -> Option<Reply<R>> {
        let value = self.shape.restore(slot)?;
        if came_after_load {
            self.note(Count::HitL1);
            let age = slot.meta().age(self.cache.clock().now());
            return Some(Reply::new(value, CacheOutcome::Hit { tier: Layer::L1, age }));
        }
        self.note(Count::Joined);
        Some(Reply::new(value, CacheOutcome::Joined))
    }
}

/// Waits for the leader, and takes over the lead if the leader is not polled any more.
pub(crate) async fn arrive(mut follower: Follower) -> FollowOutcome {
    const PATIENCE: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(8);

    let mut look_after = PATIENCE;
    loop {
        // Not the runtime's timer: there may be no runtime, or one that was built without a timer.
        let mut alarm = pin!(Delay::new(look_after));
        let first = poll_fn(|cx| match Pin::new(&mut follower).poll(cx) {
            Poll::Ready(arrival) => Poll::Ready(Some(arrival)),
            Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
        });
        if let Some(arrival) = first.await.or_else(|| follower.overtake(PATIENCE).map(FollowOutcome::Lead)) {
            return arrival;
        }
        look_after = (look_after * 2).min(LONGEST);
    }
}

/// Waits like [`arrive`], until `last` at most; returns `None` then.
///
/// While loads fail one after the other, the wait ends at `soon` already: the caller would wait no longer
/// than that for a load of its own.
async fn arrive_by(clock: &Clock, follower: Follower, soon: Nanos, last: Nanos) -> Option<FollowOutcome> {
    const STEP: Duration = Duration::from_millis(100);

    let loads_fail = follower.loads_fail();
    let mut arrival = pin!(arrive(follower));
    let mut next = soon;
    loop {
        if let Some(arrival) = clock.by(next.min(last), &mut arrival).await {
            return Some(arrival);
        }
        if next >= last || loads_fail() {
            return None;
        }
        next = clock.now().saturating_add(nanos(STEP));
    }
}
