//! The outcomes of a lookup: a value, or the right to load one.
//!
//! Invariant: the validity of a value or of a right was taken before the tier was asked for it.
//! `call::context` turns an outcome into a reply or a fill right.

use std::sync::Arc;

use crate::{
    base::clock::Nanos,
    coherence::{epoch::Epoch, validity::Validity},
    error::shared::SharedLoadError,
    l1::entry::Entry,
    l2::lease::Lease,
    tier::{JournalPosition, Revision},
    value::erased::ErasedValue,
};

/// Result of a lookup.
pub(crate) enum LookupOutcome {
    /// The shared tier has the value.
    Hit(FoundValue),
    /// The tier cannot be asked, and the entry of this process may be served.
    Entry(Arc<Entry>),
    /// Load, and store the value with this lease.
    Lease(Lease),
    /// Load without a lease, while another load may store the value. Carries the validity of this load.
    Beside(Validity),
    /// Load for this process only: the tier cannot hold the value.
    Stub(Stub),
    /// Load without the tier, which cannot be asked. Carries the validity of this load.
    Alone(Validity),
    /// The load of another process, for which this call waited, has failed with this error.
    Failed(SharedLoadError),
}

/// A value of the shared tier, with the validity of an entry made from it.
pub(crate) struct FoundValue {
    pub(crate) erased: Arc<dyn ErasedValue>,
    pub(crate) validity: Validity,
    pub(crate) revision: Revision,
    /// Time of the tier's reply.
    pub(crate) read_at: Nanos,
    /// The value was still being loaded when the call began, and the call waited for it.
    pub(crate) was_awaited: bool,
}

/// Right to keep a loaded value in this process, because the shared tier has a stub instead.
pub(crate) struct Stub {
    pub(crate) validity: Validity,
    /// Revision of the stub.
    pub(crate) revision: Revision,
    /// Position of the journal before the load, and the journal's epoch, which any invalidation of a tag
    /// ends.
    ///
    /// Present if the value may add tags and the tier has a journal.
    pub(crate) journal: Option<(JournalPosition, Arc<Epoch>)>,
}
