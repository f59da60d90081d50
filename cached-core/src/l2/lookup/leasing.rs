//! Requests for the right to load: for a lease, or beside a stub.
//!
//! The generations of the load's tags come with the right, in the same round trip. They are kept until the
//! value is stored, so that an invalidation of a tag is noticed.
//!
//! Invariants: the epochs of all names are taken before the tier is asked, and no lease that may have been
//! granted is forgotten (`LeaseAttempt`). `l2::lease` holds a granted lease from here on.

use std::time::Duration;

use crate::{
    base::planted::planted,
    coherence::validity::Validity,
    error::tier::TierError,
    l2::{
        lease::{Lease, LeaseAttempt},
        lookup::{LookupOutcome, SharedLookup, Stub},
    },
    telemetry::stats::Count,
    tier::{LeaseMode, LeaseReply, LeaseRequest, Revision, TagRequest, Tier},
};

/// Additional time for which generations of tags are kept, because the value has yet to be loaded.
///
/// A load that takes longer renews them.
const LOAD_ALLOWANCE: Duration = Duration::from_secs(60);

/// Time for which generations are kept if only the value determines its ttl, and no fill can extend them.
const UNKNOWN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Result of a request for a lease.
pub(super) enum Leasing {
    Held(Lease),
    Busy(Duration, Validity),
    /// The tier has a value that this call has not read.
    ValueChanged,
    Unknown,
}

impl SharedLookup<'_> {
    /// Requests a lease, with the generations of the tags.
    pub(super) async fn request_lease(&self, mode: LeaseMode) -> Leasing {
        let (shared, name) = (self.shared, &self.entry_key.shared_key);
        let validity = shared.detached_validity(&name.text, &self.entry_key.tags);
        let tags = &self.entry_key.tags;
        if !shared.tier.ready() || self.is_pending(tags) {
            return Leasing::Unknown;
        }
        // This epoch, too, is taken before the tier is asked.
        let journal_epoch = self.policy.has_value_tags().then(|| shared.epoch(&shared.journal_key()));
        let lease = shared.lease_length(!self.coalesce, self.function);
        let attempt = LeaseAttempt::new(shared, &name.text, lease);
        let token = attempt.token();
        let request = LeaseRequest { key: &name.text, token, lease, mode };
        // If only the value determines the ttl, the fill extends the generations.
        let keep = self.tag_retention(Duration::ZERO);
        let tag_request = TagRequest { keys: tags, keep, needs_position: journal_epoch.is_some() };
        let leased = match shared.tier.lease_within(&[request], tag_request, self.budget).await {
            Ok(leased) => leased,
            Err(error) => {
                self.function.add(Count::SharedReadError);
                if matches!(error, TierError::Refused(_)) {
                    // A load without a lease follows, and a later release of this lease must not invalidate
                    // it. If only the lease was requested, the refusal means that it was not granted.
                    // Otherwise it is released now.
                    match tag_request {
                        TagRequest { keys: [], needs_position: false, .. } => attempt.set_refused(),
                        _ => attempt.withdraw().await,
                    }
                }
                return Leasing::Unknown;
            }
        };
        let validity = Validity { feed: leased.feed, ..validity }.with_generations(leased.generations);
        match leased.replies.first() {
            Some(LeaseReply::Granted) => Leasing::Held(attempt.into_lease(
                name.clone(),
                validity,
                keep,
                leased.position.zip(journal_epoch),
            )),
            Some(LeaseReply::HeldElsewhere(left)) => {
                attempt.set_refused();
                Leasing::Busy(*left, validity)
            }
            Some(LeaseReply::ValueChanged) => {
                attempt.set_refused();
                Leasing::ValueChanged
            }
            None => Leasing::Unknown,
        }
    }

    /// Prepares a load beside a stub. It needs no lease, as nothing is stored, but its tags must be known
    /// before it begins.
    pub(super) async fn beside_stub(&self, validity: Validity, revision: Revision) -> LookupOutcome {
        let (shared, keys) = (self.shared, &self.entry_key.tags);
        // This epoch, too, is taken before the tier is asked.
        let journal_epoch = self.policy.has_value_tags().then(|| shared.epoch(&shared.journal_key()));
        if keys.is_empty() && journal_epoch.is_none() {
            return LookupOutcome::Stub(Stub { validity, revision, journal: None });
        }
        let request = TagRequest {
            keys,
            keep: self.tag_retention(UNKNOWN_TTL),
            needs_position: journal_epoch.is_some(),
        };
        let Ok(leased) = shared.tier.lease_within(&[], request, self.budget).await else {
            self.function.add(Count::SharedReadError);
            return self.without_tier(None);
        };
        let validity = validity.with_generations(leased.generations);
        LookupOutcome::Stub(Stub { validity, revision, journal: leased.position.zip(journal_epoch) })
    }

    /// Returns how long the generations of a load's tags are kept.
    ///
    /// `unknown_ttl` stands for the ttl if only the value determines it.
    fn tag_retention(&self, unknown_ttl: Duration) -> Duration {
        if planted!("tag-kept-for-load") {
            return self.shared.lease;
        }
        // The lease of a load for one process is not renewed, and is longer for that reason.
        let load_time = self.shared.lease_length(!self.coalesce, self.function).max(LOAD_ALLOWANCE);
        let ttl = self.ttl.or_else(|| self.policy.ttl_hint()).unwrap_or(unknown_ttl);
        ttl.saturating_add(self.policy.stale()).saturating_add(load_time)
    }
}
