//! Deletion by pattern from the shared tier, for which the tier scans all of its keys.
//!
//! Such a sweep is expensive, so calls with equal patterns share it where that is correct.

use std::{collections::HashMap, pin::pin, sync::PoisonError};

use tokio::sync::Notify;

use crate::{
    base::race::within,
    coherence::outbox::{CHECK_IN_INTERVAL, CHECK_IN_TIMEOUT},
    error::tier::TierError,
    sync::{Instant, Mutex, MutexGuard},
    tier::Tier,
};

/// Sweeps in progress: one at a time for equal patterns.
///
/// A sweep in progress does not serve a call that begins later, because it may have passed a key already. All
/// calls that begin meanwhile share the next sweep.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    patterns: Mutex<HashMap<String, PatternSweeps>>,
    /// Notified when any sweep ends.
    ended: Notify,
}

/// Sweeps of one pattern.
#[derive(Debug, Default)]
struct PatternSweeps {
    /// Number of calls that sweep, or wait for a sweep.
    calls: usize,
    /// Time of the last check-in of the sweep in progress.
    ///
    /// A sweep that does not check in is on a blocked runtime.
    last_check_in: Option<Instant>,
    /// Number of sweeps that have begun.
    started: u64,
    /// Number of the last sweep that completed.
    completed: u64,
    /// Number of the last sweep that failed, and its error.
    failed: Option<(u64, TierError)>,
}

impl Sweeps {
    /// Removes every key that matches `pattern`.
    ///
    /// Returns when a sweep has completed that began after this call, or has failed.
    pub(crate) async fn sweep(&self, tier: &impl Tier, pattern: &str) -> Result<(), TierError> {
        let call = SweepCall::register(self, pattern);
        loop {
            // `ended` receives every end from here on, even before it is polled.
            let ended = self.ended.notified();
            match call.next_step() {
                SweepStep::Over(outcome) => return outcome,
                SweepStep::Sweep(turn) => {
                    let mut sweeping = pin!(tier.delete_matching(pattern));
                    let outcome = loop {
                        match within(CHECK_IN_INTERVAL, sweeping.as_mut()).await {
                            Some(outcome) => break outcome.map(|_| ()),
                            None => turn.check_in(),
                        }
                    };
                    turn.end(&outcome);
                    return outcome;
                }
                SweepStep::Wait => _ = within(CHECK_IN_TIMEOUT, ended).await,
            }
        }
    }

    fn patterns(&self) -> MutexGuard<'_, HashMap<String, PatternSweeps>> {
        self.patterns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call, with the number of the first sweep that serves it.
struct SweepCall<'a> {
    sweeps: &'a Sweeps,
    pattern: &'a str,
    first_sweep: u64,
}

/// Next step of a call.
enum SweepStep<'a> {
    Sweep(SweepTurn<'a>),
    /// Wait for the sweep in progress.
    Wait,
    Over(Result<(), TierError>),
}

impl<'a> SweepCall<'a> {
    fn register(sweeps: &'a Sweeps, pattern: &'a str) -> Self {
        let mut patterns = sweeps.patterns();
        let state = patterns.entry(pattern.to_owned()).or_default();
        state.calls += 1;
        Self { sweeps, pattern, first_sweep: state.started + 1 }
    }

    fn next_step(&self) -> SweepStep<'a> {
        let mut patterns = self.sweeps.patterns();
        let state = patterns.entry(self.pattern.to_owned()).or_default();
        if state.completed >= self.first_sweep {
            return SweepStep::Over(Ok(()));
        }
        match &state.failed {
            Some((number, error)) if *number >= self.first_sweep => {
                return SweepStep::Over(Err(error.clone()));
            }
            _ if state
                .last_check_in
                .is_some_and(|last_check_in| last_check_in.elapsed() < CHECK_IN_TIMEOUT) =>
            {
                return SweepStep::Wait;
            }
            _ => {}
        }
        state.last_check_in = Some(Instant::now());
        state.started += 1;
        SweepStep::Sweep(SweepTurn {
            sweeps: self.sweeps,
            pattern: self.pattern.to_owned(),
            number: state.started,
        })
    }
}

