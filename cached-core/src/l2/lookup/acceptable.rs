//! The condition on a value that a lookup finds.
//!
//! The decision depends only on the lifespan, the revision and the time. So it needs neither a clock nor the
//! tier. `classify` applies the condition to values of the tier, and `outage` to the entry of this process.

use crate::{base::clock::Nanos, l2::lookup::SharedLookup, tier::Revision, value::erased::Freshness};

/// Values that a lookup accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptable {
    /// Fresh values.
    Fresh,
    /// Values that may be served, fresh or stale.
    Usable,
    /// Values that are not due: the caller has an older one to serve meanwhile.
    Newer,
    /// Values that are not due and have another revision, although the value of this one is not due either.
    Another(Revision),
}

impl Acceptable {
    /// Returns whether a value with this lifespan is fresh enough.
    pub(super) fn is_fresh_enough(self, freshness: &Freshness, now: Nanos) -> bool {
        match self {
            Self::Fresh => freshness.is_fresh(now),
            Self::Usable => freshness.is_usable(now),
            Self::Newer | Self::Another(_) => !freshness.is_due(now),
        }
    }
}

impl SharedLookup<'_> {
    /// Returns whether a value with this revision and this lifespan is acceptable.
    pub(super) fn is_acceptable(&self, freshness: &Freshness, revision: Revision, now: Nanos) -> bool {
        let is_known_revision = self.acceptable == Acceptable::Another(revision);
        !is_known_revision
            && self.acceptable.is_fresh_enough(freshness, now)
            && self.max_age.is_none_or(|max| freshness.age(now) <= max)
    }
}
