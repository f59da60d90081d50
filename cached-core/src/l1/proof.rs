//! The proof that an entry is current, with what concerns its renewal.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{base::clock::Nanos, coherence::validity::Validity, tier::Revision};

/// Validity of an entry, with its revision in the shared tier.
///
/// The entries of a function that have neither names nor tags, and are never served while they are renewed, share
/// one proof: see [`L1Function::proof`](crate::l1::function::L1Function::proof).
#[derive(Debug)]
pub(crate) struct Proof {
    /// Validity: the proof that the value is current.
    pub(crate) validity: Validity,
    /// Revision of the value in the shared tier; zero if it is not there.
    pub(crate) revision: Revision,
    /// End of the backoff: after a failed load that was to replace the value, no other begins before it.
    backoff_until: AtomicU64,
    /// Set if several entries may have this proof.
    is_common: bool,
}

impl Proof {
    /// Creates the proof of one entry.
    pub(crate) fn of_entry(validity: Validity, revision: Revision, backoff_until: Nanos) -> Self {
        Self { validity, revision, backoff_until: backoff_until.into(), is_common: false }
    }

    /// Creates a proof for any number of entries, which have no backoff.
    pub(super) fn of_entries(validity: Validity) -> Self {
        Self { is_common: true, ..Self::of_entry(validity, 0, 0) }
    }

    /// Begins a backoff after a failed load: the next load is not before `moment`.
    pub(super) fn start_backoff(&self, moment: Nanos) {
        if !self.is_common {
            self.backoff_until.store(moment, Ordering::Relaxed);
        }
    }

    pub(super) fn backoff_until(&self) -> Nanos {
        self.backoff_until.load(Ordering::Relaxed)
    }
}
