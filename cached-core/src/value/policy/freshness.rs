//! The ttl of a value, and the times that follow from it.
//!
//! These are decisions about a value, without I/O: `cache_if`, `ttl`, `ttl_from`, `jitter`, `stale` and
//! `refresh_ahead` meet here.

use std::time::Duration;

use crate::value::{
    erased::Freshness,
    policy::{Lifespan, LoadContext, TypedPolicy, random},
};

impl<V, E, R> TypedPolicy<V, E, R> {
    pub(super) fn is_empty(&self, value: &V) -> bool {
        self.is_empty.is_some_and(|is_empty| is_empty(value))
    }

    pub(super) fn freshness_at(&self, lifespan: Lifespan, weight: usize) -> Freshness {
        let freshness = Freshness::new(lifespan.now, lifespan.age, lifespan.remaining, weight);
        let freshness = self.refresh_ahead.map_or(freshness, |share| freshness.with_refresh_ahead(share));
        freshness.with_stale(lifespan.stale.min(self.stale_period()))
    }

    pub(super) fn stale_period(&self) -> Duration {
        self.stale.map_or(Duration::ZERO, |stale| stale())
    }

    /// Returns the time for which to keep the value; `None` if not at all.
    pub(super) fn ttl_of(&self, value: &V, context: &LoadContext) -> Option<Duration> {
        if self.cache_if.is_some_and(|keep| !keep(value)) || (!self.caches_empty && self.is_empty(value)) {
            return None;
        }
        let own_ttl = || match self.empty_ttl.filter(|_| self.is_empty(value)) {
            Some(ttl) => ttl,
            None => self.ttl_from.map_or_else(self.ttl, |from| from(value)),
        };
        let ttl = context.ttl.unwrap_or_else(own_ttl);
        let random = || context.random.unwrap_or_else(random);
        let ttl = match if self.jitter > 0.0 { self.jitter * random() } else { 0.0 } {
            0.0 => ttl,
            // A ttl that is too long to be multiplied is too long for the jitter to matter.
            reduction => Duration::try_from_secs_f64(ttl.as_secs_f64() * (1.0 - reduction)).unwrap_or(ttl),
        };
        (!ttl.is_zero()).then_some(ttl)
    }
}