impl Drop for SweepCall<'_> {
    fn drop(&mut self) {
        let mut patterns = self.sweeps.patterns();
        if let Some(state) = patterns.get_mut(self.pattern) {
            state.calls -= 1;
            if state.calls == 0 {
                patterns.remove(self.pattern);
            }
        }
    }
}

/// The only sweep of a pattern.
///
/// If it is dropped before its end, or does not check in any more, another call begins a new one.
struct SweepTurn<'a> {
    sweeps: &'a Sweeps,
    pattern: String,
    number: u64,
}

impl SweepTurn<'_> {
    fn check_in(&self) {
        if let Some(state) = self.sweeps.patterns().get_mut(&self.pattern)
            && state.started == self.number
        {
            state.last_check_in = Some(Instant::now());
        }
    }

    fn end(self, outcome: &Result<(), TierError>) {
        if let Some(state) = self.sweeps.patterns().get_mut(&self.pattern) {
            match outcome {
                Ok(()) => state.completed = state.completed.max(self.number),
                Err(error) => state.failed = Some((self.number, error.clone())),
            }
        }
    }
}

impl Drop for SweepTurn<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.sweeps.patterns().get_mut(&self.pattern)
            && state.started == self.number
        {
            state.last_check_in = None;
        }
        self.sweeps.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::testing::{FakeTier, ManualClock};

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn calls_during_a_sweep_share_the_next_sweep() {
        let (tier, sweeps) = (FakeTier::new(&ManualClock::new()), Sweeps::default());
        tier.hold_deletes(true);
        let mut first = pin!(sweeps.sweep(&tier, "a:*"));
        assert!(poll(first.as_mut()).is_pending());
        let (mut second, mut third) = (pin!(sweeps.sweep(&tier, "a:*")), pin!(sweeps.sweep(&tier, "a:*")));
        let mut other = pin!(sweeps.sweep(&tier, "b:*"));
        assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
        assert!(poll(other.as_mut()).is_pending());
        let started = |pattern: &str| sweeps.patterns().get(pattern).map(|state| state.started);
        assert_eq!((started("a:*"), started("b:*")), (Some(1), Some(1)));
        tier.hold_deletes(false);
        assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(poll(third.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(started("a:*"), Some(2));
        assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(started("a:*"), None);
        assert_eq!(poll(other.as_mut()), Poll::Ready(Ok(())));
    }

    #[test]
    fn another_call_sweeps_when_a_sweep_is_dropped() {
        let (tier, sweeps) = (FakeTier::new(&ManualClock::new()), Sweeps::default());
        tier.hold_deletes(true);
        let mut first = Box::pin(sweeps.sweep(&tier, "a:*"));
        let mut second = pin!(sweeps.sweep(&tier, "a:*"));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        drop(first);
        tier.hold_deletes(false);
        assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(())));
        tier.set_down(true);
        let mut third = Box::pin(sweeps.sweep(&tier, "a:*"));
        assert_eq!(poll(third.as_mut()), Poll::Ready(Err(TierError::Unavailable)));
    }

    #[test]
    fn another_call_sweeps_when_a_sweep_does_not_check_in() {
        let (tier, sweeps) = (FakeTier::new(&ManualClock::new()), Sweeps::default());
        tier.hold_deletes(true);
        let mut silent = Box::pin(sweeps.sweep(&tier, "a:*"));
        assert!(poll(silent.as_mut()).is_pending());
        sweeps.patterns().get_mut("a:*").unwrap().last_check_in =
            Instant::now().checked_sub(CHECK_IN_TIMEOUT);
        tier.hold_deletes(false);
        assert_eq!(poll(pin!(sweeps.sweep(&tier, "a:*"))), Poll::Ready(Ok(())));
        assert_eq!(poll(silent.as_mut()), Poll::Ready(Ok(())));
    }

    #[test]
    fn finished_sweep_leaves_no_state() {
        let (tier, sweeps) = (FakeTier::new(&ManualClock::new()), Sweeps::default());
        assert_eq!(poll(pin!(sweeps.sweep(&tier, "a:*"))), Poll::Ready(Ok(())));
        assert!(sweeps.patterns().is_empty());
    }
}
