//! What the in-process tier holds under a key: a typed value, or an error that is worth remembering.

use std::{any::Any, time::Duration};

use crate::clock::{Nanos, nanos};

/// A [`Value`] or a [`Failure`] of some type, with its dates.
pub trait Slot: Any + Send + Sync {
    /// Its dates.
    fn meta(&self) -> &Meta;
}

/// A value that a load returned.
pub struct Value<V> {
    pub(crate) meta: Meta,
    pub(crate) value: V,
}

/// An error that a load returned.
pub struct Failure<E> {
    pub(crate) meta: Meta,
    pub(crate) error: E,
}

impl<V: Send + Sync + 'static> Slot for Value<V> {
    /// Its dates.
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl<E: Send + Sync + 'static> Slot for Failure<E> {
    /// Its dates.
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// The dates and the size of a slot.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// When it came into this process.
    filled_at: Nanos,
    /// How old it was then: more than zero if another process had loaded it.
    age_then: Nanos,
    deadline: Nanos,
    /// Estimated bytes.
    pub(crate) weight: usize,
}

impl Meta {
    /// A slot that is fresh for `ttl` from `now`, and was loaded `age` ago. Overflow means "for ever".
    pub(crate) fn new(now: Nanos, age: Duration, ttl: Duration, weight: usize) -> Self {
        Self { filled_at: now, age_then: nanos(age), deadline: now.saturating_add(nanos(ttl)), weight }
    }

    #[inline]
    pub(crate) fn is_fresh(&self, now: Nanos) -> bool {
        now < self.deadline
    }

    /// When the slot was so old, or when it came into this process if it never was.
    pub(crate) fn moment(&self, age: Duration) -> Nanos {
        self.filled_at.saturating_add(nanos(age).saturating_sub(self.age_then))
    }

    /// How long ago the value was loaded, in whichever process.
    #[inline]
    pub(crate) fn age(&self, now: Nanos) -> Duration {
        Duration::from_nanos(self.age_then.saturating_add(now.saturating_sub(self.filled_at)))
    }
}
