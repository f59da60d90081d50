//! The publication of a value that was loaded under a lease: to L2, and then to L1.
//!
//! The fence decides whether the value is current. While the verdict of L2 is late or unknown, L1 may keep
//! the value under the validity from before the load.
//!
//! Invariant: once the verdict is known, a value that was kept meanwhile is checked with L2 before it is
//! served. `l2::lease` has the fill, and `unleased` the other values.

use std::{pin::pin, time::Duration};

use futures_timer::Delay;

use crate::{
    base::{
        planted::planted,
        race::{Either, either},
    },
    call::publish::publication::Publication,
    coherence::validity::Validity,
    l2::{
        lease::{Lease, Verdict},
        shared::{Fill, own_epoch_name},
    },
    tier::Tier,
};

/// Longest wait of followers for the verdict of L2, or longer if loads of the function cost more.
const VERDICT_TIMEOUT: Duration = Duration::from_millis(50);

impl Publication {
    /// Stores the value in L2, and if L2 has accepted it, in L1.
    ///
    /// The lease is used up, and released if it is unknown whether L2 has the value.
    pub(super) async fn publish_with_lease(self, mut lease: Lease, fill: Fill) {
        let (cache, outdated) = (self.context.cache.clone(), self.outdated_entry_key());
        let (function, binder) = (cache.function(&self.context.spec).clone(), self.leader.binder());
        let (revision, tags) = (lease.revision(), self.value_tags.tags.clone());
        let budget = function.budget(&self.context.spec);
        // The epoch of `detached_validity` is taken now, before `initial_validity` is found intact: no
        // invalidation is missed in between.
        let detached_validity = lease.detached_validity();
        let initial_validity = lease.validity.clone();
        let mut publication = Some(self);
        let mut land_undecided = || {
            let Some(publication) = publication.take() else { return false };
            let validity = if initial_validity.is_intact() {
                detached_validity.clone()
            } else {
                initial_validity.clone()
            };
            publication.publish_undecided(validity, revision);
            true
        };
        let mut was_undecided = planted!("l1-fill-before-verdict") && land_undecided();
        let verdict = {
            let mut filling = pin!(lease.fill(fill, &tags, &function, budget, binder));
            match either(&mut filling, Delay::new(budget.write_limit(VERDICT_TIMEOUT))).await {
                Either::Left(verdict) => verdict,
                Either::Right(()) => {
                    // L2 is slow. Followers get the value, which this process keeps for a moment. But not if
                    // only L2 knows whether the tags of the value were invalidated.
                    was_undecided |= tags.is_empty() && land_undecided();
                    filling.await
                }
            }
        };
        if matches!(verdict, Verdict::Undecided) {
            land_undecided();
            lease.abandon();
            return cache.enqueue_removal(outdated);
        }
        let Some(publication) = publication else {
            if was_undecided {
                // The verdict is known, so the value that was kept meanwhile must be checked with L2 before
                // it is served.
                cache.shared().epochs.end(&own_epoch_name(lease.name()));
            }
            return;
        };
        match verdict {
            Verdict::Stored(validity) => publication.store_in_l1(validity, revision),
            Verdict::Stubbed(validity) => publication.store_unshared(validity, revision),
            Verdict::Rejected if planted!("followers-take-rejected-value") => _ = publication.land(),
            Verdict::Rejected | Verdict::Undecided => publication.reject(),
        }
    }

    /// Releases the lease without a fill, because L2 is overloaded, and publishes to this process.
    pub(super) fn publish_without_fill(self, lease: Lease) {
        let (revision, validity) = (lease.revision(), lease.abandon());
        self.publish_undecided(validity, revision);
    }

    /// Publishes the value to L1 while it is unknown whether L2 has it.
    ///
    /// The validity from before the load decides whether the value may be kept.
    fn publish_undecided(self, validity: Validity, revision: u64) {
        let cache = self.context.cache.clone();
        let Some(validity) = self.value_tags.added_to(validity, cache.shared(), true) else {
            return self.reject();
        };
        if self.value_tags.tags.is_empty() {
            return self.store_in_l1(validity, revision);
        }
        if self.value_tags.may_be_outdated() {
            return self.reject();
        }
        let (now, (bound, grace)) =
            (cache.clock().now(), cache.staleness().limits(&self.context.spec, &validity));
        let is_outage = !cache.shared().tier.ready();
        if validity.is_valid_at(now, bound) || (is_outage && validity.is_valid_in_outage(now, bound, grace)) {
            // With a revision, the entry could be confirmed later without a check of its tags.
            self.store_in_l1(validity, 0);
        } else if is_outage {
            // Too old to be stored. Followers still get the value, so that they need not load it again.
            self.leader.land_if_valid(validity, self.erased, |_, _| ());
        } else {
            self.reject();
        }
    }
}
