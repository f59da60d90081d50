//! The outcome of a lookup while the tier cannot be asked.
//!
//! The entry of this process is served within the grace. Otherwise the call loads alone, under the own epoch
//! of the name. `coherence::staleness` has the bounds, and `l2::shared` the own epochs.

use std::sync::Arc;

use crate::{
    coherence::validity::Validity,
    l1::entry::Entry,
    l2::lookup::{Acceptable, LookupOutcome, SharedLookup},
};

impl SharedLookup<'_> {
    /// Returns the entry of this process if it may be served, or else the right to load alone.
    pub(super) fn without_tier(&self, fallback: Option<&Arc<Entry>>) -> LookupOutcome {
        match self.serve_in_outage(fallback) {
            Some(entry) => LookupOutcome::Entry(entry),
            None => LookupOutcome::Alone(self.unleased_validity()),
        }
    }

    /// Returns the validity of a load without a lease, after the tier did not answer or refused.
    ///
    /// Other processes cannot revoke such a load. It depends on the own epoch of the name: a lease may have
    /// been granted all the same and is then released, and that release must not invalidate the load.
    fn unleased_validity(&self) -> Validity {
        let epoch = self.shared.own_epoch(&self.entry_key.shared_key.text);
        self.shared.detached_validity_on(epoch, &self.entry_key.tags)
    }

    /// Returns `fallback` if it may be served without a reply of the tier.
    pub(super) fn serve_in_outage(&self, fallback: Option<&Arc<Entry>>) -> Option<Arc<Entry>> {
        let now = self.shared.clock.now();
        let may_serve = |entry: &&Arc<Entry>| {
            let (bound, grace) = self.staleness.limits(self.spec, entry.validity());
            let wants_other = matches!(self.acceptable, Acceptable::Another(_));
            !wants_other
                && self.acceptable.is_fresh_enough(entry.erased.freshness(), now)
                && entry.validity().is_valid_in_outage(now, bound, grace)
        };
        fallback.filter(may_serve).cloned()
    }
}
