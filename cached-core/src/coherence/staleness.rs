//! Limits on the age of a validity: the staleness bound and the outage grace.
//!
//! Other processes rely on these limits: a confirmed invalidation waits for a vanished process only until
//! they end its right to serve. So no function's own bound exceeds the bound plus the grace of its cache.

use crate::{
    base::{clock::Nanos, planted::planted},
    coherence::validity::Validity,
    spec::FunctionSpec,
};

/// Staleness limits of a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staleness {
    /// Greatest age of the proof that an entry is current.
    pub(crate) bound: Nanos,
    /// Additional age that is allowed in an outage.
    pub(crate) grace: Nanos,
}

impl Staleness {
    /// Returns the bound for a validity of this function.
    ///
    /// A bound of the function that is longer than the cache's counts only while the change feed is live. No
    /// notification arrives about a value that was read over another feed.
    #[inline]
    pub(crate) fn effective_bound(self, spec: &FunctionSpec, validity: &Validity) -> Nanos {
        let own = self.function_bound(spec);
        if own > self.bound && !validity.feed.is_live() { self.bound } else { own }
    }

    /// Returns the bound and the grace for a validity. Their sum never exceeds that of the cache, on which
    /// other processes rely.
    pub(crate) fn limits(self, spec: &FunctionSpec, validity: &Validity) -> (Nanos, Nanos) {
        let bound = self.effective_bound(spec, validity);
        let longest = self.bound.saturating_add(self.grace);
        (bound, self.grace.min(longest.saturating_sub(bound)))
    }

    /// Returns the function's own bound, capped at the bound plus the grace of the cache; without one, the
    /// cache's bound.
    ///
    /// Other processes rely on this process to serve no value longer without a proof.
    #[inline]
    pub(crate) fn function_bound(self, spec: &FunctionSpec) -> Nanos {
        match spec.own_bound() {
            Some(own) if !planted!("bound-of-function-ignored") => {
                own.min(self.bound.saturating_add(self.grace))
            }
            _ => self.bound,
        }
    }
}
