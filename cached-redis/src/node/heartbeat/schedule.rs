//! The schedule of a heartbeat: the times of past events, and the times at which the next ones are due.
//!
//! All functions are pure: they take the present as an argument, and read neither a clock nor another state.
//! An event that has never happened is due at once. `pace` waits for the next heartbeat, and `plan` asks for
//! the events that it includes.

use std::time::{Duration, Instant};

/// Interval at which the lifetime of the registry is renewed.
const REGISTRY_RENEWAL: Duration = Duration::from_secs(60 * 60);

/// Time without use after which a process is quiet, or calm.
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Interval of the connection checks while there is no use for the watermark.
const QUIET_CHECK_INTERVAL: Duration = Duration::from_secs(20);

/// Interval at which an untracked connection tries tracking again.
const TRACKING_RETRY: Duration = Duration::from_secs(3);

/// Times of the events that determine the schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Last request over the connection.
    last_request: Instant,
    /// Last request, or last use of a watermark to serve an entry from memory.
    last_use: Instant,
    /// Last answered heartbeat that was full, which means that it registers if it may.
    last_full: Option<Instant>,
    /// Last attempt to advance the watermark, or to do other work that is due as often.
    last_attempt: Instant,
    /// Last heartbeat with a passed self-test of the pushes.
    last_self_test: Option<Instant>,
    /// Last renewal of the registry's lifetime.
    last_registry_renewal: Option<Instant>,
    /// Last reading of the server's clock.
    last_clock_reading: Option<Instant>,
    /// Last attempt to start tracking.
    last_tracking_attempt: Instant,
}

/// State of a connection that decides whether it may be quiet.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuietConditions {
    /// Set if the server pushes changes, or if there is no cache to notify.
    pub(super) is_notified: bool,
    pub(super) can_run_scripts: bool,
    pub(super) is_breaker_open: bool,
}

impl QuietConditions {
    /// Returns whether the connection may be quiet while it is not in use.
    ///
    /// An untracked connection is never quiet, since only polling detects new barriers. Neither is one with
    /// an open breaker, since heartbeats probe whether the server is fast again.
    fn are_met(self) -> bool {
        // If no scripts run, only a heartbeat detects that they run again.
        self.is_notified && self.can_run_scripts && !self.is_breaker_open
    }
}

impl Schedule {
    /// Creates the schedule of a connection that was made at `now`, by an attempt that included tracking.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_request: now,
            last_use: now,
            last_attempt: now,
            last_full: None,
            last_self_test: None,
            last_registry_renewal: None,
            last_clock_reading: None,
            last_tracking_attempt: now,
        }
    }

    /// Records a request, or a load under way, which counts as a request since it writes its lease.
    pub(super) fn record_request(&mut self, now: Instant) {
        self.last_request = now;
    }

    /// Records a request, or a use of the watermark.
    pub(super) fn record_use(&mut self, now: Instant) {
        self.last_use = now;
    }

    /// Records a heartbeat that does more than acknowledge barriers.
    pub(super) fn record_attempt(&mut self, now: Instant) {
        self.last_attempt = now;
    }

    /// Records that a full heartbeat was answered.
    pub(super) fn record_full(&mut self, sent: Instant) {
        self.last_full = Some(sent);
    }

    /// Makes a full heartbeat due.
    pub(super) fn require_full(&mut self) {
        self.last_full = None;
    }

    /// Records a passed self-test of the pushes.
    pub(super) fn record_self_test(&mut self, sent: Instant) {
        self.last_self_test = Some(sent);
    }

    /// Records a renewal of the registry's lifetime.
    pub(super) fn record_registry_renewal(&mut self, now: Instant) {
        self.last_registry_renewal = Some(now);
    }

    /// Records a reading of the server's clock.
    pub(super) fn record_clock_reading(&mut self, sent: Instant) {
        self.last_clock_reading = Some(sent);
    }

    /// Records an attempt to start tracking.
    pub(super) fn record_tracking_attempt(&mut self, now: Instant) {
        self.last_tracking_attempt = now;
    }

    /// Returns whether there was no use for watermarks lately.
    pub(super) fn is_quiet(&self, conditions: QuietConditions, now: Instant) -> bool {
        conditions.are_met() && now.saturating_duration_since(self.last_use) >= IDLE_TIME
    }

    /// Returns whether nothing was requested lately and no load is under way.
    ///
    /// A calm process has not written anything either.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_request) >= IDLE_TIME
    }

    /// Returns the time of the next heartbeat, which an earlier one of the `urgent` times brings forward.
    ///
    /// The previous heartbeat began at `began`. While watermarks are of use, they advance at `interval`.
    pub(super) fn next_due(
        &self,
        began: Instant,
        is_quiet: bool,
        interval: Duration,
        urgent: [Option<Instant>; 2],
    ) -> Instant {
        let regular = if is_quiet { began + QUIET_CHECK_INTERVAL } else { self.last_attempt + interval };
        urgent.into_iter().flatten().fold(regular, Instant::min)
    }

    /// Returns the time of the last full heartbeat, unless another one is required since.
    pub(super) fn last_full(&self) -> Option<Instant> {
        self.last_full
    }

    pub(super) fn is_full_due(&self, registration_interval: Duration, now: Instant) -> bool {
        is_due(self.last_full, registration_interval, now)
    }

    /// Returns whether the server's clock must be read, since no registration has returned it lately.
    pub(super) fn is_clock_reading_due(&self, registration_interval: Duration, now: Instant) -> bool {
        is_due(self.last_clock_reading, 2 * registration_interval, now)
    }

    pub(super) fn is_self_test_due(&self, interval: Duration, now: Instant) -> bool {
        is_due(self.last_self_test, interval, now)
    }

    pub(super) fn is_registry_renewal_due(&self, now: Instant) -> bool {
        is_due(self.last_registry_renewal, REGISTRY_RENEWAL, now)
    }

    pub(super) fn is_tracking_attempt_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_tracking_attempt) >= TRACKING_RETRY
    }
}

