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
    start: Instant,
    /// Server time at `start`, in microseconds since the Unix epoch; 0 if not known yet.
    server_time_at_start: AtomicU64,
}

impl ServerClock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), server_time_at_start: AtomicU64::new(0) }
    }

    /// Sets the clock from a reply with the server's time, to a request that was sent at `sent`.
    pub(crate) fn update(&self, (seconds, micros): (u64, u64), sent: Instant) {
        let elapsed = sent.saturating_duration_since(self.start).as_micros();
        let server_time = seconds.saturating_mul(1_000_000).saturating_add(micros);
        let server_time_at_start = server_time.saturating_sub(u64::try_from(elapsed).unwrap_or(u64::MAX));
        self.server_time_at_start.store(server_time_at_start, Ordering::Relaxed);
    }

    /// Returns the latest time that the clock may show at `at`.
    ///
    /// The time is in milliseconds since the Unix epoch. Returns `None` if the clock is not known yet.
    pub(crate) fn latest_at(&self, at: Instant) -> Option<u64> {
        let server_time_at_start = self.server_time_at_start.load(Ordering::Relaxed);
        let elapsed = u64::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX);
        (server_time_at_start != 0).then(|| server_time_at_start.saturating_add(elapsed).div_ceil(1000))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clock_continues_from_last_update_and_is_never_behind() {
        let clock = ServerClock::new();
        let sent = clock.start + Duration::from_millis(5);
        assert_eq!(clock.latest_at(sent), None);
        clock.update((100, 250_000), sent);
        assert_eq!(clock.latest_at(sent), Some(100_250));
        assert_eq!(clock.latest_at(sent + Duration::from_micros(1)), Some(100_251));
        assert_eq!(clock.latest_at(sent + Duration::from_secs(2)), Some(102_250));
        clock.update((7, 0), sent);
        assert_eq!(clock.latest_at(sent), Some(7_000), "it was set back");
    }
}
