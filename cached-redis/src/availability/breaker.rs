//! The rule of the circuit breaker: whether to query Redis before a load.
//!
//! The rule uses no clock, lock or connection of its own: callers pass in the times. `gate` adds the lock,
//! `wait` judges the lateness of this process, and `node::heartbeat` sends the probes.

use std::time::{Duration, Instant};

use crate::availability::{
    backoff::Backoff,
    wait::{self, WaitRecord},
};

/// Number of recent replies that are judged.
const WINDOW: u32 = 8;

/// Number of bad replies in the window that opens the breaker.
const OPEN_THRESHOLD: u32 = WINDOW / 2;

/// Upper bound of a pause, however long the configured pauses are.
///
/// The end of such a pause can be represented as an `Instant`.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// A circuit breaker over operations that a caller awaits before it has a value.
///
/// A reply is *bad* if it does not arrive within the budget, or takes more than four fifths of it. The
/// breaker opens when four of the last eight replies were bad. The reasons for these numbers:
///
/// * Four fifths: a caller that waits so long gains nothing over a timeout, which would follow soon after. A
///   server that replies near the limit is about to miss it. Half of the budget is reached by a healthy
///   server while it forks.
/// * A share and not a run of failures: a slow server replies in time now and then, and each such reply would
///   restart the count.
/// * Four of eight: one pause of the server or of this process affects a few callers and does not open the
///   breaker. If no reply arrives at all, four callers in a row are the last to pay. With the default budget,
///   a hung server costs 200 ms in total if they come one after the other, and then nothing.
///
/// The budget is the one of the call. If a call may wait for two seconds because its load takes a minute, a
/// reply after one second is not slow. A process that was late itself is no evidence about the server,
/// however much time has passed: see [`WaitRecord`]. If the process is always late, the heartbeats determine
/// whether the server replies.
///
/// A refusal is a reply. A connection that breaks before the reply does not count: it costs no caller its
/// budget, and it is replaced. An operation that no caller awaits does not count either.
///
/// While the breaker is open no caller sends a request, so none can find out that it may close. The probe
/// does that: the heartbeat uses the same connection anyway, and no caller waits for it. The pause from an
/// opening, or from a bad probe, to the next probe grows. So a server that replies to heartbeats only is not
/// tried by all callers over and over.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// Time after which the reply to a probe is bad.
    slow_threshold: Duration,
    /// Bits of the last replies; 1 stands for a bad one.
    window: u32,
    state: BreakerState,
    /// Time of the last opening or closing. Requests sent earlier do not count.
    changed_at: Instant,
    /// Minimum time closed after which the pauses restart with the shortest one.
    reset_after: Duration,
    backoff: Backoff,
    open_count: u64,
}

/// The end of a caller's wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    /// Set if a reply arrived.
    pub(crate) is_answered: bool,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// Time after which the reply is bad.
    pub(crate) slow_threshold: Duration,
    /// Set if the process itself was late.
    pub(crate) was_late: bool,
}

