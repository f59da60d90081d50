//! Whether it is worth asking Redis before a load: the rule, without clocks, locks or connections.

use std::time::{Duration, Instant};

use crate::availability::{
    awaited::{self, Vigil},
    backoff::Backoff,
};

/// How many of the last answers are judged.
const WINDOW: u32 = 8;

/// How many bad ones among them are too many.
const TOO_MANY: u32 = WINDOW / 2;

/// A moment that a clock can show comes after it, whatever pauses are set.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// A circuit breaker over what callers wait for before they have a value.
///
/// An answer is *bad* if it did not come within the budget, or took more than four fifths of it. The breaker opens
/// when four of the last eight were bad. Why these numbers:
///
/// * Whoever waits four fifths of his budget has got nothing from the cache that a timeout would not have given him soon
///   after; and a server whose answers are near the limit is about to miss it. Half of the budget would be
///   reached by a healthy server while it forks.
/// * A share rather than a run of failures: a server that is slow answers in time now and then, and each of those
///   would start the count again.
/// * Four of eight: one pause of the server or of this process meets a few callers and does not open it, and when nobody
///   answers at all, four callers in a row are the last ones to pay. A hung server costs one after the other
///   200 ms in all with the default budget, and then nothing.
///
/// The budget is that of the call: one that may wait for two seconds, as its load takes a minute, is not slow after one. And a process
/// that was late itself says nothing of the server, whatever time has passed: see [`Vigil`]. If it is always late, the heartbeats find
/// out whether the server answers.
///
/// A refusal is an answer. So is none that the connection broke before: that costs nobody his budget, and the
/// connection is replaced. What a caller did not wait for says nothing.
///
/// While it is open nobody asks, so nobody can find out that it may close: that is what the probe is for. The
/// heartbeat is sent over the same connection anyway, and no caller waits for it. From one opening, or one bad probe, to the
/// next probe there is a pause that grows, so that a server that answers heartbeats and nothing else is not
/// tried by all callers over and over.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// A probe that takes longer is bad.
    slow: Duration,
    /// The last answers, one bit each, 1 for a bad one.
    answers: u32,
    state: State,
    /// When it last opened or closed. What was asked before that says nothing about it now.
    since: Instant,
    /// So long must it have been closed for the pauses to start again with the shortest one.
    calm: Duration,
    backoff: Backoff,
    opened: u64,
}

/// A caller that has stopped to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    /// With an answer, or without.
    pub(crate) is_answered: bool,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// What takes longer is bad.
    pub(crate) slow: Duration,
    /// The process itself was late.
    pub(crate) was_late: bool,
}

impl Waited {
    pub(crate) fn new(is_answered: bool, vigil: &Vigil, ended: Instant) -> Self {
        let (began, slow) = (vigil.began(), vigil.slow());
        Self { is_answered, began, ended, slow, was_late: vigil.was_late(ended) }
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.ended.saturating_duration_since(self.began) > self.slow
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// A heartbeat that is sent from then on is the probe.
    Open(Instant),
}

impl Breaker {
    /// For reads with this budget. The longest pause between two probes is half of `retry_max`, so that with the
    /// time that they take, recovery takes no longer than `retry_max`.
    pub(crate) fn new(budget: Duration, retry_min: Duration, retry_max: Duration, now: Instant) -> Self {
        let longest = (retry_max / 2).min(LONGEST_PAUSE);
        Self {
            slow: awaited::slow(budget),
            answers: 0,
            state: State::Closed,
            since: now,
            calm: retry_max,
            backoff: Backoff::new(retry_min.min(longest), longest),
            opened: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether any of the answers that it judges by was bad.
    pub(crate) fn has_bad(&self) -> bool {
        self.answers != 0
    }

    /// How often it has opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// When the next probe is due, if it is open.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Open(due) => Some(due),
            State::Closed => None,
        }
    }

    /// A caller has stopped to wait. Whether this opens it.
    pub(crate) fn waited(&mut self, waited: &Waited) -> bool {
        let is_bad = waited.is_slow();
        if is_bad && waited.was_late {
            return false;
        }
        (is_bad || waited.is_answered) && self.note(is_bad, waited.began, waited.ended)
    }

