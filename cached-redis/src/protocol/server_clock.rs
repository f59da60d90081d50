//! Estimate of a server's clock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// Upper bound of a server's clock, updated with each registration.
///
/// Values and leases record their end by this clock, so that a hit need not query how much time is left. The
/// server reads its clock after the request was sent, so the estimate is never behind that clock. A value may
/// seem to end a round trip too early, and never too late.
#[derive(Debug)]
pub(crate) struct ServerClock {
    began: Instant,
    /// Server time at `began`, in microseconds since the Unix epoch; 0 if not known yet.
    then: AtomicU64,
}

impl ServerClock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), then: AtomicU64::new(0) }
    }

    /// Sets the clock from a reply with the server's time, to a request that was sent at `sent`.
    pub(crate) fn learn(&self, (seconds, micros): (u64, u64), sent: Instant) {
        let passed = sent.saturating_duration_since(self.began).as_micros();
        let shown = seconds.saturating_mul(1_000_000).saturating_add(micros);
        let then = shown.saturating_sub(u64::try_from(passed).unwrap_or(u64::MAX));
        self.then.store(then, Ordering::Relaxed);
    }

    /// Returns the latest time that the clock may show at `at`.
    ///
    /// The time is in milliseconds since the Unix epoch. Returns `None` if the clock is not known yet.
    pub(crate) fn at(&self, at: Instant) -> Option<u64> {
        let then = self.then.load(Ordering::Relaxed);
        let passed = u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX);
        (then != 0).then(|| then.saturating_add(passed).div_ceil(1000))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_goes_on_from_the_last_answer_and_is_never_behind() {
        let clock = ServerClock::new();
        let sent = clock.began + Duration::from_millis(5);
        assert_eq!(clock.at(sent), None);
        clock.learn((100, 250_000), sent);
        assert_eq!(clock.at(sent), Some(100_250));
        assert_eq!(clock.at(sent + Duration::from_micros(1)), Some(100_251));
        assert_eq!(clock.at(sent + Duration::from_secs(2)), Some(102_250));
        clock.learn((7, 0), sent);
        assert_eq!(clock.at(sent), Some(7_000), "it was set back");
    }
}
