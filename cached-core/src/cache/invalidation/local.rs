//! Invalidations in this process: no entry from before is served any more, and no load from before is kept.

use crate::{
    base::planted::planted,
    cache::{Cache, invalidation::InvalidationTarget},
    l2::shared::own_epoch_name,
};

impl Cache {
    /// Invalidates the targets in this process.
    ///
    /// From now on, none of their entries is served, and no load under way is kept.
    pub(super) fn invalidate_local(&self, targets: &[InvalidationTarget]) {
        if planted!("own-entry-kept") {
            return;
        }
        let epochs = &self.shared().epochs;
        for target in targets {
            match target {
                InvalidationTarget::Entry(_, entry_key) => {
                    // The epochs end first: an entry that is read from L1 after that is not valid. Loads of
                    // other functions may depend on these epochs as well.
                    let name = &entry_key.shared_key.text;
                    if !name.is_empty() {
                        epochs.end(name);
                        epochs.end(&own_epoch_name(name));
                    }
                    self.flights().supersede(&entry_key.key, || self.l1().remove(&entry_key.key));
                }
                InvalidationTarget::Tag(key) => {
                    self.shared().tag_log.record(key);
                    epochs.end_tag(key);
                }
                InvalidationTarget::Counter(name) => self.local_counters().remove(name),
                InvalidationTarget::Matching(pattern) => {
                    let templates = epochs.end_matching(pattern);
                    if !templates.is_empty() {
                        self.flights().supersede_functions(&templates);
                        epochs.invalid_count.add(self.l1().release_proofs(&templates));
                    }
                    self.local_counters().remove_matching(pattern);
                    if *pattern == self.shared().all_names_pattern() {
                        // No entry is valid any more, so L1 can be freed without checking each of them.
                        self.clear_local();
                    }
                }
            }
        }
        if targets
            .iter()
            .any(|target| matches!(target, InvalidationTarget::Tag(_) | InvalidationTarget::Matching(_)))
        {
            self.reap();
        }
    }
}
