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

use crate::connect::settings::MAX_DURATION;

/// Divisor of the budget: a poll that is late by at most a tenth of it is punctual.
const PUNCTUAL_DIVISOR: u32 = 10;

/// Returns the time after which a reply counts as slow: four fifths of the budget.
pub(crate) fn slow_threshold(budget: Duration) -> Duration {
    budget / 5 * 4
}

/// Record of the wait for one reply.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "the flags are independent")]
pub(crate) struct WaitRecord {
    began: Instant,
    budget: Duration,
    /// Time of the next check of the clock.
    next_check: Instant,
    /// Set once the wait for the reply begins.
    ///
    /// The steps before it, such as a first connection, have their own timer.
    has_started: bool,
    /// Set once the check at the slow threshold is done.
    is_threshold_checked: bool,
    was_late: bool,
    may_extend: bool,
}

impl WaitRecord {
    pub(crate) fn new(began: Instant, budget: Duration) -> Self {
        let next_check = saturating_add(began, slow_threshold(budget));
        Self {
            began,
            budget,
            next_check,
            has_started: false,
            is_threshold_checked: false,
            was_late: false,
            may_extend: true,
        }
    }

    /// Starts the wait for the reply.
    ///
    /// If the first check is overdue by then (`is_over`), it is due now. So the time before the wait does not
    /// count as lateness.
    fn start(&mut self, now: impl FnOnce() -> Instant, is_over: bool) {
        self.has_started = true;
        if is_over {
            self.next_check = now();
        }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn deadline(&self) -> Instant {
        saturating_add(self.began, self.budget)
    }

    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    /// Restarts the wait when the first connection is ready.
    ///
    /// `time` is the limit for that connection. The rest of it becomes the budget if it is longer than the
    /// budget.
    pub(crate) fn restart_after_first_connection(&mut self, time: Duration) {
        let now = Instant::now();
        let left = time.saturating_sub(now.saturating_duration_since(self.began));
        *self = Self::new(now, self.budget.max(left));
    }

    /// Restarts the wait when a heartbeat has registered this process after a pause.
    ///
    /// The request itself then has its whole budget. A process with few requests needs two round trips for
    /// each of them. If both had to fit into one budget, it could never query a distant server.
    pub(crate) fn restart_after_pause(&mut self) {
        *self = Self::new(Instant::now(), self.budget);
    }

    pub(crate) fn slow_threshold(&self) -> Duration {
        slow_threshold(self.budget)
    }

    /// Returns whether the process itself was late, if it stopped waiting at `ended`.
    ///
    /// If so, the elapsed time does not show how long the server took.
    pub(crate) fn was_late(&self, ended: Instant) -> bool {
        self.has_started && (self.was_late || self.is_late(ended))
    }

    fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.next_check) > self.budget / PUNCTUAL_DIVISOR
    }

    /// Checks the clock, and returns whether to wait on until `next_check`.
    ///
    /// The first check is at the slow threshold, the second at the end of the budget. After a late check the
    /// wait lasts at least a fifth of the budget from `now`, because the reply may have arrived unread. The
    /// check at the end extends the wait only once.
    fn check_clock(&mut self, now: Instant) -> bool {
        let is_late = self.is_late(now);
        self.was_late |= is_late;
        let rest = self.budget.saturating_sub(self.slow_threshold());
        if !self.is_threshold_checked {
            self.is_threshold_checked = true;
            let end = saturating_add(self.began, self.budget);
            self.next_check = if is_late { end.max(saturating_add(now, rest)) } else { end };
            return true;
        }
        let waits_on = is_late && self.may_extend;
        if waits_on {
            self.may_extend = false;
            self.next_check = saturating_add(now, rest);
        }
        waits_on
    }
}

fn saturating_add(start: Instant, by: Duration) -> Instant {
    start.checked_add(by).unwrap_or_else(|| start + MAX_DURATION)
}

