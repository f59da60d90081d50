//! Type-erased content of an L1 entry: a value, or an error that is worth caching.

use std::{any::Any, time::Duration};

use crate::base::clock::{Nanos, nanos};

/// A [`Value`] or a [`Failure`] of some type, with its times.
pub trait ErasedValue: Any + Send + Sync {
    /// Returns the times and the weight.
    fn meta(&self) -> &Freshness;
}

/// A value that a load returned.
pub struct Value<V> {
    pub(crate) meta: Freshness,
    pub(crate) value: V,
}

/// An error that a load returned.
pub struct Failure<E> {
    pub(crate) meta: Freshness,
    pub(crate) error: E,
}

impl<V: Send + Sync + 'static> ErasedValue for Value<V> {
    /// Returns the times and the weight of the value.
    fn meta(&self) -> &Freshness {
        &self.meta
    }
}

impl<E: Send + Sync + 'static> ErasedValue for Failure<E> {
    /// Returns the times and the weight of the error.
    fn meta(&self) -> &Freshness {
        &self.meta
    }
}

/// Times and estimated size of a [`Value`] or a [`Failure`].
///
/// `filled_at` <= `due` <= `deadline` <= `usable_until`, all on the monotonic clock of this process.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// Time at which this process received the value.
    filled_at: Nanos,
    /// Age of the value at that time: more than zero if another process had loaded it.
    age_then: Nanos,
    /// End of the time in which the value is fresh.
    deadline: Nanos,
    /// End of the time in which the value may be served, fresh or stale.
    usable_until: Nanos,
    /// Time from which the value is to be loaded again, at the latest `deadline`.
    due: Nanos,
    /// Estimated bytes.
    pub(crate) weight: usize,
}

impl Freshness {
    /// Creates the times of a value that is fresh for `ttl` from `now`, and was loaded `age` ago.
    ///
    /// An overflow means "for ever".
    pub(crate) fn new(now: Nanos, age: Duration, ttl: Duration, weight: usize) -> Self {
        let deadline = now.saturating_add(nanos(ttl));
        Self { filled_at: now, age_then: nanos(age), deadline, usable_until: deadline, due: deadline, weight }
    }

    /// Lets the value be served for `stale` after its deadline.
    pub(crate) fn usable_for(self, stale: Duration) -> Self {
        Self { usable_until: self.deadline.saturating_add(nanos(stale)), ..self }
    }

    /// Makes the value due after this share of its life.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share"
    )]
    pub(crate) fn due_at(self, share: f64) -> Self {
        let due = ((self.life() as f64 * share) as Nanos).saturating_sub(self.age_then);
        Self { due: self.filled_at.saturating_add(due).min(self.deadline), ..self }
    }

    #[inline]
    pub(crate) fn is_fresh(&self, now: Nanos) -> bool {
        now < self.deadline
    }

    /// Returns whether the value may be served: it is fresh, or stale within its limit.
    #[inline]
    pub(crate) fn is_usable(&self, now: Nanos) -> bool {
        now < self.usable_until
    }

    /// Returns the time from which the value is to be loaded again.
    pub(crate) fn due(&self) -> Nanos {
        self.due
    }

    /// Returns whether the value is to be loaded again.
    #[inline]
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        now >= self.due
    }

    /// Returns the time from the load, in whichever process, to the deadline.
    pub(crate) fn life(&self) -> Nanos {
        self.deadline.saturating_sub(self.filled_at).saturating_add(self.age_then)
    }

    /// Returns the time at which a value that is kept warm is loaded again.
    ///
    /// This is after 90 % of its life, a little before a load would come too late, or at `due` if that is
    /// earlier, because a hit would then start the load. `random`, between 0 and 1, cuts at most a sixth of
    /// the time from the first load until then.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share"
    )]
    pub(crate) fn renewal(&self, random: f64) -> Nanos {
        const LATEST: f64 = 0.9;
        let ahead = self.due.saturating_sub(self.filled_at).saturating_add(self.age_then);
        let latest = (self.life() as f64 * LATEST).min(ahead as f64);
        let age = (latest * (1.0 - random / 6.0)) as Nanos;
        self.filled_at.saturating_add(age.saturating_sub(self.age_then))
    }

    /// Returns the time since the value was loaded, in whichever process.
    #[inline]
    pub(crate) fn age(&self, now: Nanos) -> Duration {
        Duration::from_nanos(self.age_then.saturating_add(now.saturating_sub(self.filled_at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_due_then_stale_then_over() {
        let second = Duration::from_secs(1);
        let meta = Freshness::new(100, Duration::ZERO, 10 * second, 0).usable_for(5 * second).due_at(0.8);
        let at = |seconds: u64| 100 + seconds * 1_000_000_000;
        let states = [7, 8, 9, 10, 14, 15].map(|seconds| {
            let now = at(seconds);
            (meta.is_due(now), meta.is_fresh(now), meta.is_usable(now))
        });
        let expected = [
            (false, true, true),
            (true, true, true),
            (true, true, true),
            (true, false, true),
            (true, false, true),
            (true, false, false),
        ];
        assert_eq!(states, expected);
        // Half of the life was over when the value arrived.
        let meta = Freshness::new(100, 5 * second, 5 * second, 0).due_at(0.8);
        assert!(!meta.is_due(at(2)) && meta.is_due(at(3)));
        assert!(Freshness::new(100, 9 * second, second, 0).due_at(0.8).is_due(100));
        assert!(!Freshness::new(0, Duration::ZERO, Duration::MAX, 0).due_at(0.5).is_due(u64::MAX / 4));
    }

    #[test]
    fn renewal_is_scheduled_before_the_value_is_due() {
        let second = Duration::from_secs(1);
        let seconds = |meta: Freshness| [0.0, 1.0].map(|random| (meta.renewal(random) - 100) / 10_000_000);
        let meta = Freshness::new(100, Duration::ZERO, 10 * second, 0);
        assert_eq!(seconds(meta), [900, 750]);
        assert_eq!(seconds(meta.usable_for(100 * second)), [900, 750]);
        assert_eq!(seconds(meta.due_at(0.6)), [600, 500]);
        // When the value arrived, half of its life was over, or all of the part before a renewal.
        assert_eq!(seconds(Freshness::new(100, 5 * second, 5 * second, 0)), [400, 250]);
        assert_eq!(seconds(Freshness::new(100, 19 * second, second, 0)), [0, 0]);
        assert!(Freshness::new(100, Duration::ZERO, Duration::MAX, 0).renewal(1.0) > u64::MAX / 2);
    }
}
