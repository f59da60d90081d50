//! Waiting for a reply within a budget, in a process that may itself be late.
//!
//! A process that is short of CPU time, or that blocks its runtime, polls late. The reply has arrived by
//! then, or lies in the socket buffer, and the delay is not the server's fault. A timer reveals this, because
//! it fires when the process polls it and not when it is due. A late process gets a further fifth of the
//! budget to read the reply, and a slow reply to it does not count for the breaker.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use crate::connect::settings::LONGEST;

/// Divisor of the budget: a poll that is late by at most a tenth of it is punctual.
const PUNCTUAL: u32 = 10;

/// Returns the time after which a reply counts as slow: four fifths of the budget.
pub(crate) fn slow(budget: Duration) -> Duration {
    budget / 5 * 4
}

/// Record of the wait for one reply.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct WaitRecord {
    began: Instant,
    budget: Duration,
    /// Time of the next check of the clock.
    due: Instant,
    /// Set once the wait for the reply begins.
    ///
    /// The steps before it, such as a first connection, have their own timer.
    has_begun: bool,
    /// Set once the check at the slow threshold is done.
    is_slow: bool,
    was_late: bool,
    has_grace: bool,
}

impl WaitRecord {
    pub(crate) fn new(began: Instant, budget: Duration) -> Self {
        let due = later(began, slow(budget));
        Self { began, budget, due, has_begun: false, is_slow: false, was_late: false, has_grace: true }
    }

    /// Starts the wait for the reply.
    ///
    /// If the first check is overdue by then (`is_over`), it is due now. So the time before the wait does not
    /// count as lateness.
    fn begin(&mut self, now: impl FnOnce() -> Instant, is_over: bool) {
        self.has_begun = true;
        if is_over {
            self.due = now();
        }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn deadline(&self) -> Instant {
        later(self.began, self.budget)
    }

    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    /// Restarts the wait when the first connection is ready.
    ///
    /// `time` is the limit for that connection. The rest of it becomes the budget if it is longer than the
    /// budget.
    pub(crate) fn begin_after_the_first_connection(&mut self, time: Duration) {
        let now = Instant::now();
        let left = time.saturating_sub(now.saturating_duration_since(self.began));
        *self = Self::new(now, self.budget.max(left));
    }

    /// Restarts the wait when a heartbeat has registered this process after a pause.
    ///
    /// The request itself then has its whole budget. A process with few requests needs two round trips for
    /// each of them. If both had to fit into one budget, it could never query a distant server.
    pub(crate) fn begin_after_a_pause(&mut self) {
        *self = Self::new(Instant::now(), self.budget);
    }

    pub(crate) fn slow(&self) -> Duration {
        slow(self.budget)
    }

    /// Returns whether the process itself was late, if it stopped waiting at `ended`.
    ///
    /// If so, the elapsed time does not show how long the server took.
    pub(crate) fn was_late(&self, ended: Instant) -> bool {
        self.has_begun && (self.was_late || self.is_late(ended))
    }

    fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.due) > self.budget / PUNCTUAL
    }

    /// Checks the clock, and returns whether to wait on until `due`.
    ///
    /// The first check is at the slow threshold, the second at the end of the budget. After a late check the
    /// wait lasts at least a fifth of the budget from `now`, because the reply may have arrived unread. The
    /// check at the end extends the wait only once.
    fn look(&mut self, now: Instant) -> bool {
        let is_late = self.is_late(now);
        self.was_late |= is_late;
        let rest = self.budget.saturating_sub(self.slow());
        if !self.is_slow {
            self.is_slow = true;
            let end = later(self.began, self.budget);
            self.due = if is_late { end.max(later(now, rest)) } else { end };
            return true;
        }
        let waits_on = is_late && self.has_grace;
        if waits_on {
            self.has_grace = false;
            self.due = later(now, rest);
        }
        waits_on
    }
}

fn later(moment: Instant, by: Duration) -> Instant {
    moment.checked_add(by).unwrap_or_else(|| moment + LONGEST)
}

