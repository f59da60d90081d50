//! Deletion by pattern from the shared tier, for which the tier scans all of its keys.
//!
//! Such a sweep is expensive, so calls with equal patterns share it where that is correct.

use std::{collections::HashMap, pin::pin, sync::PoisonError};

use tokio::sync::Notify;

use crate::{
    base::race::within,
    coherence::outbox::{GONE, SIGN},
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
    patterns: Mutex<HashMap<String, Pattern>>,
    /// Notified when any sweep ends.
    ended: Notify,
}

/// Sweeps of one pattern.
#[derive(Debug, Default)]
struct Pattern {
    /// Number of calls that sweep, or wait for a sweep.
    calls: usize,
    /// Time of the last check-in of the sweep in progress.
    ///
    /// A sweep that does not check in is on a blocked runtime.
    sign: Option<Instant>,
    /// Number of sweeps that have begun.
    begun: u64,
    /// Number of the last sweep that completed.
    done: u64,
    /// Number of the last sweep that failed, and its error.
    failed: Option<(u64, TierError)>,
}

impl Sweeps {
    /// Removes every key that matches `pattern`.
    ///
    /// Returns when a sweep has completed that began after this call, or has failed.
    pub(crate) async fn sweep(&self, tier: &impl Tier, pattern: &str) -> Result<(), TierError> {
        let call = SweepCall::begin(self, pattern);
        loop {
            // `ended` receives every end from here on, even before it is polled.
            let ended = self.ended.notified();
            match call.next() {
                SweepStep::Over(outcome) => return outcome,
                SweepStep::Sweep(turn) => {
                    let mut sweeping = pin!(tier.delete_matching(pattern));
                    let outcome = loop {
                        match within(SIGN, sweeping.as_mut()).await {
                            Some(outcome) => break outcome.map(|_| ()),
                            None => turn.give_sign(),
                        }
                    };
                    turn.end(&outcome);
                    return outcome;
                }
                SweepStep::Wait => _ = within(GONE, ended).await,
            }
        }
    }

    fn patterns(&self) -> MutexGuard<'_, HashMap<String, Pattern>> {
        self.patterns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call, with the number of the first sweep that serves it.
struct SweepCall<'a> {
    sweeps: &'a Sweeps,
    pattern: &'a str,
    wanted: u64,
}

/// Next step of a call.
enum SweepStep<'a> {
    Sweep(SweepTurn<'a>),
    /// Wait for the sweep in progress.
    Wait,
    Over(Result<(), TierError>),
}

impl<'a> SweepCall<'a> {
    fn begin(sweeps: &'a Sweeps, pattern: &'a str) -> Self {
        let mut patterns = sweeps.patterns();
        let known = patterns.entry(pattern.to_owned()).or_default();
        known.calls += 1;
        Self { sweeps, pattern, wanted: known.begun + 1 }
    }

    fn next(&self) -> SweepStep<'a> {
        let mut patterns = self.sweeps.patterns();
        let known = patterns.entry(self.pattern.to_owned()).or_default();
        if known.done >= self.wanted {
            return SweepStep::Over(Ok(()));
        }
        match &known.failed {
            Some((number, error)) if *number >= self.wanted => return SweepStep::Over(Err(error.clone())),
            _ if known.sign.is_some_and(|sign| sign.elapsed() < GONE) => return SweepStep::Wait,
            _ => {}
        }
        known.sign = Some(Instant::now());
        known.begun += 1;
        SweepStep::Sweep(SweepTurn {
            sweeps: self.sweeps,
            pattern: self.pattern.to_owned(),
            number: known.begun,
        })
    }
}

impl Drop for SweepCall<'_> {
    fn drop(&mut self) {
        let mut patterns = self.sweeps.patterns();
        if let Some(known) = patterns.get_mut(self.pattern) {
            known.calls -= 1;
            if known.calls == 0 {
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
    fn give_sign(&self) {
        if let Some(known) = self.sweeps.patterns().get_mut(&self.pattern)
            && known.begun == self.number
        {
            known.sign = Some(Instant::now());
        }
    }

    fn end(self, outcome: &Result<(), TierError>) {
        if let Some(known) = self.sweeps.patterns().get_mut(&self.pattern) {
            match outcome {
                Ok(()) => known.done = known.done.max(self.number),
                Err(error) => known.failed = Some((self.number, error.clone())),
            }
        }
    }
}

impl Drop for SweepTurn<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.sweeps.patterns().get_mut(&self.pattern)
            && known.begun == self.number
        {
            known.sign = None;
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
    fn calls_that_come_while_a_sweep_goes_on_share_the_next_one() {
        let (tier, sweeps) = (FakeTier::new(&ManualClock::new()), Sweeps::default());
        tier.hold_deletes(true);
        let mut first = pin!(sweeps.sweep(&tier, "a:*"));
        assert!(poll(first.as_mut()).is_pending());
        let (mut second, mut third) = (pin!(sweeps.sweep(&tier, "a:*")), pin!(sweeps.sweep(&tier, "a:*")));
        let mut other = pin!(sweeps.sweep(&tier, "b:*"));
        assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
        assert!(poll(other.as_mut()).is_pending());
        let begun = |pattern: &str| sweeps.patterns().get(pattern).map(|known| known.begun);
        assert_eq!((begun("a:*"), begun("b:*")), (Some(1), Some(1)));
        tier.hold_deletes(false);
        assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(poll(third.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(begun("a:*"), Some(2));
        assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(begun("a:*"), None);
        assert_eq!(poll(other.as_mut()), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_sweep_that_is_dropped_is_done_by_another_call() {
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
    fn a_sweep_that_gives_no_sign_is_done_by_another_call() {
        let (tier, sweeps) = (FakeTier::new(&ManualClock::new()), Sweeps::default());
        tier.hold_deletes(true);
        let mut silent = Box::pin(sweeps.sweep(&tier, "a:*"));
        assert!(poll(silent.as_mut()).is_pending());
        sweeps.patterns().get_mut("a:*").unwrap().sign = Instant::now().checked_sub(GONE);
        tier.hold_deletes(false);
        assert_eq!(poll(pin!(sweeps.sweep(&tier, "a:*"))), Poll::Ready(Ok(())));
        assert_eq!(poll(silent.as_mut()), Poll::Ready(Ok(())));
    }

    #[test]
    fn nothing_is_kept_of_what_is_over() {
        let (tier, sweeps) = (FakeTier::new(&ManualClock::new()), Sweeps::default());
        assert_eq!(poll(pin!(sweeps.sweep(&tier, "a:*"))), Poll::Ready(Ok(())));
        assert!(sweeps.patterns().is_empty());
    }
}
