//! The tags that only the value determines, which join the validity of a load after it.
//!
//! Such a tag may have been invalidated during the load, before this process took an epoch of it. The
//! journal of the tier shows this: it has all invalidated tags since the position that came with the lease.
//!
//! Invariant: the epochs of the tags are taken before the outbox and the tier are asked. `fill` adds these
//! tags for a value that is stored, and `call::publish` for one that is only delivered.

use std::{sync::Arc, time::Duration};

use crate::{
    base::{clock::nanos, planted::planted},
    coherence::validity::Validity,
    error::tier::TierError,
    l2::{lease::Lease, shared::Shared},
    tier::{JournalPosition, TagRequest, Tier, feed::ChangeFeed},
};

impl Lease {
    /// Adds tags that were not known before the load. Returns whether none was invalidated since then.
    pub(super) async fn add_tags(&mut self, tags: &[String], keep: Duration) -> Result<bool, TierError> {
        let Some((since, _)) = &self.journal else { return Ok(false) };
        let (requested_at, is_first) = (self.shared.clock.now(), self.validity.tags.is_empty());
        let Some(validity) = claim_tags(&self.shared, &self.validity, *since, tags, keep).await? else {
            return Ok(false);
        };
        self.validity = validity;
        if is_first {
            self.tags_kept_until = requested_at.saturating_add(nanos(keep));
        }
        Ok(true)
    }
}

/// Returns `validity` with tags that were not known before the load, if none was invalidated since `since`.
pub(crate) async fn claim_tags(
    shared: &Arc<Shared>,
    validity: &Validity,
    since: JournalPosition,
    tags: &[String],
    keep: Duration,
) -> Result<Option<Validity>, TierError> {
    let epochs: Vec<_> = tags.iter().map(|tag| shared.epoch(tag)).collect();
    // The outbox is checked after the epochs are taken: an undelivered invalidation is added to it before the
    // epochs end.
    if shared.outbox.may_match(tags.iter().map(String::as_str)) {
        return Ok(None);
    }
    let claimed = shared.tier.claim_tags(tags, keep, since).await?;
    let generations = match claimed.generations {
        Some(generations) => generations,
        None if planted!("tag-adopted-unasked") => {
            shared.tier.lease(&[], TagRequest { keys: tags, keep, needs_position: false }).await?.generations
        }
        None => return Ok(None),
    };
    let known = validity.tags.iter().cloned();
    Ok(Some(Validity {
        tags: known.chain(epochs.into_iter().zip(generations)).collect(),
        feed: ChangeFeed::merge([validity.feed.clone(), claimed.feed]),
        ..validity.clone()
    }))
}
