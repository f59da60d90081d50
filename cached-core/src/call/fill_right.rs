//! The fill right: where a load may store its value.
//!
//! The right is decided before the load begins, and carries the validity from that time. `publish` uses it
//! up.

use std::sync::Arc;

use crate::{
    coherence::{epoch::Epoch, validity::Validity},
    error::shared::SharedLoadError,
    l2::{lease::Lease, lookup::Stub},
    tier::JournalPosition,
};

/// Right of a load to store its value.
pub(crate) enum FillRight {
    /// The load holds the lease: it may store its value for all processes.
    Everywhere(Box<Lease>),
    /// Another load may store its value. This one keeps its value in this process, if the tier shows
    /// afterwards that nothing was invalidated during the load.
    IfUnchanged(Validity),
    /// The tier cannot hold the value. The process keeps it for as long as the tier has the stub.
    Stub(Stub),
    /// The tier could not be queried, or takes no part. The process may keep the value.
    LocalOnly(Validity),
}

impl FillRight {
    /// Returns the validity under which the load runs.
    pub(crate) fn validity(&self) -> &Validity {
        match self {
            Self::Everywhere(lease) => &lease.validity,
            Self::Stub(stub) => &stub.validity,
            Self::IfUnchanged(validity) | Self::LocalOnly(validity) => validity,
        }
    }

    /// Returns the position of the journal before the load, and the journal's epoch.
    ///
    /// `None` if the right has none, or the value adds no tags.
    pub(crate) fn journal(&self) -> Option<&(JournalPosition, Arc<Epoch>)> {
        match self {
            Self::Everywhere(lease) => lease.journal(),
            Self::Stub(stub) => stub.journal.as_ref(),
            Self::IfUnchanged(_) | Self::LocalOnly(_) => None,
        }
    }
}

impl FillRight {
    /// Announces that the lease is about to be released. See [`Lease::announce_release`].
    pub(crate) fn announce_release(&mut self) {
        if let Self::Everywhere(lease) = self {
            lease.announce_release();
        }
    }

    /// Releases the lease of a load that has no value to store.
    pub(crate) fn fail(self) {
        if let Self::Everywhere(lease) = self {
            lease.fail();
        }
    }

    /// Releases the lease of a load that has failed, with the text of its error if there is one.
    pub(crate) fn fail_with(self, error: Option<&SharedLoadError>) {
        if let Self::Everywhere(lease) = self {
            lease.fail_with(error);
        }
    }

    /// Releases the lease of a load that stores nothing in L2.
    pub(crate) fn end(self, ended: &Ended) {
        match ended {
            Ended::Value => self.fail(),
            Ended::Error(error) => self.fail_with(error.as_ref()),
        }
    }
}

/// Result of a load that stores nothing in L2.
pub(crate) enum Ended {
    Value,
    /// An error, with its text for callers that wait in other processes.
    Error(Option<SharedLoadError>),
}
