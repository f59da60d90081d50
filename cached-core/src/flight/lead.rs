//! A lead: the position of one leader in its flight, and in the chain of loads that enclose it.

use std::{sync::Arc, task::Waker};

use crate::flight::{liveness::Liveness, nesting, state::Flight};

/// The lead of a flight.
///
/// The first one is a part of its flight, which saves a miss an allocation. One that was passed on, or taken over,
/// is allocated separately.
#[derive(Clone)]
pub(super) enum Lead {
    First(Arc<Flight>),
    Later(Arc<LaterLead>),
}

/// Parts of a lead besides its flight.
pub(super) struct LeadParts {
    pub(super) liveness: Liveness,
    /// Load that the leader was called from.
    outer: Option<Lead>,
}

/// A lead that another leader had before.
pub(super) struct LaterLead {
    flight: Arc<Flight>,
    liveness: Arc<Liveness>,
    outer: Option<Lead>,
}

impl LeadParts {
    /// Creates the parts of a lead that the current code takes.
    pub(super) fn new() -> Self {
        Self { liveness: Liveness::at_work(), outer: nesting::innermost() }
    }
}

impl Lead {
    /// Creates a lead that the current code takes from another leader.
    pub(super) fn later(flight: Arc<Flight>, liveness: Arc<Liveness>) -> Self {
        Self::Later(Arc::new(LaterLead { flight, liveness, outer: nesting::innermost() }))
    }

    pub(super) fn flight(&self) -> &Arc<Flight> {
        match self {
            Self::First(flight) => flight,
            Self::Later(lead) => &lead.flight,
        }
    }

    pub(super) fn liveness(&self) -> &Liveness {
        match self {
            Self::First(flight) => &flight.first_lead.liveness,
            Self::Later(lead) => &lead.liveness,
        }
    }

    /// Returns the liveness of a lead that is not the first one of its flight.
    pub(super) fn later_liveness(&self) -> Option<&Arc<Liveness>> {
        match self {
            Self::First(_) => None,
            Self::Later(lead) => Some(&lead.liveness),
        }
    }

    /// Returns the load that the leader was called from.
    pub(super) fn outer(&self) -> Option<&Self> {
        match self {
            Self::First(flight) => flight.first_lead.outer.as_ref(),
            Self::Later(lead) => lead.outer.as_ref(),
        }
    }

    /// Returns the waker for the polls of the leader.
    pub(super) fn waker(&self) -> Waker {
        match self {
            Self::First(flight) => Waker::from(flight.clone()),
            Self::Later(lead) => Waker::from(lead.liveness.clone()),
        }
    }
}
