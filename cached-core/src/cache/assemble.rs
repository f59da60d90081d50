//! The assembly of a cache from the parts that the builder makes.
//!
//! The shared tier is attached here: from then on, it reports changes to the listener of this cache.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8},
    },
    time::Duration,
};

use crate::{
    base::clock::nanos,
    cache::{Cache, Inner, Mode},
    coherence::staleness::Staleness,
    flight::{Flights, permits::LoadPermits},
    l1::{counters::LocalCounters, store::L1},
    l2::{replay::FeedListener, shared::Shared},
    telemetry::{event::SharedObservers, functions::FunctionRegistry},
    tier::{Attachment, Tier},
};

/// Parts from which the builder assembles a cache.
pub(super) struct CacheParts {
    pub(super) l1: L1,
    pub(super) shared: Shared,
    pub(super) bound: Duration,
    pub(super) grace: Duration,
    pub(super) observers: SharedObservers,
    pub(super) functions: Arc<FunctionRegistry>,
    pub(super) mode: Mode,
}

impl Cache {
    pub(super) fn assemble(parts: CacheParts) -> Self {
        let CacheParts { l1, shared, bound, grace, observers, functions, mode } = parts;
        let (shared, flights) = (Arc::new(shared), Arc::new(Flights::new()));
        shared.tier.attach(Attachment {
            listener: Arc::new(FeedListener::new(
                &shared,
                flights.clone(),
                functions.clone(),
                observers.clone(),
            )),
            namespace: shared.namespace.clone(),
            journal: shared.journal_key(),
            bound,
            grace,
            max_bytes: shared.limits.max_envelope_len(),
        });
        Self(Arc::new(Inner {
            l1,
            clock: shared.clock.clone(),
            flights,
            shared,
            staleness: Staleness { bound: nanos(bound), grace: nanos(grace) },
            observers,
            functions,
            local_counters: LocalCounters::default(),
            permits: LoadPermits::default(),
            mode: AtomicU8::new(mode as u8),
            is_closed: AtomicBool::new(false),
        }))
    }
}
