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
    drawn: u64,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min, random: RandomState::new(), drawn: 0 }
    }

    /// Returns the next pause: between half and all of the current length, which then doubles.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.max);
        whole.saturating_sub(whole.mul_f64(self.share() / 2.0))
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
    fn share(&mut self) -> f64 {
        self.drawn = self.drawn.wrapping_add(1);
        let bits = u32::try_from(self.random.hash_one(self.drawn) >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(1);

    #[test]
    fn it_doubles_up_to_its_bound_and_starts_again() {
        let mut backoff = Backoff::new(MIN, MAX);
        for whole in [50, 100, 200, 400, 800, 1000, 1000].map(Duration::from_millis) {
            let pause = backoff.pause();
            assert!(pause > whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= MIN);
    }

    #[test]
    fn two_clients_do_not_pause_alike() {
        let pauses = || {
            let mut backoff = Backoff::new(MIN, MAX);
            [(); 8].map(|()| backoff.pause())
        };
        assert_ne!(pauses(), pauses());
    }

    #[test]
    fn the_longest_possible_pause_does_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        backoff.pause();
        backoff.pause();
    }
}