    /// A caller was turned away because too many wait already. Whether this opens it.
    pub(crate) fn overflowed(&mut self, now: Instant) -> bool {
        self.note(true, now, now)
    }

    fn note(&mut self, is_bad: bool, began: Instant, now: Instant) -> bool {
        if self.is_open() || began < self.since {
            return false;
        }
        self.answers = (self.answers << 1 | u32::from(is_bad)) & ((1 << WINDOW) - 1);
        let opens = self.answers.count_ones() >= TOO_MANY;
        if opens {
            if now.saturating_duration_since(self.since) > self.calm {
                self.backoff.reset();
            }
            let due = now + self.backoff.pause();
            self.turn(State::Open(due), now);
            self.opened += 1;
        }
        opens
    }

    /// A heartbeat that was sent at `sent` was answered at `now`, by a process that `was_late` itself or not. Whether this closes
    /// it.
    pub(crate) fn probed(&mut self, sent: Instant, now: Instant, was_late: bool) -> bool {
        let State::Open(due) = self.state else { return false };
        if sent < due {
            return false;
        }
        let is_good = now.saturating_duration_since(sent) <= self.slow;
        if is_good {
            self.turn(State::Closed, now);
        } else if was_late {
            // It says nothing of the server, so the pauses grow no longer.
            self.state = State::Open(now + self.backoff.shortest());
        } else {
            self.state = State::Open(now + self.backoff.pause());
        }
        is_good
    }

