//! The way of an invalidation into the outbox.
//!
//! Until the shared tier has the invalidation, this process does not read the names from it. `l2::replay`
//! sends the outbox.

use crate::{
    cache::{
        Cache,
        invalidation::{InvalidationTarget, target::items_of},
    },
    coherence::outbox::OutboxItem,
    key::entry_key::EntryKey,
};

impl Cache {
    /// Returns the changes that the shared tier must receive, if there is one.
    pub(super) fn outbox_items(&self, targets: &[InvalidationTarget]) -> Vec<OutboxItem> {
        if self.shared().has_tier { items_of(targets) } else { Vec::new() }
    }

    /// Adds the targets to the outbox, and starts to send it.
    ///
    /// Until the tier has the invalidation, the names are not read from it.
    pub(super) fn enqueue(&self, targets: &[InvalidationTarget]) {
        for item in self.outbox_items(targets) {
            self.shared().outbox.add(item, &self.shared().all_names_pattern());
        }
        self.resend();
    }

    /// Queues the removal of a value that may be outdated in the shared tier, and is not read until then.
    pub(crate) fn enqueue_removal(&self, entry_key: Option<EntryKey>) {
        if let Some(entry_key) = entry_key.filter(|entry_key| entry_key.is_shared && self.shared().has_tier) {
            self.shared()
                .outbox
                .add(OutboxItem::Key(entry_key.shared_key.text.clone()), &self.shared().all_names_pattern());
            self.resend();
        }
    }
}
