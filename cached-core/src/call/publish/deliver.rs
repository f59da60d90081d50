//! The delivery of a result that is not stored: to the followers only.
//!
//! A follower may have joined after an invalidation, and must not get a value from before it. An invalidation
//! by this process supersedes the flight, unless it concerns a tag that only the value determines. L2 is
//! asked for the others. If it cannot tell, the staleness bound applies, as to an entry.
//!
//! `change_check` has the question, and `value_tags` the tags.

use super::{Rest, change_check::ChangeCheck, publication::Publication, run_in_background};
use crate::{
    base::background::Job,
    cache::invalidation::{Invalidation, InvalidationTarget},
    call::{
        context::CallContext,
        fill_right::{Ended, FillRight},
    },
    coherence::validity::Validity,
    l2::lease::{claim_tags, revalidate},
};

/// Delivers the result to the followers only, and releases the lease.
///
/// If `invalidates_tiers` is set, values in the tiers are older than the result, and are invalidated.
pub(super) fn deliver_only(
    publication: Publication,
    mut fill_right: FillRight,
    ended: Ended,
    invalidates_tiers: bool,
    job: Option<Job>,
) -> Option<Rest> {
    fill_right.announce_release();
    let invalidation = invalidates_tiers.then(|| {
        let CallContext { cache, spec, entry_key, .. } = &*publication.context;
        Invalidation::new(cache.clone(), Ok(InvalidationTarget::Entry(*spec, Box::new(entry_key.clone()))))
    });
    let is_error = matches!(ended, Ended::Error(_));
    let finish = move |fill_right: FillRight| {
        fill_right.end(&ended);
        // A newer value that is not stored must not leave an older one behind.
        if let Some(invalidation) = invalidation {
            invalidation.spawn();
        }
    };
    let publication = if is_error { publication.land() } else { publication.land_unfollowed() };
    let Some(publication) = publication else {
        finish(fill_right);
        return None;
    };
    if let FillRight::LocalOnly(validity) = &fill_right {
        publication.deliver_without_l2(validity.clone());
        finish(fill_right);
        return None;
    }
    publication.leader.begin_landing();
    run_in_background(&publication.context.cache.clone(), job, async move {
        publication.deliver_unless_changed(&fill_right).await;
        finish(fill_right);
    })
}

impl Publication {
    /// Delivers the value of a load without L2, unless one of its tags was invalidated.
    fn deliver_without_l2(self, validity: Validity) {
        match self.value_tags.added_to(
            validity,
            self.context.cache.shared(),
            self.context.entry_key.is_shared,
        ) {
            // L2 takes part in other calls of this key, and reports no change to a load that did not ask it.
            Some(validity) if self.skips_l2 => self.deliver_within_bound(validity),
            Some(validity) => self.deliver_if_valid(validity),
            None => self.leader.reject(self.erased),
        }
    }

    /// Delivers the value, unless a follower may have joined after an invalidation.
    async fn deliver_unless_changed(self, fill_right: &FillRight) {
        let Some(validity) = self.claim_value_tags(fill_right).await else {
            return self.leader.reject(self.erased);
        };
        // An invalidation from here on supersedes the flight.
        self.leader.bind(&validity);
        let is_unchanged = match self.check_for_changes(&validity).await {
            ChangeCheck::Changed => return self.leader.reject(self.erased),
            ChangeCheck::Unchanged | ChangeCheck::Outage => Some(true),
            ChangeCheck::Unreported => self.is_right_intact(fill_right).await,
            ChangeCheck::Unknown => None,
        };
        match is_unchanged {
            Some(true) => self.deliver_if_valid(validity),
            Some(false) => self.leader.reject(self.erased),
            None => self.deliver_within_bound(validity),
        }
    }

    /// Returns the validity of the load with the tags that only the value determines.
    ///
    /// Returns `None` if one of these tags may have been invalidated during the load.
    async fn claim_value_tags(&self, fill_right: &FillRight) -> Option<Validity> {
        let (validity, shared) = (fill_right.validity().clone(), self.context.cache.shared());
        if self.value_tags.tags.is_empty() {
            return self.value_tags.added_to(validity, shared, true);
        }
        let (position, _) = fill_right.journal()?;
        match claim_tags(shared, &validity, *position, &self.value_tags.tags, shared.lease).await {
            Ok(claimed) => claimed,
            // The tier cannot be asked. It has reported invalidations up to now.
            Err(_) if self.value_tags.may_be_outdated() => None,
            Err(_) => self.value_tags.added_to(validity, shared, true),
        }
    }

    /// Returns whether the tier has what the load had before it began: its lease, or the stub.
    ///
    /// Either ends with any invalidation of the key. Returns `None` if this cannot be found out.
    async fn is_right_intact(&self, fill_right: &FillRight) -> Option<bool> {
        match fill_right {
            FillRight::Everywhere(lease) => lease.is_in_place().await.ok(),
            FillRight::Stub(stub) => {
                let name = &self.context.entry_key.shared_key.text;
                let current =
                    revalidate(self.context.cache.shared(), name, &stub.validity, stub.revision).await;
                current.ok().map(|validity| validity.is_some())
            }
            FillRight::IfUnchanged(_) | FillRight::LocalOnly(_) => None,
        }
    }

    /// Delivers the value if it was current within the staleness bound, since its changes are not reported.
    fn deliver_within_bound(self, validity: Validity) {
        let (bound, _) = self.context.cache.staleness().limits(&self.context.spec, &validity);
        if validity.is_valid_at(self.context.cache.clock().now(), bound) {
            self.deliver_if_valid(validity);
        } else {
            self.leader.reject(self.erased);
        }
    }

    fn deliver_if_valid(self, validity: Validity) {
        self.leader.land_if_valid(validity, self.erased, |_, _| ());
    }
}
