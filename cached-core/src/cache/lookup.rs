//! The judgement of an entry of L1: fresh, due, to be checked with L2, or absent.
//!
//! An entry may be served if its validity holds within the staleness bound, or within the outage grace while
//! L2 cannot be reached. `coherence` has the rules, and `call` acts on the result.

use std::{sync::Arc, time::Duration};

use crate::{
    base::clock::Nanos, cache::Cache, key::KeyRef, l1::entry::Entry, spec::FunctionSpec,
    telemetry::stats::Count, tier::Tier,
};

/// Result of a look-up in L1.
pub(crate) enum L1Lookup {
    /// A value that may be served, and its age.
    Fresh(Arc<Entry>, Duration),
    /// A value that is to be loaded again, and may be served until then.
    Due(Arc<Entry>),
    /// A value that must be checked with the shared tier before it is served.
    Suspect(Arc<Entry>),
    Nothing,
}

impl L1Lookup {
    #[inline]
    fn by_age(entry: Arc<Entry>, now: Nanos) -> Self {
        let freshness = entry.erased.freshness();
        if freshness.is_due(now) {
            return Self::Due(entry);
        }
        let age = freshness.age(now);
        Self::Fresh(entry, age)
    }
}

impl Cache {
    /// Looks up a key in L1, and judges the entry.
    pub(crate) fn lookup(&self, spec: &FunctionSpec, key: KeyRef<'_>) -> L1Lookup {
        let clock = self.clock();
        let found = self.0.l1.get(spec, key, clock.now_upper_bound(), || clock.now());
        let Some((entry, now)) = found else { return L1Lookup::Nothing };
        if entry.validity().is_valid_at(now, self.staleness().effective_bound(spec, entry.validity())) {
            return L1Lookup::by_age(entry, now);
        }
        self.lookup_past_bound(entry, now, spec)
    }

    /// Returns whether an entry may be served now without a check, fresh or stale.
    pub(crate) fn may_serve(&self, spec: &FunctionSpec, entry: &Entry) -> bool {
        let validity = entry.validity();
        let (now, (bound, grace)) = (self.clock().now(), self.staleness().limits(spec, validity));
        let is_valid = validity.is_valid_at(now, bound)
            || (!self.shared().tier.ready() && validity.is_valid_in_outage(now, bound, grace));
        is_valid && !entry.may_be_outdated() && entry.erased.freshness().is_usable(now)
    }

    /// Judges an entry that is not valid within the staleness bound.
    ///
    /// While L2 cannot be reached, the entry may still be served for the outage grace.
    #[cold]
    fn lookup_past_bound(&self, entry: Arc<Entry>, now: Nanos, spec: &FunctionSpec) -> L1Lookup {
        let (bound, grace) = self.staleness().limits(spec, entry.validity());
        let is_unreachable = !self.shared().tier.ready();
        if is_unreachable && entry.validity().is_valid_in_outage(now, bound, grace) {
            entry.metrics().add(Count::ServedInOutage);
            return L1Lookup::by_age(entry, now);
        }
        L1Lookup::Suspect(entry)
    }
}
