//! Type-erased content of an L1 entry: a value, or an error that is worth caching.

use std::{any::Any, time::Duration};

use crate::base::clock::{Nanos, nanos};

/// A [`Value`] or a [`Failure`] of some type, with its times.
pub trait ErasedValue: Any + Send + Sync {
    /// Returns the times and the weight.
    fn freshness(&self) -> &Freshness;
}

/// A value that a load returned.
pub struct Value<V> {
    pub(crate) freshness: Freshness,
    pub(crate) value: V,
}

/// An error that a load returned.
pub struct Failure<E> {
    pub(crate) freshness: Freshness,
    pub(crate) error: E,
}

impl<V: Send + Sync + 'static> ErasedValue for Value<V> {
    /// Returns the times and the weight of the value.
    fn freshness(&self) -> &Freshness {
        &self.freshness
    }
}

impl<E: Send + Sync + 'static> ErasedValue for Failure<E> {
    /// Returns the times and the weight of the error.
    fn freshness(&self) -> &Freshness {
        &self.freshness
    }
}

/// Times and estimated size of a [`Value`] or a [`Failure`].
///
/// `due` <= `deadline` <= `usable_until`, all on the monotonic clock of this process.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// Time of the load, in whichever process: negative if that was before the clock of this process began.
    loaded_at: i64,
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
        let signed = |time: Nanos| i64::try_from(time).unwrap_or(i64::MAX);
        Self {
            loaded_at: signed(now).saturating_sub(signed(nanos(age))),
            deadline,
            usable_until: deadline,
            due: deadline,
            weight,
        }
    }

    /// Lets the value be served for `stale` after its deadline.
    pub(crate) fn with_stale(self, stale: Duration) -> Self {
        Self { usable_until: self.deadline.saturating_add(nanos(stale)), ..self }
    }

    /// Makes the value due after this share of its life.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share needs no precision"
    )]
    pub(crate) fn with_refresh_ahead(self, share: f64) -> Self {
        let due = self.time_at_age((self.lifetime() as f64 * share) as Nanos);
        Self { due: due.min(self.deadline), ..self }
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

    /// Returns the time of the load, or zero if that was before the clock of this process began.
    pub(crate) fn loaded_at(&self) -> Nanos {
        self.time_at_age(0)
    }

    /// Returns the end of the time in which the value may be served, fresh or stale.
    pub(crate) fn usable_until(&self) -> Nanos {
        self.usable_until
    }

    /// Returns the time from which the value is to be loaded again.
    pub(crate) fn due(&self) -> Nanos {
        self.due
    }

    /// Returns whether the value may be served while it is to be loaded again.
    pub(crate) fn is_ever_due(&self) -> bool {
        self.due < self.usable_until
    }

    /// Returns whether the value is to be loaded again.
    #[inline]
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        now >= self.due
    }

    /// Returns the time from the load, in whichever process, to the deadline.
    pub(crate) fn lifetime(&self) -> Nanos {
        self.age_nanos(self.deadline)
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
        reason = "a share needs no precision"
    )]
    pub(crate) fn renewal_time(&self, random: f64) -> Nanos {
        const LATEST: f64 = 0.9;
        let latest = (self.lifetime() as f64 * LATEST).min(self.age_nanos(self.due) as f64);
        self.time_at_age((latest * (1.0 - random / 6.0)) as Nanos)
    }

    /// Returns the time since the value was loaded, in whichever process.
    #[inline]
    pub(crate) fn age(&self, now: Nanos) -> Duration {
        Duration::from_nanos(self.age_nanos(now))
    }

    #[inline]
    fn age_nanos(&self, now: Nanos) -> Nanos {
        let distance = self.loaded_at.unsigned_abs();
        if self.loaded_at < 0 { now.saturating_add(distance) } else { now.saturating_sub(distance) }
    }

    /// Returns the time at which the value has this age: zero if that was before the clock of this process began.
    fn time_at_age(&self, age: Nanos) -> Nanos {
        let distance = self.loaded_at.unsigned_abs();
        if self.loaded_at < 0 { age.saturating_sub(distance) } else { age.saturating_add(distance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_becomes_due_then_stale_then_unusable() {
        let second = Duration::from_secs(1);
        let freshness = Freshness::new(100, Duration::ZERO, 10 * second, 0)
            .with_stale(5 * second)
            .with_refresh_ahead(0.8);
        let at = |seconds: u64| 100 + seconds * 1_000_000_000;
        let states = [7, 8, 9, 10, 14, 15].map(|seconds| {
            let now = at(seconds);
            (freshness.is_due(now), freshness.is_fresh(now), freshness.is_usable(now))
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
        let freshness = Freshness::new(100, 5 * second, 5 * second, 0).with_refresh_ahead(0.8);
        assert!(!freshness.is_due(at(2)) && freshness.is_due(at(3)));
        assert!(Freshness::new(100, 9 * second, second, 0).with_refresh_ahead(0.8).is_due(100));
        assert!(
            !Freshness::new(0, Duration::ZERO, Duration::MAX, 0).with_refresh_ahead(0.5).is_due(u64::MAX / 4)
        );
    }

    #[test]
    fn renewal_time_is_at_most_90_percent_of_the_lifetime_and_not_after_due() {
        let second = Duration::from_secs(1);
        let seconds = |freshness: Freshness| {
            [0.0, 1.0].map(|random| freshness.renewal_time(random).saturating_sub(100) / 10_000_000)
        };
        let freshness = Freshness::new(100, Duration::ZERO, 10 * second, 0);
        assert_eq!(seconds(freshness), [900, 750]);
        assert_eq!(seconds(freshness.with_stale(100 * second)), [900, 750]);
        assert_eq!(seconds(freshness.with_refresh_ahead(0.6)), [600, 500]);
        // When the value arrived, half of its life was over, or all of the part before a renewal.
        assert_eq!(seconds(Freshness::new(100, 5 * second, 5 * second, 0)), [400, 250]);
        assert_eq!(seconds(Freshness::new(100, 19 * second, second, 0)), [0, 0]);
        assert!(Freshness::new(100, Duration::ZERO, Duration::MAX, 0).renewal_time(1.0) > u64::MAX / 2);
    }
}
