//! The publication of a value that was loaded without a lease: to L1 only.
//!
//! No fence protects such a value. So L2 is asked after the load whether anything changed meanwhile, unless
//! it takes no part in the call.
//!
//! Invariant: L1 stores the value only if nothing changed since before the load, as far as that can be known.
//! In an outage, the proof that was reached before bounds the time. `l2::lease` has the comparison with a
//! stub.

use std::time::Duration;

use crate::{
    base::planted::planted,
    call::publish::{change_check::ChangeCheck, publication::Publication},
    coherence::validity::Validity,
    l2::{
        lease::{claim_tags, revalidate},
        lookup::Stub,
    },
};

impl Publication {
    /// Publishes the value of a load without L2: to L1, unless one of its tags was invalidated.
    pub(super) fn publish_without_l2(self, validity: Validity) {
        let removal = self.outdated_entry_key().map(|outdated| (self.context.cache.clone(), outdated));
        let shared = self.context.cache.shared();
        match self.value_tags.added_to(validity, shared, self.context.entry_key.is_shared) {
            Some(validity) => self.store_in_l1(validity, 0),
            None => self.reject(),
        }
        if let Some((cache, outdated)) = removal {
            cache.enqueue_removal(Some(outdated));
        }
    }

    /// Publishes the value of a load without a lease: to L1, if nothing changed during the load.
    ///
    /// In an outage, the value is kept under the proof that was reached before.
    pub(super) async fn publish_without_lease(self, validity: Validity) {
        if planted!("kept-beside-unasked") {
            return self.store_in_l1(validity, 0);
        }
        if !self.value_tags.tags.is_empty() {
            // L2 was not asked for these tags, and so has not reported their invalidation.
            return self.reject();
        }
        match self.check_for_changes(&validity).await {
            ChangeCheck::Unchanged => self.store_in_l1(validity, 0),
            ChangeCheck::Outage => {
                let validity = validity.detached(self.context.cache.clock().now());
                self.store_in_l1(validity, 0);
            }
            ChangeCheck::Changed | ChangeCheck::Unreported | ChangeCheck::Unknown => self.reject(),
        }
    }

    /// Publishes a value that L2 cannot hold: to L1, if the stub in L2 is still the same.
    ///
    /// The stub has a revision of its own. If that is the revision from before the load, the key was not
    /// invalidated since, even if a notification would not have arrived.
    pub(super) async fn publish_with_stub(self, stub: Stub, keep: Duration) {
        let Stub { mut validity, revision, journal } = stub;
        let shared = self.context.cache.shared();
        if !self.value_tags.tags.is_empty() {
            let Some((journal_position, _)) = journal else { return self.reject() };
            match claim_tags(shared, &validity, journal_position, &self.value_tags.tags, keep).await {
                Ok(Some(claimed)) => validity = claimed,
                // Only the tier knows whether these tags were invalidated.
                Ok(None) | Err(_) => return self.reject(),
            }
            self.leader.bind(&validity);
        }
        match revalidate(shared, &self.context.entry_key.shared_key.text, &validity, revision).await {
            Ok(Some(validity)) => self.store_unshared(validity, revision),
            Ok(None) => self.reject(),
            Err(_) => {
                let validity = validity.detached(self.context.cache.clock().now());
                self.store_in_l1(validity, 0);
            }
        }
    }
}
