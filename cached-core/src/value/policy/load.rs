//! The input and the output of a split: the context of a load, and the parts of its result.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use crate::{base::clock::Nanos, value::erased::ErasedValue};

/// Time at which a load ended, and the caller's settings for its value.
#[derive(Clone, Copy, Debug)]
pub struct LoadContext {
    /// Current time.
    pub now: Nanos,
    /// Ttl that overrides the function's own; zero keeps nothing.
    pub ttl: Option<Duration>,
    /// Random number between 0 and 1 for the jitter; `None` draws one if there is a jitter.
    pub random: Option<f64>,
}

impl LoadContext {
    pub(crate) fn new(now: Nanos, ttl: Option<Duration>) -> Self {
        Self { now, ttl, random: None }
    }
}

/// Returns a random number between 0 and 1.
pub(crate) fn random() -> f64 {
    // Each `RandomState` has another key. The number only spreads expiries, so this is random enough.
    let [a, b, c, d, ..] = RandomState::new().hash_one(0_u8).to_le_bytes();
    f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// The part of a load's result that others share.
pub struct LoadedValue {
    /// Content for followers and tiers; `None` if it cannot be shared.
    pub erased: Option<Arc<dyn ErasedValue>>,
    /// Time for which `erased` may be kept; `None` if not at all.
    pub ttl: Option<Duration>,
    /// `true` if the load returned an error.
    pub is_error: bool,
}
