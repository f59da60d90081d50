//! The classification of a reply by the next step of the lookup.
//!
//! No decision here sends a request. `observe` makes the requests, and `SharedLookup::run` takes the next
//! step. `acceptable` has the condition on a value.

use std::{sync::Arc, time::Duration};

use crate::{
    base::clock::Nanos,
    coherence::validity::Validity,
    error::shared::SharedLoadError,
    l2::{
        lookup::{FoundValue, SharedLookup},
        note,
    },
    telemetry::stats::Count,
    tier::{LeaseMode, Note, Revision, Stored},
    value::{
        envelope::{Unreadable, created_ms},
        erased::ErasedValue,
    },
};

/// Age below which a value of another program version is left alone.
///
/// Otherwise two versions would load and overwrite each other's values in turns for ever.
const FOREIGN_VALUE_PROTECTION: Duration = Duration::from_secs(60);

/// Reply of the tier to a read, classified by the next step.
pub(super) enum Observed {
    FoundValue(FoundValue),
    /// No acceptable value, and no known load. A lease may be requested in this mode.
    Leasable(LeaseMode),
    /// No value, because a load had nothing to share. A lease may be requested.
    Failed,
    /// No value, because a load has failed. A lease may be requested.
    ///
    /// Carries the text of the error, if this function can make an error from it.
    Error(Option<SharedLoadError>),
    /// Another load is in progress.
    Busy {
        left: Duration,
        is_retry: bool,
        validity: Validity,
    },
    /// A young value of another function, version, key or codec, which is left alone.
    Foreign(Validity),
    /// The tier cannot hold the value, and has a stub.
    Stub(Validity, Revision),
    /// The tier cannot be asked, or not about this name.
    Unknown,
    /// The tier has another value than the known one, or none.
    Changed,
}

impl SharedLookup<'_> {
    /// Classifies a value by its lifespan and its revision.
    pub(super) fn classify(
        &self,
        erased: Arc<dyn ErasedValue>,
        validity: Validity,
        revision: Revision,
        now: Nanos,
    ) -> Observed {
        if !self.is_acceptable(erased.freshness(), revision, now) {
            return Observed::Leasable(LeaseMode::IfRevision(revision));
        }
        Observed::FoundValue(FoundValue { erased, validity, revision, read_at: now, was_awaited: false })
    }

    /// Classifies a record that cannot be decoded, and counts it.
    pub(super) fn classify_unreadable(
        &self,
        unreadable: Unreadable,
        stored: &Stored,
        validity: Validity,
    ) -> Observed {
        self.function.add(Count::Unreadable);
        if unreadable == Unreadable::Undecodable {
            // The next value of this process is read back before its fill, so that it is not unreadable as
            // well.
            self.function.require_codec_check();
        }
        let is_foreign =
            matches!(unreadable, Unreadable::OtherSchema | Unreadable::OtherKey | Unreadable::OtherCodec);
        let age =
            created_ms(&stored.bytes).map(|created| self.shared.clock.wall_ms().saturating_sub(created));
        let is_young = age.is_some_and(|age| Duration::from_millis(age) < FOREIGN_VALUE_PROTECTION);
        if is_foreign && is_young {
            Observed::Foreign(validity)
        } else {
            Observed::Leasable(LeaseMode::IfRevision(stored.revision))
        }
    }

    /// Returns the text of an error, if this function can make an error from it.
    pub(super) fn read_note(&self, note: &Note) -> Option<SharedLoadError> {
        note::open(&note.0, &self.entry_key.shared_key).filter(|_| self.policy.can_rebuild_errors())
    }
}
