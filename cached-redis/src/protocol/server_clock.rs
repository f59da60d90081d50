//! A server's clock, as far as this process knows it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// What the clock of a server shows. It is asked for with each registration.
///
/// Values and leases say when they end by this clock, so that a hit need not ask how much time is left. It was read after it
/// was asked for, so what this tells is never behind it: a value may seem to end a round trip too early, and never too late.
#[derive(Debug)]
pub(crate) struct ServerClock {
    began: Instant,
    /// What it showed at `began`, in microseconds since the Unix epoch; 0 if it has not been asked yet.
    then: AtomicU64,
}

impl ServerClock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), then: AtomicU64::new(0) }
    }

    /// A question that was sent at `sent` was answered with this time.
    pub(crate) fn learn(&self, (seconds, micros): (u64, u64), sent: Instant) {
        let passed = sent.saturating_duration_since(self.began).as_micros();
        let shown = seconds.saturating_mul(1_000_000).saturating_add(micros);
        let then = shown.saturating_sub(u64::try_from(passed).unwrap_or(u64::MAX));
        self.then.store(then, Ordering::Relaxed);
    }

    /// What it shows at most, in milliseconds since the Unix epoch; `None` if it has not been asked yet.
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
