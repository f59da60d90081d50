//! The tags of a value that only the value determines.
//!
//! L2 was not asked for these tags before the load. So the log of this process and the epoch of the journal
//! show whether one of them was invalidated meanwhile.
//!
//! Invariant: the epochs of the tags are taken before the log is read. `coherence::tag_log` has the log, and
//! `l2::lease` claims the tags in L2.

use std::sync::Arc;

use crate::{
    base::clock::Nanos,
    call::fill_right::FillRight,
    coherence::{epoch::Epoch, tag_log::LogPosition, validity::Validity},
    l2::shared::Shared,
    tier::feed::ChangeFeed,
};

/// Tags that were derived from the value, and so are known only after the load.
pub(super) struct ValueTags {
    /// Tags of the value; empty if it has none, or if they are unknown.
    pub(super) tags: Vec<String>,
    /// Set if the tags could not be derived. Then the invalidation of any tag may concern the value.
    are_unknown: bool,
    /// Position in the log of invalidated tags, at the start of the load; `None` if values have no tags.
    log_position: Option<LogPosition>,
    /// Time at which the validity of the load was taken, before the load began.
    checked_at: Nanos,
    /// Epoch that ends when this process is notified of the invalidation of any tag.
    ///
    /// Taken before the load; `None` if the load has no use for it.
    journal_epoch: Option<Arc<Epoch>>,
}

impl ValueTags {
    pub(super) fn new(
        shared: &Shared,
        tags: Option<&[String]>,
        log_position: Option<LogPosition>,
        fill_right: &FillRight,
    ) -> Self {
        let are_unknown = tags.is_none();
        let tags = tags.unwrap_or_default().iter().map(|tag| shared.tag_key(tag)).collect();
        let journal_epoch = fill_right.journal().map(|(_, journal_epoch)| journal_epoch.clone());
        Self { tags, are_unknown, log_position, checked_at: fill_right.validity().checked_at, journal_epoch }
    }

    /// Returns whether one of these tags may have been invalidated during the load.
    pub(super) fn may_be_outdated(&self) -> bool {
        !self.tags.is_empty() && self.journal_epoch.as_ref().is_some_and(|any| !any.is_alive())
    }

    /// Adds these tags to a validity for this process only.
    ///
    /// Returns `None` if this process has invalidated one of them during the load, or if they are unknown.
    pub(super) fn added_to(
        &self,
        validity: Validity,
        shared: &Arc<Shared>,
        is_shared: bool,
    ) -> Option<Validity> {
        if self.are_unknown {
            return None;
        }
        if self.tags.is_empty() {
            return Some(validity);
        }
        let epochs: Vec<_> = self.tags.iter().map(|tag| (shared.epoch(tag), 0)).collect();
        // The log is read after the epochs are taken: a later invalidation ends the epochs.
        if shared.tag_log.has_any_since(&self.tags, self.log_position?) {
            return None;
        }
        let tags = validity.tags.into_vec().into_iter().chain(epochs).collect();
        if !is_shared {
            return Some(Validity { tags, ..validity });
        }
        // L2 reports no invalidation of tags that it was not asked for, and has not done so since the load
        // began. So the value counts as checked at that time, without a change feed.
        Some(Validity { tags, feed: ChangeFeed::none(), checked_at: self.checked_at, ..validity })
    }
}
