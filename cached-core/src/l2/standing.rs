//! Reports of the shared tier's state, to observers and to the log, once for each change.
//!
//! One thread reports at a time, and holds no lock meanwhile. Another thread that finds a change only queues
//! it, so that reports keep their order.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[cfg(not(feature = "tracing"))]
use crate::base::notice::line;
use crate::{
    l2::shared::Shared,
    telemetry::event::{EventKind, SharedObservers},
    tier::{
        Tier,
        cause::TierCause,
        health::{TierHealth, TierState},
    },
};

/// The last known state of the shared tier, and the changes that are not reported yet.
#[derive(Debug)]
pub(crate) struct HealthReporter {
    observers: SharedObservers,
    noted: Mutex<Noted>,
}

#[derive(Debug)]
struct Noted {
    last: (TierState, Option<TierCause>),
    unsaid: VecDeque<News>,
    /// A thread is reporting the changes in `unsaid`.
    is_saying: bool,
}

#[derive(Debug)]
struct News {
    state: TierState,
    cause: Option<TierCause>,
    was_well: bool,
}

impl HealthReporter {
    pub(crate) fn new(observers: SharedObservers) -> Self {
        let noted = Noted { last: (TierState::Untried, None), unsaid: VecDeque::new(), is_saying: false };
        Self { observers, noted: Mutex::new(noted) }
    }

    /// Reads the state of the tier, and reports it if it has changed.
    pub(crate) fn look(&self, shared: &Shared) {
        {
            // The state is read under the lock, so that of two changes the later one is reported last.
            let mut noted = self.noted();
            let TierHealth { state, cause, .. } = shared.tier.health();
            if noted.last == (state, cause.clone()) {
                return;
            }
            let was_well = noted.last.0.is_well();
            noted.last = (state, cause.clone());
            noted.unsaid.push_back(News { state, cause, was_well });
            if mem::replace(&mut noted.is_saying, true) {
                return;
            }
        }
        // No lock is held here: a subscriber and an observer may use the cache, and cause the next change.
        let mut saying = Saying { standing: self, is_over: false };
        while let Some(News { state, cause, was_well }) = saying.next() {
            write(&shared.namespace, state, cause.as_ref(), was_well);
            if !self.observers.is_empty() {
                self.observers.tell(EventKind::Tier, "", None, &*shared.hasher);
            }
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that is reporting.
struct Saying<'a> {
    standing: &'a HealthReporter,
    /// All changes are reported.
    is_over: bool,
}

impl Saying<'_> {
    /// Returns the next change to report.
    ///
    /// If there is none, the thread that finds the next change reports it.
    fn next(&mut self) -> Option<News> {
        let mut noted = self.standing.noted();
        let next = noted.unsaid.pop_front();
        self.is_over = next.is_none();
        noted.is_saying = next.is_some();
        next
    }
}

/// Ends the reporting. If a subscriber panics, the thread that finds the next change also reports the rest.
impl Drop for Saying<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.standing.noted().is_saying = false;
        }
    }
}

/// Writes one line, without an address or the name of a user.
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

/// Writes one line, without an address or the name of a user.
///
/// A tier that works is reported only after a failure.
#[cfg(not(feature = "tracing"))]
fn write(namespace: &str, state: TierState, cause: Option<&TierCause>, was_well: bool) {
    let name = state.name();
    match cause {
        Some(cause) => line(format_args!("the shared tier of `{namespace}` is {name}: {cause}")),
        None if was_well => {}
        None => line(format_args!("the shared tier of `{namespace}` is {name} again")),
    }
}
