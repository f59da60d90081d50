//! Exponential backoff with jitter, for connection attempts and for probes of the breaker.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// A pause that doubles from `min` to `max`, minus a random part.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: RandomState,
    draws: u64,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min, random: RandomState::new(), draws: 0 }
    }

    /// Returns the next pause: between half and all of the current length, which then doubles.
    pub(crate) fn pause(&mut self) -> Duration {
        let length = self.next;
        self.next = length.saturating_mul(2).min(self.max);
        length.saturating_sub(length.mul_f64(self.random_fraction() / 2.0))
    }

    /// Returns the shortest pause, without a random reduction.
    ///
    /// The next pause remains unchanged.
    pub(crate) fn shortest(&self) -> Duration {
        self.min
    }

    /// Restarts with the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }

    /// Returns a random number in the range `0.0..1.0`.
    fn random_fraction(&mut self) -> f64 {
        self.draws = self.draws.wrapping_add(1);
        let bits = u32::try_from(self.random.hash_one(self.draws) >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(1);

    #[test]
    fn pause_doubles_up_to_maximum_and_restarts_after_reset() {
        let mut backoff = Backoff::new(MIN, MAX);
        for length in [50, 100, 200, 400, 800, 1000, 1000].map(Duration::from_millis) {
            let pause = backoff.pause();
            assert!(pause > length / 2 && pause <= length, "{pause:?} of {length:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= MIN);
    }

    #[test]
    fn pauses_of_two_clients_differ() {
        let pauses = || {
            let mut backoff = Backoff::new(MIN, MAX);
            [(); 8].map(|()| backoff.pause())
        };
        assert_ne!(pauses(), pauses());
    }

    #[test]
    fn maximum_pause_does_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        backoff.pause();
        backoff.pause();
    }
}
