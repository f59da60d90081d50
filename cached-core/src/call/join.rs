//! Single-flight from the view of one call: it leads a flight, or follows another call's load.
//!
//! `flight` has the state machine. This file adds time limits, checks of values that other calls have
//! loaded, and the takeover from leaders that are not polled any more.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_timer::Delay;

use crate::{
    base::clock::{Clock, Nanos, nanos},
    call::{
        context::{CallContext, ErasedReply},
        control::{CacheOutcome, Layer, Reply},
        load::Panicked,
    },
    flight::{FlightResult, FollowOutcome, Follower, Leader, Role},
    sync::Instant,
    telemetry::stats::Count,
    value::erased::ErasedValue,
};

/// Result of joining a flight.
pub(crate) enum Joined {
    /// The call leads, and has to load for its followers.
    Lead(Leader),
    /// The call has the result of another load.
    Reply(ErasedReply),
    /// The call has waited for as long as a load may take.
    TimedOut,
    /// The call has to load for itself only.
    Alone,
    /// Waiting would never end: see `Role::Recurse`.
    Recurse,
}

impl CallContext {
    /// Joins the flight of the key. A call that must not read cached values leads a flight of its own.
    ///
    /// The leader of a new flight may be at work. Its idle time is counted from [`Role::expect_poll`] on.
    pub(crate) fn take_role(&self) -> Role {
        let (flights, key) = (self.cache.flights(), &self.entry_key.key);
        if self.terms.read { flights.join_at_work(key, false) } else { Role::Lead(flights.start(key)) }
    }

    /// Waits for the leader of the flight, and takes over the lead if the leader goes away.
    pub(crate) async fn join(&self, first_role: Role) -> Result<Joined, Panicked> {
        // A follower may see its flights superseded again and again. The last retry then accepts the result
        // of a superseded flight: the value was current at some time during the call.
        const RETRIES: usize = 2;
        let (flights, key) = (self.cache.flights(), &self.entry_key.key);
        // A leader waits for other loads as long as a load may take, and as long again for its own load. A
        // follower waits for both.
        let clock = self.cache.clock();
        let limits = self.policy().load_timeout().map(|limit| {
            let after = |limit| clock.now().saturating_add(nanos(limit));
            (after(limit), after(limit.saturating_mul(2)))
        });
        let mut next_role = Some(first_role);
        for retry in 0.. {
            let role = next_role.take().unwrap_or_else(|| flights.join(key, retry == RETRIES));
            let follower = match role {
                Role::Lead(leader) => return Ok(Joined::Lead(leader)),
                Role::Recurse => return Ok(Joined::Recurse),
                Role::Follow(follower) => follower,
            };
            let landing_since = follower.landing_since;
            let outcome = match limits {
                Some((failing_deadline, deadline)) => {
                    follow_until(clock, follower, failing_deadline, deadline).await
                }
                None => Some(follow(follower).await),
            };
            let Some(outcome) = outcome else {
                return Ok(if self.count_timeout() { Joined::TimedOut } else { Joined::Alone });
            };
            match outcome {
                FollowOutcome::Lead(leader) => return Ok(Joined::Lead(leader)),
                FollowOutcome::Superseded => {}
                FollowOutcome::Landed(FlightResult::Panicked) => return Err(Panicked::Elsewhere),
                FollowOutcome::Landed(FlightResult::Shared(erased)) => {
                    let age = erased.freshness().age(self.cache.clock().now());
                    if self.fresh_enough(age).is_none() {
                        return Ok(Joined::Lead(flights.start(key)));
                    }
                    if self.exceeds_staleness_bound(landing_since) {
                        continue;
                    }
                    let Some(reply) = self.reply_joined(&erased, landing_since.is_some()) else {
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
    pub(crate) async fn find_landing(&self) -> Option<ErasedReply> {
        if !self.terms.read {
            return None;
        }
        let follower = self.cache.flights().join_landing(&self.entry_key.key)?;
        let landing_since = follower.landing_since;
        match follow(follower).await {
            FollowOutcome::Landed(FlightResult::Shared(erased))
                if !self.exceeds_staleness_bound(landing_since) =>
            {
                self.fresh_enough(erased.freshness().age(self.cache.clock().now()))?
                    .reply_joined(&erased, true)
            }
            _ => None,
        }
    }

    /// Returns whether a value is too old for a follower that joined after the end of its load.
    ///
    /// Such a value was current when it was stored, not when the follower joined. So the staleness bound
    /// applies to it, as to an entry.
    fn exceeds_staleness_bound(&self, landing_since: Option<Instant>) -> bool {
        landing_since.is_some_and(|since| {
            self.uses_l2() && nanos(since.elapsed()) >= self.cache.staleness().function_bound(&self.spec)
        })
    }

    /// Builds the reply of a follower. A value that was loaded before the follower joined counts as an L1
    /// hit.
    pub(crate) fn reply_joined(
        &self,
        erased: &Arc<dyn ErasedValue>,
        joined_after_load: bool,
    ) -> Option<ErasedReply> {
        let erased = self.result_in(erased)?;
        if joined_after_load {
            self.report(Count::HitL1);
            let age = erased.freshness().age(self.cache.clock().now());
            return Some(Reply::new(erased, CacheOutcome::Hit { tier: Layer::L1, age }));
        }
        self.report(Count::Joined);
        Some(Reply::new(erased, CacheOutcome::Joined))
    }
}

/// Waits for the leader, and takes over the lead if the leader is not polled any more.
pub(crate) async fn follow(mut follower: Follower) -> FollowOutcome {
    const IDLE_LIMIT: Duration = Duration::from_secs(1);
    const LONGEST_PAUSE: Duration = Duration::from_secs(8);

    let mut pause = IDLE_LIMIT;
    loop {
        // Not the runtime's timer: there may be no runtime, or one that was built without a timer.
        let mut timer = pin!(Delay::new(pause));
        let polled = poll_fn(|cx| match Pin::new(&mut follower).poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
        });
        if let Some(outcome) = polled.await.or_else(|| follower.overtake(IDLE_LIMIT).map(FollowOutcome::Lead))
        {
            return outcome;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits like [`follow`], until `deadline` at most; returns `None` then.
///
/// While loads fail one after the other, the wait ends at `failing_deadline` already: the caller would wait
/// no longer than that for a load of its own.
async fn follow_until(
    clock: &Clock,
    follower: Follower,
    failing_deadline: Nanos,
    deadline: Nanos,
) -> Option<FollowOutcome> {
    const POLL_PAUSE: Duration = Duration::from_millis(100);

    let loads_fail = follower.serial_failure_check();
    let mut following = pin!(follow(follower));
    let mut next = failing_deadline;
    loop {
        if let Some(outcome) = clock.timeout_at(next.min(deadline), &mut following).await {
            return Some(outcome);
        }
        if next >= deadline || loads_fail() {
            return None;
        }
        next = clock.now().saturating_add(nanos(POLL_PAUSE));
    }
}
