//! Waiting for an answer within a budget, in a process that may be late itself.
//!
//! A process that has too little of a processor, or whose runtime is blocked, polls late: the answer is there, or lies in the socket,
//! and neither is the server's fault. A timer shows it: it fires when the process comes to it, and not when it was due.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use crate::connect::settings::LONGEST;

/// What part of its budget a process may be late by without being late.
const PUNCTUAL: u32 = 10;

/// What takes longer is slow: four fifths of the budget.
pub(crate) fn slow(budget: Duration) -> Duration {
    budget / 5 * 4
}

/// How an answer was waited for.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Vigil {
    began: Instant,
    budget: Duration,
    /// When the process is to look at the time next.
    due: Instant,
    /// It waits for an answer. What came before, such as a first connection, has a timer of its own.
    has_begun: bool,
    /// It has looked when an answer became slow.
    is_slow: bool,
    was_late: bool,
    has_grace: bool,
}

impl Vigil {
    pub(crate) fn new(began: Instant, budget: Duration) -> Self {
        let due = later(began, slow(budget));
        Self { began, budget, due, has_begun: false, is_slow: false, was_late: false, has_grace: true }
    }

    /// It begins to wait for the answer, at a moment that may be after the one at which it was to look.
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

    /// Begins anew when the first connection is there, with what is left of the `time` for that if it is more than the budget.
    pub(crate) fn begin_after_the_first_connection(&mut self, time: Duration) {
        let now = Instant::now();
        let left = time.saturating_sub(now.saturating_duration_since(self.began));
        *self = Self::new(now, self.budget.max(left));
    }

    /// Begins anew when a heartbeat has registered this process after a pause: the question itself may take its whole budget, or a
    /// server two round trips away would never be asked by a process that has few questions.
    pub(crate) fn begin_after_a_pause(&mut self) {
        *self = Self::new(Instant::now(), self.budget);
    }

    pub(crate) fn slow(&self) -> Duration {
        slow(self.budget)
    }

    /// Whether the process itself was late, so that it cannot say how long the server took, if it stopped to wait at `ended`.
    pub(crate) fn was_late(&self, ended: Instant) -> bool {
        self.has_begun && (self.was_late || self.is_late(ended))
    }

    fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.due) > self.budget / PUNCTUAL
    }

    /// It looks at the time. Whether it waits on, until `due`: a fifth of the budget longer than from when it should have looked, as
    /// the answer may be there and not have been read yet.
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

/// The answer, if it comes in time; and how it was waited for.
pub(crate) async fn within<T>(
    answer: impl Future<Output = T>,
    began: Instant,
    budget: Duration,
) -> (Option<T>, Vigil) {
    let mut vigil = Vigil::new(began, budget);
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

    fn begun(began: Instant) -> Vigil {
        let mut vigil = Vigil::new(began, BUDGET);
        vigil.begin(|| began, false);
        vigil
    }

    /// As when there is no connection yet.
    #[test]
    fn what_was_waited_for_before_makes_nobody_late() {
        let began = Instant::now();
        let mut vigil = Vigil::new(began, BUDGET);
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
        // Late again: once more, and no further.
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
        let mut vigil = Vigil::new(Instant::now(), Duration::MAX);
        assert!(vigil.look(Instant::now()));
    }

    /// The task that reads the socket runs after the one that waits for it.
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
