//! For how long an entry may be served without a proof that it is current.

use crate::{
    base::{clock::Nanos, planted::planted},
    coherence::validity::Validity,
    spec::FunctionSpec,
};

/// The bounds of a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staleness {
    /// How old a proof of freshness may be.
    pub(crate) bound: Nanos,
    /// How much older it may be in an outage.
    pub(crate) grace: Nanos,
}

impl Staleness {
    /// The bound of what stands on this claim: a function's own counts while its feed lives, as no message comes about what was read
    /// over another one.
    #[inline]
    pub(crate) fn bound_on(self, site: &FunctionSpec, claim: &Validity) -> Nanos {
        let own = self.bound_of(site);
        if own > self.bound && !claim.line.is_live() { self.bound } else { own }
    }

    /// The same, and its grace: no longer than others count on.
    pub(crate) fn limits(self, site: &FunctionSpec, claim: &Validity) -> (Nanos, Nanos) {
        let bound = self.bound_on(site, claim);
        let longest = self.bound.saturating_add(self.grace);
        (bound, self.grace.min(longest.saturating_sub(bound)))
    }

    /// Others count on this process to serve nothing longer without a proof than the bound and the grace of the cache.
    #[inline]
    pub(crate) fn bound_of(self, site: &FunctionSpec) -> Nanos {
        match site.own_bound() {
            Some(own) if !planted!("bound-of-function-ignored") => {
                own.min(self.bound.saturating_add(self.grace))
            }
            _ => self.bound,
        }
    }
}