fn is_due(last: Option<Instant>, pause: Duration, now: Instant) -> bool {
    last.is_none_or(|last| now >= last + pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);
    const MET: QuietConditions =
        QuietConditions { is_notified: true, can_run_scripts: true, is_breaker_open: false };

    #[test]
    fn process_is_quiet_some_seconds_after_the_last_use() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert!(!schedule.is_quiet(MET, start + IDLE_TIME.saturating_sub(MILLISECOND)));
        assert!(schedule.is_quiet(MET, start + IDLE_TIME));
        schedule.record_use(start + SECOND);
        assert!(!schedule.is_quiet(MET, start + IDLE_TIME));
        assert!(schedule.is_calm(start + IDLE_TIME), "a hit in memory is no request");
        schedule.record_request(start + SECOND);
        assert!(!schedule.is_calm(start + IDLE_TIME));
        assert!(schedule.is_calm(start + SECOND + IDLE_TIME));
    }

    #[test]
    fn connection_that_must_be_polled_is_never_quiet() {
        let start = Instant::now();
        let schedule = Schedule::new(start);
        for conditions in [
            QuietConditions { is_notified: false, ..MET },
            QuietConditions { can_run_scripts: false, ..MET },
            QuietConditions { is_breaker_open: true, ..MET },
        ] {
            assert!(!schedule.is_quiet(conditions, start + 100 * IDLE_TIME), "{conditions:?}");
        }
    }

    #[test]
    fn next_heartbeat_is_due_at_the_earliest_of_its_times() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        let began = start + SECOND;
        let next = |schedule: &Schedule, is_quiet, urgent| schedule.next_due(began, is_quiet, SECOND, urgent);
        assert_eq!(next(&schedule, true, [None, None]), began + QUIET_CHECK_INTERVAL);
        assert_eq!(next(&schedule, false, [None, None]), start + SECOND, "counted from the last attempt");
        schedule.record_attempt(began);
        assert_eq!(next(&schedule, false, [None, None]), began + SECOND);
        let (soon, sooner) = (began + 2 * MILLISECOND, began + MILLISECOND);
        assert_eq!(next(&schedule, false, [Some(soon), Some(sooner)]), sooner);
        assert_eq!(next(&schedule, true, [Some(soon), None]), soon);
        assert_eq!(next(&schedule, false, [None, Some(began + 2 * SECOND)]), began + SECOND);
    }

    #[test]
    fn event_is_due_at_once_and_then_after_its_interval() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert!(schedule.is_full_due(SECOND, start));
        schedule.record_full(start);
        assert!(!schedule.is_full_due(SECOND, start + SECOND.saturating_sub(MILLISECOND)));
        assert!(schedule.is_full_due(SECOND, start + SECOND));
        schedule.require_full();
        assert!(schedule.is_full_due(SECOND, start) && schedule.last_full().is_none());
        assert!(schedule.is_clock_reading_due(SECOND, start));
        schedule.record_clock_reading(start);
        assert!(
            !schedule.is_clock_reading_due(SECOND, start + SECOND),
            "a registration returns the clock as well"
        );
        assert!(schedule.is_clock_reading_due(SECOND, start + 2 * SECOND));
    }

    #[test]
    fn tracking_is_tried_again_only_after_a_pause() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert!(!schedule.is_tracking_attempt_due(start), "the connection attempt has tried it");
        assert!(schedule.is_tracking_attempt_due(start + TRACKING_RETRY));
        schedule.record_tracking_attempt(start + TRACKING_RETRY);
        assert!(!schedule.is_tracking_attempt_due(start + TRACKING_RETRY + SECOND));
    }
}
