//! Where a load may store its value.

use crate::{
    coherence::validity::Validity,
    error::shared::SharedLoadError,
    l2::{lease::Lease, lookup::Stub},
};

/// What a load stands on.
pub(crate) enum FillRight {
    /// The load may store its value for all processes.
    Everywhere(Lease),
    /// Another load may. This one keeps its value in its process, if the tier then shows that nothing was invalidated meanwhile.
    IfUnchanged(Validity),
    /// The tier cannot hold the value. The process keeps it for as long as the tier has the stub.
    Stub(Stub),
    /// The tier could not be asked, or takes no part. The process may keep the value.
    LocalOnly(Validity),
}

impl FillRight {
    pub(crate) fn claim(&self) -> &Validity {
        match self {
            Self::Everywhere(lease) => &lease.claim,
            Self::Stub(stub) => &stub.claim,
            Self::IfUnchanged(claim) | Self::LocalOnly(claim) => claim,
        }
    }
}

impl FillRight {
    /// See [`Lease::begin_return`].
    pub(crate) fn begin_return(&mut self) {
        if let Self::Everywhere(lease) = self {
            lease.begin_return();
        }
    }

    /// There is nothing to store.
    pub(crate) fn fail(self) {
        if let Self::Everywhere(lease) = self {
            lease.fail();
        }
    }

    /// The load has failed, with this error if it has a text.
    pub(crate) fn fail_with(self, error: Option<&SharedLoadError>) {
        if let Self::Everywhere(lease) = self {
            lease.fail_with(error);
        }
    }

    /// There is nothing to store.
    pub(crate) fn end(self, ended: &Ended) {
        match ended {
            Ended::Value => self.fail(),
            Ended::Error(error) => self.fail_with(error.as_ref()),
        }
    }
}

/// What a load that stores nothing has come to.
pub(crate) enum Ended {
    Value,
    /// With the text for callers that wait in other processes.
    Error(Option<SharedLoadError>),
}