/// Awaits a reply within the budget.
///
/// Returns the reply, if it came in time, and the record of the wait.
pub(crate) async fn within<T>(
    answer: impl Future<Output = T>,
    began: Instant,
    budget: Duration,
) -> (Option<T>, WaitRecord) {
    let mut vigil = WaitRecord::new(began, budget);
    let mut answer = pin!(answer);
    let mut alarm = pin!(sleep_until(vigil.due.into()));
    let answer = poll_fn(|cx| {
        loop {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                vigil.has_begun = true;
                return Poll::Ready(Some(answer));
            }
            let is_over = alarm.as_mut().poll(cx).is_ready();
            if !vigil.has_begun {
                vigil.begin(Instant::now, is_over);
            }
            if !is_over {
                return Poll::Pending;
            }
            if !vigil.look(Instant::now()) {
                return Poll::Ready(None);
            }
            alarm.as_mut().reset(vigil.due.into());
        }
    })
    .await;
    (answer, vigil)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BUDGET: Duration = Duration::from_millis(50);

    fn begun(began: Instant) -> WaitRecord {
        let mut vigil = WaitRecord::new(began, BUDGET);
        vigil.begin(|| began, false);
        vigil
    }

    /// Covers the case that there is no connection yet.
    #[test]
    fn time_before_the_wait_does_not_count_as_lateness() {
        let began = Instant::now();
        let mut vigil = WaitRecord::new(began, BUDGET);
        assert!(!vigil.was_late(began + 60 * MS));
        vigil.begin(|| began + 48 * MS, true);
        assert!(vigil.look(began + 48 * MS));
        assert_eq!(vigil.due, began + 50 * MS);
        assert!(!vigil.was_late(began + 51 * MS));
    }

    #[test]
    fn a_process_that_is_in_time_waits_for_its_budget() {
        let began = Instant::now();
        let mut vigil = begun(began);
        assert!(!vigil.was_late(began + 45 * MS));
        assert!(vigil.look(began + 44 * MS));
        assert!(!vigil.look(began + 54 * MS));
        assert!(!vigil.was_late(began + 54 * MS));
    }

    #[test]
    fn one_that_is_late_gives_the_answer_time_to_be_read() {
        let began = Instant::now();
        let mut vigil = begun(began);
        assert!(vigil.look(began + 100 * MS));
        assert_eq!(vigil.due, began + 110 * MS);
        // A second late check extends the wait once more, and a third one does not.
        assert!(vigil.look(began + 200 * MS));
        assert!(!vigil.look(began + 300 * MS));
        assert!(vigil.was_late(began + 300 * MS));
    }

    #[test]
    fn an_answer_that_is_found_long_after_it_was_to_be_looked_for_is_not_the_servers_fault() {
        let began = Instant::now();
        assert!(begun(began).was_late(began + 46 * MS));
        let mut vigil = begun(began);
        assert!(vigil.look(began + 40 * MS));
        assert!(!vigil.was_late(began + 50 * MS));
        assert!(vigil.was_late(began + 56 * MS));
    }

    #[test]
    fn a_budget_beyond_all_clocks_is_long() {
        let mut vigil = WaitRecord::new(Instant::now(), Duration::MAX);
        assert!(vigil.look(Instant::now()));
    }

    /// Runs the task that reads the socket after the one that awaits the reply.
    #[tokio::test]
    async fn a_blocked_runtime_does_not_lose_the_answer() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let began = Instant::now();
        let driver = async {
            std::thread::sleep(2 * BUDGET);
            let _ = tell.send(7);
            std::future::pending::<()>().await;
        };
        let waits = within(told, began, BUDGET);
        let (answer, vigil) = tokio::select! {
            biased;
            awaited = waits => awaited,
            () = driver => unreachable!("it waits for ever"),
        };
        assert_eq!(answer, Some(Ok(7)));
        assert!(vigil.was_late(Instant::now()));
    }
}