/// Awaits a reply within the budget.
///
/// Returns the reply, if it came in time, and the record of the wait.
pub(crate) async fn within<T>(
    reply: impl Future<Output = T>,
    began: Instant,
    budget: Duration,
) -> (Option<T>, WaitRecord) {
    let mut wait = WaitRecord::new(began, budget);
    let mut reply = pin!(reply);
    let mut timer = pin!(sleep_until(wait.next_check.into()));
    let reply = poll_fn(|cx| {
        loop {
            if let Poll::Ready(reply) = reply.as_mut().poll(cx) {
                wait.has_started = true;
                return Poll::Ready(Some(reply));
            }
            let is_over = timer.as_mut().poll(cx).is_ready();
            if !wait.has_started {
                wait.start(Instant::now, is_over);
            }
            if !is_over {
                return Poll::Pending;
            }
            if !wait.check_clock(Instant::now()) {
                return Poll::Ready(None);
            }
            timer.as_mut().reset(wait.next_check.into());
        }
    })
    .await;
    (reply, wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BUDGET: Duration = Duration::from_millis(50);

    fn started_wait(began: Instant) -> WaitRecord {
        let mut wait = WaitRecord::new(began, BUDGET);
        wait.start(|| began, false);
        wait
    }

    /// Covers the case that there is no connection yet.
    #[test]
    fn time_before_the_wait_does_not_count_as_lateness() {
        let began = Instant::now();
        let mut wait = WaitRecord::new(began, BUDGET);
        assert!(!wait.was_late(began + 60 * MS));
        wait.start(|| began + 48 * MS, true);
        assert!(wait.check_clock(began + 48 * MS));
        assert_eq!(wait.next_check, began + 50 * MS);
        assert!(!wait.was_late(began + 51 * MS));
    }

    #[test]
    fn punctual_process_waits_for_its_budget() {
        let began = Instant::now();
        let mut wait = started_wait(began);
        assert!(!wait.was_late(began + 45 * MS));
        assert!(wait.check_clock(began + 44 * MS));
        assert!(!wait.check_clock(began + 54 * MS));
        assert!(!wait.was_late(began + 54 * MS));
    }

    #[test]
    fn late_process_extends_wait_to_read_reply() {
        let began = Instant::now();
        let mut wait = started_wait(began);
        assert!(wait.check_clock(began + 100 * MS));
        assert_eq!(wait.next_check, began + 110 * MS);
        // A second late check extends the wait once more, and a third one does not.
        assert!(wait.check_clock(began + 200 * MS));
        assert!(!wait.check_clock(began + 300 * MS));
        assert!(wait.was_late(began + 300 * MS));
    }

    #[test]
    fn reply_found_after_late_poll_counts_as_late_process() {
        let began = Instant::now();
        assert!(started_wait(began).was_late(began + 46 * MS));
        let mut wait = started_wait(began);
        assert!(wait.check_clock(began + 40 * MS));
        assert!(!wait.was_late(began + 50 * MS));
        assert!(wait.was_late(began + 56 * MS));
    }

    #[test]
    fn unrepresentable_budget_does_not_overflow() {
        let mut wait = WaitRecord::new(Instant::now(), Duration::MAX);
        assert!(wait.check_clock(Instant::now()));
    }

    /// Runs the task that reads the socket after the one that awaits the reply.
    #[tokio::test]
    async fn reply_that_arrives_in_blocked_runtime_is_not_lost() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let began = Instant::now();
        let driver = async {
            std::thread::sleep(2 * BUDGET);
            let _ = sender.send(7);
            std::future::pending::<()>().await;
        };
        let waits = within(receiver, began, BUDGET);
        let (reply, wait) = tokio::select! {
            biased;
            awaited = waits => awaited,
            () = driver => unreachable!("it waits for ever"),
        };
        assert_eq!(reply, Some(Ok(7)));
        assert!(wait.was_late(Instant::now()));
    }
}
