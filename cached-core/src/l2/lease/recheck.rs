//! Rechecks: whether the tier still has a lease, a stored value and the generations of tags.
//!
//! A tier may report this process's own changes, such as the lease itself. So an ended epoch does not prove
//! an invalidation: the tier is asked again before a load or a value is given up.
//!
//! Invariant: new epochs are taken before the tier is asked, so that any later invalidation ends them. `fill`
//! and `renewer` recheck a held lease, `call::run` reconfirms it, and `call::publish` revalidates values.

use std::{iter, sync::Arc};

use crate::{
    coherence::validity::Validity,
    error::tier::TierError,
    l2::{lease::Lease, shared::Shared},
    tier::{Lookup, Record, Revision, Tier},
};

impl Lease {
    /// Returns whether the tier still has the lease: then its key was not invalidated since it was taken.
    pub(crate) async fn is_in_place(&self) -> Result<bool, TierError> {
        self.shared.tier.renew(&self.name.text, self.token, self.length).await
    }

    /// Returns the lease if it still holds after an epoch of its validity has ended.
    ///
    /// The change may have been the lease itself, since a tier may report a process's own changes. If the
    /// lease and the tags are unchanged, the lease gets new epochs. If the tier cannot be asked, it gets them
    /// as well, and the fill decides. Otherwise the lease is released.
    pub(crate) async fn reconfirm(mut self) -> Option<Self> {
        let Self { shared, name, token, length, validity, .. } = &self;
        // New epochs are taken before the tier is asked, so that any later invalidation ends them.
        let renewed = if validity.tags.is_empty() {
            Some(shared.detached_validity(&name.text, &[]))
        } else {
            recheck_tags(shared, validity).await
        };
        if let Some(renewed) = renewed
            && shared.tier.renew(&name.text, *token, *length).await.unwrap_or(true)
        {
            self.validity = Validity { epoch: renewed.epoch, tags: renewed.tags, ..self.validity.clone() };
            return Some(self);
        }
        let Self { shared, name, token, .. } = &self;
        // The release precedes the next lease request, so that its notification cannot invalidate the next
        // lease.
        let _ = shared.tier.release(&name.text, *token, false).await;
        shared.epochs.end(&name.text);
        self.mark_over();
        None
    }

    /// Returns the validity as of now of the value that this lease has stored, if nothing was invalidated.
    pub(super) async fn revalidate(&self) -> Result<Option<Validity>, TierError> {
        revalidate(&self.shared, &self.name.text, &self.validity, self.revision()).await
    }
}

/// Returns `validity` as of now, if the tier still has `revision` and the generations of the tags.
///
/// Then nothing was invalidated since `validity` was made.
pub(crate) async fn revalidate(
    shared: &Arc<Shared>,
    name: &str,
    validity: &Validity,
    revision: Revision,
) -> Result<Option<Validity>, TierError> {
    let tags = validity.tag_keys();
    let renewed = shared.detached_validity(name, &tags);
    // The tier does not know the invalidations in the outbox.
    if shared.outbox.may_match(iter::once(name).chain(tags.iter().map(String::as_str))) {
        return Ok(None);
    }
    let lookup = Lookup::if_none_match(name, revision);
    let found = shared.tier.lookup(&[lookup], &tags).await?;
    let is_current = validity.generations().map(Some).eq(found.generations);
    if !(is_current && matches!(found.records.first(), Some(Record::Unchanged))) {
        return Ok(None);
    }
    let renewed = renewed.with_generations(validity.generations());
    Ok(Some(Validity { feed: found.feed, ..renewed }))
}

/// Returns `validity` with new epochs; `None` if one of its tags has another generation.
///
/// An epoch may have ended because its tag was created, since a tier may report a process's own changes. If
/// the tier cannot be asked, the result has new epochs as well, and the fill decides.
pub(super) async fn recheck_tags(shared: &Arc<Shared>, validity: &Validity) -> Option<Validity> {
    let tags = validity.tag_keys();
    let renewed =
        shared.detached_validity(validity.epoch.name(), &tags).with_generations(validity.generations());
    match shared.tier.lookup(&[], &tags).await {
        Ok(found) if validity.generations().map(Some).ne(found.generations.iter().copied()) => None,
        _ => Some(renewed),
    }
}