impl Waited {
    pub(crate) fn new(is_answered: bool, wait: &WaitRecord, ended: Instant) -> Self {
        let (began, slow_threshold) = (wait.began(), wait.slow_threshold());
        Self { is_answered, began, ended, slow_threshold, was_late: wait.was_late(ended) }
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.ended.saturating_duration_since(self.began) > self.slow_threshold
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerState {
    Closed,
    /// Open; a heartbeat sent at this time or later is the probe.
    Open(Instant),
}

impl Breaker {
    /// Creates a breaker for reads with this budget.
    ///
    /// The longest pause between two probes is half of `retry_max`. Together with the time that the probes
    /// take, recovery takes at most `retry_max`.
    pub(crate) fn new(budget: Duration, retry_min: Duration, retry_max: Duration, now: Instant) -> Self {
        let max_pause = (retry_max / 2).min(MAX_PAUSE);
        Self {
            slow_threshold: wait::slow_threshold(budget),
            window: 0,
            state: BreakerState::Closed,
            changed_at: now,
            reset_after: retry_max,
            backoff: Backoff::new(retry_min.min(max_pause), max_pause),
            open_count: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, BreakerState::Open(_))
    }

    /// Returns whether any reply in the window was bad.
    pub(crate) fn has_bad_reply(&self) -> bool {
        self.window != 0
    }

    /// Returns the number of times that the breaker has opened.
    pub(crate) fn open_count(&self) -> u64 {
        self.open_count
    }

    /// Returns the time at which the next probe is due, if the breaker is open.
    pub(crate) fn probe_due(&self) -> Option<Instant> {
        match self.state {
            BreakerState::Open(due) => Some(due),
            BreakerState::Closed => None,
        }
    }

    /// Records the end of a caller's wait, and returns whether it opens the breaker.
    pub(crate) fn record_wait(&mut self, waited: &Waited) -> bool {
        let is_bad = waited.is_slow();
        if is_bad && waited.was_late {
            return false;
        }
        (is_bad || waited.is_answered) && self.record(is_bad, waited.began, waited.ended)
    }

    /// Records a caller that was rejected because too many wait.
    ///
    /// Counts as a bad reply. Returns whether it opens the breaker.
    pub(crate) fn record_overflow(&mut self, now: Instant) -> bool {
        self.record(true, now, now)
    }

    fn record(&mut self, is_bad: bool, began: Instant, now: Instant) -> bool {
        if self.is_open() || began < self.changed_at {
            return false;
        }
        self.window = (self.window << 1 | u32::from(is_bad)) & ((1 << WINDOW) - 1);
        let opens = self.window.count_ones() >= OPEN_THRESHOLD;
        if opens {
            if now.saturating_duration_since(self.changed_at) > self.reset_after {
                self.backoff.reset();
            }
            let due = now + self.backoff.pause();
            self.set_state(BreakerState::Open(due), now);
            self.open_count += 1;
        }
        opens
    }

    /// Records the reply to a heartbeat, and returns whether it closes the breaker.
    ///
    /// The heartbeat was sent at `sent` and answered at `now`. `was_late` is set if the process itself was
    /// late.
    pub(crate) fn record_probe(&mut self, sent: Instant, now: Instant, was_late: bool) -> bool {
        let BreakerState::Open(due) = self.state else { return false };
        if sent < due {
            return false;
        }
        let is_good = now.saturating_duration_since(sent) <= self.slow_threshold;
        if is_good {
            self.set_state(BreakerState::Closed, now);
        } else if was_late {
            // The delay proves nothing about the server, so the pauses do not grow.
            self.state = BreakerState::Open(now + self.backoff.shortest());
        } else {
            self.state = BreakerState::Open(now + self.backoff.pause());
        }
        is_good
    }

    fn set_state(&mut self, state: BreakerState, now: Instant) {
        (self.state, self.changed_at, self.window) = (state, now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BUDGET: Duration = Duration::from_millis(50);
    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(1);

    /// Returns the end of a wait in a punctual process.
    fn waited(is_answered: bool, began: Instant, ended: Instant) -> Waited {
        Waited { is_answered, began, ended, slow_threshold: wait::slow_threshold(BUDGET), was_late: false }
    }

    #[test]
    fn late_process_does_not_open_breaker() {
        let mut run = Run::new();
        let (began, ended) = (run.now, run.now + 10 * BUDGET);
        for is_answered in [true, false] {
            let late = Waited { was_late: true, ..waited(is_answered, began, ended) };
            assert!(![(); 8].map(|()| run.breaker.record_wait(&late)).contains(&true));
        }
        assert!(!run.breaker.has_bad_reply());
    }

    #[test]
    fn slow_threshold_follows_budget_of_call() {
        let mut run = Run::new();
        let (began, ended) = (run.now, run.now + 2 * BUDGET);
        let patient =
            Waited { slow_threshold: wait::slow_threshold(4 * BUDGET), ..waited(true, began, ended) };
        assert!(![(); 8].map(|()| run.breaker.record_wait(&patient)).contains(&true));
        let opens = [(); 4].map(|()| run.breaker.record_wait(&waited(true, began, ended)));
        assert_eq!(opens, [false, false, false, true]);
    }

    /// A breaker and its clock.
    struct Run {
        breaker: Breaker,
        now: Instant,
    }

    impl Run {
        fn new() -> Self {
            let now = Instant::now();
            Self { breaker: Breaker::new(BUDGET, MIN, MAX, now), now }
        }

        fn wait(&mut self, time: Duration) -> bool {
            let began = self.now;
            self.now += time;
            self.breaker.record_wait(&waited(time < BUDGET, began, self.now))
        }

        fn probe(&mut self, time: Duration) -> bool {
            self.probe_while(time, false)
        }

        fn probe_while(&mut self, time: Duration, was_late: bool) -> bool {
            let sent = self.now;
            self.now += time;
            self.breaker.record_probe(sent, self.now, was_late)
        }

        fn open(&mut self) {
            while !self.wait(BUDGET) {}
            assert!(self.breaker.is_open());
        }

        fn advance_to_probe(&mut self) -> Duration {
            let due = self.breaker.probe_due().expect("it is open");
            let pause = due.saturating_duration_since(self.now);
            self.now = due;
            pause
        }
    }

    #[test]
    fn four_timeouts_in_a_row_open_breaker() {
        let mut run = Run::new();
        assert_eq!([(); 4].map(|()| run.wait(BUDGET)), [false, false, false, true]);
        assert!(run.breaker.is_open());
        assert_eq!(run.breaker.open_count(), 1);
    }

    #[test]
    fn breaker_opens_when_every_second_reply_is_slow() {
        let mut run = Run::new();
        let mut answers = 0;
        while !run.wait(if answers % 2 == 0 { 41 * MS } else { MS }) {
            answers += 1;
            assert!(answers < 8);
        }
        assert!(run.breaker.is_open());
    }

    #[test]
    fn three_bad_replies_of_eight_do_not_open_breaker() {
        let mut run = Run::new();
        for round in 0..1000 {
            let is_slow = [0, 3, 5].contains(&(round % 8));
            assert!(!run.wait(if is_slow { BUDGET } else { MS }));
        }
    }

    #[test]
    fn reply_within_four_fifths_of_budget_is_not_slow() {
        let mut run = Run::new();
        for _ in 0..1000 {
            assert!(!run.wait(40 * MS));
        }
        assert_eq!(run.breaker.open_count(), 0);
    }

    #[test]
    fn broken_connection_does_not_count() {
        let mut run = Run::new();
        let now = run.now;
        for _ in 0..3 {
            run.wait(BUDGET);
            assert!(![(); 8].map(|()| run.breaker.record_wait(&waited(false, now, now))).contains(&true));
        }
        assert!(run.wait(BUDGET), "a lost connection does not displace a bad reply");
    }

    #[test]
    fn rejected_callers_count_as_bad_replies() {
        let mut run = Run::new();
        let now = run.now;
        assert_eq!([(); 4].map(|()| run.breaker.record_overflow(now)), [false, false, false, true]);
    }

    #[test]
    fn timely_probe_closes_breaker() {
        let mut run = Run::new();
        run.open();
        run.advance_to_probe();
        assert!(run.probe(MS));
        assert!(!run.breaker.is_open());
        assert_eq!(run.breaker.probe_due(), None);
        assert!(!run.wait(BUDGET), "it starts without what was before");
    }

    #[test]
    fn heartbeat_before_end_of_pause_is_no_probe() {
        let mut run = Run::new();
        run.open();
        assert!(!run.probe(MS));
        assert!(run.breaker.is_open());
    }

    #[test]
    fn late_process_probes_again_after_shortest_pause() {
        let mut run = Run::new();
        run.open();
        for _ in 0..20 {
            run.advance_to_probe();
            assert!(!run.probe_while(MAX, true));
            let pause = run.breaker.probe_due().expect("it is open").saturating_duration_since(run.now);
            assert!(pause <= MIN, "{pause:?}");
        }
        run.advance_to_probe();
        assert!(run.probe_while(MS, true), "one that is in time all the same closes it");
    }

    #[test]
    fn slow_probes_lengthen_the_pause() {
        let mut run = Run::new();
        run.open();
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            longest = longest.max(run.advance_to_probe());
            assert!(!run.probe(300 * MS));
        }
        assert!(longest > MIN, "the pauses grow");
        assert!(longest <= MAX / 2, "{longest:?}");
        run.advance_to_probe();
        assert!(run.probe(MS));
    }

    #[test]
    fn requests_sent_before_closing_do_not_reopen_breaker() {
        let mut run = Run::new();
        let began = run.now;
        run.open();
        run.advance_to_probe();
        run.probe(MS);
        for _ in 0..8 {
            assert!(!run.breaker.record_wait(&waited(false, began, run.now)));
        }
        let now = run.now;
        run.now += BUDGET;
        let opens = [(); 4].map(|()| run.breaker.record_wait(&waited(false, now, run.now)));
        assert_eq!(opens, [false, false, false, true]);
    }

    #[test]
    fn pause_grows_when_breaker_reopens_soon() {
        let mut run = Run::new();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            run.open();
            pauses.push(run.advance_to_probe());
            assert!(run.probe(MS));
        }
        assert!(pauses[0] <= MIN && pauses[7] > MAX / 4, "{pauses:?}");

        run.now += MAX + MS;
        run.open();
        assert!(run.advance_to_probe() <= MIN, "it was closed for long");
    }

    #[test]
    fn open_breaker_counts_only_probes() {
        let mut run = Run::new();
        run.open();
        let due = run.breaker.probe_due();
        assert!(!run.wait(BUDGET));
        let now = run.now;
        assert!(!run.breaker.record_overflow(now));
        assert_eq!((run.breaker.probe_due(), run.breaker.open_count()), (due, 1));
    }
}