    fn turn(&mut self, state: State, now: Instant) {
        (self.state, self.since, self.answers) = (state, now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BUDGET: Duration = Duration::from_millis(50);
    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(1);

    /// Of a process that is in time.
    fn waited(is_answered: bool, began: Instant, ended: Instant) -> Waited {
        Waited { is_answered, began, ended, slow: awaited::slow(BUDGET), was_late: false }
    }

    #[test]
    fn a_process_that_was_late_does_not_open_it() {
        let mut run = Run::new();
        let (began, ended) = (run.now, run.now + 10 * BUDGET);
        for is_answered in [true, false] {
            let late = Waited { was_late: true, ..waited(is_answered, began, ended) };
            assert!(![(); 8].map(|()| run.breaker.waited(&late)).contains(&true));
        }
        assert!(!run.breaker.has_bad());
    }

    #[test]
    fn a_call_that_may_wait_for_longer_is_slow_later() {
        let mut run = Run::new();
        let (began, ended) = (run.now, run.now + 2 * BUDGET);
        let patient = Waited { slow: awaited::slow(4 * BUDGET), ..waited(true, began, ended) };
        assert!(![(); 8].map(|()| run.breaker.waited(&patient)).contains(&true));
        let opens = [(); 4].map(|()| run.breaker.waited(&waited(true, began, ended)));
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
            self.breaker.waited(&waited(time < BUDGET, began, self.now))
        }

        fn probe(&mut self, time: Duration) -> bool {
            self.probe_while(time, false)
        }

        fn probe_while(&mut self, time: Duration, was_late: bool) -> bool {
            let sent = self.now;
            self.now += time;
            self.breaker.probed(sent, self.now, was_late)
        }

        fn open(&mut self) {
            while !self.wait(BUDGET) {}
            assert!(self.breaker.is_open());
        }

        fn until_due(&mut self) -> Duration {
            let due = self.breaker.due().expect("it is open");
            let pause = due.saturating_duration_since(self.now);
            self.now = due;
            pause
        }
    }

    #[test]
    fn four_timeouts_in_a_row_open_it() {
        let mut run = Run::new();
        assert_eq!([(); 4].map(|()| run.wait(BUDGET)), [false, false, false, true]);
        assert!(run.breaker.is_open());
        assert_eq!(run.breaker.opened(), 1);
    }

    #[test]
    fn so_does_every_second_one_that_is_slow() {
        let mut run = Run::new();
        let mut answers = 0;
        while !run.wait(if answers % 2 == 0 { 41 * MS } else { MS }) {
            answers += 1;
            assert!(answers < 8);
        }
        assert!(run.breaker.is_open());
    }

    #[test]
    fn three_of_eight_do_not() {
        let mut run = Run::new();
        for round in 0..1000 {
            let is_slow = [0, 3, 5].contains(&(round % 8));
            assert!(!run.wait(if is_slow { BUDGET } else { MS }));
        }
    }

    #[test]
    fn what_takes_four_fifths_of_the_budget_is_in_time() {
        let mut run = Run::new();
        for _ in 0..1000 {
            assert!(!run.wait(40 * MS));
        }
        assert_eq!(run.breaker.opened(), 0);
    }

    #[test]
    fn a_connection_that_breaks_is_no_answer() {
        let mut run = Run::new();
        let now = run.now;
        for _ in 0..3 {
            run.wait(BUDGET);
            assert!(![(); 8].map(|()| run.breaker.waited(&waited(false, now, now))).contains(&true));
        }
        assert!(run.wait(BUDGET), "what says nothing does not take the place of what does");
    }

    #[test]
    fn callers_that_were_turned_away_count_as_slow_ones() {
        let mut run = Run::new();
        let now = run.now;
        assert_eq!([(); 4].map(|()| run.breaker.overflowed(now)), [false, false, false, true]);
    }

    #[test]
    fn a_probe_that_is_in_time_closes_it() {
        let mut run = Run::new();
        run.open();
        run.until_due();
        assert!(run.probe(MS));
        assert!(!run.breaker.is_open());
        assert_eq!(run.breaker.due(), None);
        assert!(!run.wait(BUDGET), "it starts without what was before");
    }

    #[test]
    fn a_heartbeat_before_the_pause_is_over_is_no_probe() {
        let mut run = Run::new();
        run.open();
        assert!(!run.probe(MS));
        assert!(run.breaker.is_open());
    }

    #[test]
    fn a_probe_of_a_process_that_was_late_itself_asks_for_another_one_soon() {
        let mut run = Run::new();
        run.open();
        for _ in 0..20 {
            run.until_due();
            assert!(!run.probe_while(MAX, true));
            let pause = run.breaker.due().expect("it is open").saturating_duration_since(run.now);
            assert!(pause <= MIN, "{pause:?}");
        }
        run.until_due();
        assert!(run.probe_while(MS, true), "one that is in time all the same closes it");
    }

    #[test]
    fn a_late_answer_to_a_probe_asks_for_another_one() {
        let mut run = Run::new();
        run.open();
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            longest = longest.max(run.until_due());
            assert!(!run.probe(300 * MS));
        }
        assert!(longest > MIN, "the pauses grow");
        assert!(longest <= MAX / 2, "{longest:?}");
        run.until_due();
        assert!(run.probe(MS));
    }

    #[test]
    fn what_was_asked_before_it_closed_does_not_open_it() {
        let mut run = Run::new();
        let began = run.now;
        run.open();
        run.until_due();
        run.probe(MS);
        for _ in 0..8 {
            assert!(!run.breaker.waited(&waited(false, began, run.now)));
        }
        let now = run.now;
        run.now += BUDGET;
        let opens = [(); 4].map(|()| run.breaker.waited(&waited(false, now, run.now)));
        assert_eq!(opens, [false, false, false, true]);
    }

    #[test]
    fn it_stays_open_longer_each_time_that_it_opens_again_soon() {
        let mut run = Run::new();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            run.open();
            pauses.push(run.until_due());
            assert!(run.probe(MS));
        }
        assert!(pauses[0] <= MIN && pauses[7] > MAX / 4, "{pauses:?}");

        run.now += MAX + MS;
        run.open();
        assert!(run.until_due() <= MIN, "it was closed for long");
    }

    #[test]
    fn while_it_is_open_nothing_but_a_probe_counts() {
        let mut run = Run::new();
        run.open();
        let due = run.breaker.due();
        assert!(!run.wait(BUDGET));
        let now = run.now;
        assert!(!run.breaker.overflowed(now));
        assert_eq!((run.breaker.due(), run.breaker.opened()), (due, 1));
    }
}
