//! What the in-process tier holds under a key: a typed value, or an error that is worth remembering.

use std::{any::Any, time::Duration};

use crate::base::clock::{Nanos, nanos};

/// A [`Value`] or a [`Failure`] of some type, with its dates.
pub trait ErasedValue: Any + Send + Sync {
    /// Its dates.
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
    /// Its dates.
    fn meta(&self) -> &Freshness {
        &self.meta
    }
}

impl<E: Send + Sync + 'static> ErasedValue for Failure<E> {
    /// Its dates.
    fn meta(&self) -> &Freshness {
        &self.meta
    }
}

/// The dates and the size of a slot.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// When it came into this process.
    filled_at: Nanos,
    /// How old it was then: more than zero if another process had loaded it.
    age_then: Nanos,
    deadline: Nanos,
    /// Until when it may be served although it is not fresh any more.
    usable_until: Nanos,
    /// From when on it is to be loaded again: at the latest when it is not fresh any more.
    due: Nanos,
    /// Estimated bytes.
    pub(crate) weight: usize,
}

impl Freshness {
    /// A slot that is fresh for `ttl` from `now`, and was loaded `age` ago. Overflow means "for ever".
    pub(crate) fn new(now: Nanos, age: Duration, ttl: Duration, weight: usize) -> Self {
        let deadline = now.saturating_add(nanos(ttl));
        Self { filled_at: now, age_then: nanos(age), deadline, usable_until: deadline, due: deadline, weight }
    }

    /// It may be served for so long after it was fresh.
    pub(crate) fn usable_for(self, stale: Duration) -> Self {
        Self { usable_until: self.deadline.saturating_add(nanos(stale)), ..self }
    }

    /// It is to be loaded again at this share of its life.
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

    /// Fresh, or stale and still good enough.
    #[inline]
    pub(crate) fn is_usable(&self, now: Nanos) -> bool {
        now < self.usable_until
    }

    /// From when on it is to be loaded again.
    pub(crate) fn due(&self) -> Nanos {
        self.due
    }

    /// Whether it is to be loaded again.
    #[inline]
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        now >= self.due
    }

    /// From when to when it is over.
    pub(crate) fn life(&self) -> Nanos {
        self.deadline.saturating_sub(self.filled_at).saturating_add(self.age_then)
    }

    /// When a slot that is kept warm is loaded again: a little before that would be too late, or before a hit would do it. At
    /// most a sixth of the time until then is cut, by `random` between 0 and 1.
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

    /// How long ago the value was loaded, in whichever process.
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
        // Half of its life was over when it came.
        let meta = Freshness::new(100, 5 * second, 5 * second, 0).due_at(0.8);
        assert!(!meta.is_due(at(2)) && meta.is_due(at(3)));
        assert!(Freshness::new(100, 9 * second, second, 0).due_at(0.8).is_due(100));
        assert!(!Freshness::new(0, Duration::ZERO, Duration::MAX, 0).due_at(0.5).is_due(u64::MAX / 4));
    }

    #[test]
    fn what_is_kept_warm_is_loaded_again_before_it_is_due() {
        let second = Duration::from_secs(1);
        let seconds = |meta: Freshness| [0.0, 1.0].map(|random| (meta.renewal(random) - 100) / 10_000_000);
        let meta = Freshness::new(100, Duration::ZERO, 10 * second, 0);
        assert_eq!(seconds(meta), [900, 750]);
        assert_eq!(seconds(meta.usable_for(100 * second)), [900, 750]);
        assert_eq!(seconds(meta.due_at(0.6)), [600, 500]);
        // Half of its life was over when it came, or all that was to be used.
        assert_eq!(seconds(Freshness::new(100, 5 * second, 5 * second, 0)), [400, 250]);
        assert_eq!(seconds(Freshness::new(100, 19 * second, second, 0)), [0, 0]);
        assert!(Freshness::new(100, Duration::ZERO, Duration::MAX, 0).renewal(1.0) > u64::MAX / 2);
    }
}
