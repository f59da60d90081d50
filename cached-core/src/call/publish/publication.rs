//! A loaded value with its flight, and the ends of that flight.
//!
//! The value is stored in L1, delivered to the followers, or rejected. Each of these consumes the
//! publication, so a flight ends once. `leased` and `unleased` decide between them.
//!
//! Invariant: L1 stores a value only through `flight::leader`, which checks the validity under the shard
//! lock.

use std::sync::Arc;

use crate::{
    call::{context::CallContext, publish::value_tags::ValueTags},
    coherence::validity::Validity,
    flight::Leader,
    key::entry_key::EntryKey,
    telemetry::stats::Count,
    value::erased::ErasedValue,
};

/// A loaded value, with its flight and all that is needed to store it.
pub(super) struct Publication {
    pub(super) context: Box<CallContext>,
    pub(super) leader: Leader,
    pub(super) erased: Arc<dyn ErasedValue>,
    pub(super) value_tags: ValueTags,
    /// The value is newer than the one in L2, which must be removed if this one is not stored there.
    pub(super) is_newer: bool,
    /// The call did not ask L2, although L2 takes part in other calls of this key.
    pub(super) skips_l2: bool,
}

impl Publication {
    /// Stores the value in L1 under `validity`, and ends the flight.
    ///
    /// The value is not stored if an invalidation has ended `validity` or superseded the flight.
    pub(super) fn store_in_l1(self, validity: Validity, revision: u64) {
        let Self { context, leader, erased, .. } = self;
        let (l1, key) = (context.cache.l1(), &context.entry_key.key);
        let fill = |validity, erased| l1.insert(&context.spec, key, erased, validity, revision);
        let stored = leader.land_if_valid(validity, erased, fill);
        l1.report_evictions();
        context.report(if stored { Count::Fill } else { Count::RejectedFill });
    }

    /// Stores the value in L1 only, because L2 cannot hold it.
    pub(super) fn store_unshared(self, validity: Validity, revision: u64) {
        self.context.report(Count::Unshared);
        self.store_in_l1(validity, revision);
    }

    /// Rejects the value: only the caller of the load gets it, and followers start over.
    pub(super) fn reject(self) {
        self.context.report(Count::RejectedFill);
        self.leader.reject(self.erased);
    }

    /// Delivers the value to the followers, and does not store it. Returns `None`.
    pub(super) fn land(self) -> Option<Self> {
        self.leader.land(self.erased, || ());
        None
    }

    /// Ends the flight if it has no followers. Otherwise returns the publication, which is still to be
    /// delivered.
    pub(super) fn land_unfollowed(self) -> Option<Self> {
        let Self { leader, erased, .. } = self;
        let leader = leader.land_unfollowed(&erased)?;
        Some(Self { leader, erased, ..self })
    }

    /// Returns the entry that must be removed from L2 if this value is not stored there.
    pub(super) fn outdated_entry_key(&self) -> Option<EntryKey> {
        self.is_newer.then(|| self.context.entry_key.clone())
    }
}
