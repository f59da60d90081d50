//! Saying that the shared tier works, or does not: to observers and to the log, once for each change.

use std::sync::{Mutex, PoisonError};

#[cfg(not(feature = "tracing"))]
use crate::notice::line;
use crate::{
    cause::TierCause,
    event::{EventKind, SharedObservers},
    health::{TierHealth, TierState},
    shared::Shared,
    tier::Tier,
};

/// What was last said of the shared tier.
#[derive(Debug)]
pub(crate) struct Standing {
    observers: SharedObservers,
    said: Mutex<(TierState, Option<TierCause>)>,
}

impl Standing {
    pub(crate) fn new(observers: SharedObservers) -> Self {
        Self { observers, said: Mutex::new((TierState::Untried, None)) }
    }

    /// Looks how the tier is, and says so if that is something new.
    pub(crate) fn look(&self, shared: &Shared) {
        {
            // Looked under the lock, so that of two changes the later one is said last.
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let TierHealth { state, cause, .. } = shared.tier.health();
            if *said == (state, cause.clone()) {
                return;
            }
            let was_well = said.0.is_well();
            write(&shared.namespace, state, cause.as_ref(), was_well);
            *said = (state, cause);
        }
        if !self.observers.is_empty() {
            self.observers.tell(EventKind::Tier, "", None, &*shared.hasher);
        }
    }
}

/// One line, which names neither an address nor a user.
#[cfg(feature = "tracing")]
fn write(namespace: &str, state: TierState, cause: Option<&TierCause>, _: bool) {
    let name = state.name();
    match cause {
        Some(cause) => tracing::warn!(
            target: "cached_aside", namespace, state = name, cause = cause.name(),
            "the shared tier is {name}: {cause}"
        ),
        None => tracing::info!(target: "cached_aside", namespace, state = name, "the shared tier is {name}"),
    }
}

/// One line, which names neither an address nor a user. That it works is said only after it did not.
#[cfg(not(feature = "tracing"))]
fn write(namespace: &str, state: TierState, cause: Option<&TierCause>, was_well: bool) {
    let name = state.name();
    match cause {
        Some(cause) => line(format_args!("the shared tier of `{namespace}` is {name}: {cause}")),
        None if was_well => {}
        None => line(format_args!("the shared tier of `{namespace}` is {name} again")),
    }
}
