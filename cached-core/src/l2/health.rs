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
use crate::base::notice::write_line;
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
    state: Mutex<ReporterState>,
}

#[derive(Debug)]
struct ReporterState {
    last_known: (TierState, Option<TierCause>),
    unreported: VecDeque<HealthChange>,
    /// A thread is reporting the changes in `unreported`.
    is_reporting: bool,
}

#[derive(Debug)]
struct HealthChange {
    state: TierState,
    cause: Option<TierCause>,
    was_healthy: bool,
}

impl HealthReporter {
    pub(crate) fn new(observers: SharedObservers) -> Self {
        let state = ReporterState {
            last_known: (TierState::Untried, None),
            unreported: VecDeque::new(),
            is_reporting: false,
        };
        Self { observers, state: Mutex::new(state) }
    }

    /// Reads the state of the tier, and reports it if it has changed.
    pub(crate) fn report_change(&self, shared: &Shared) {
        {
            // The state is read under the lock, so that of two changes the later one is reported last.
            let mut reporter_state = self.state();
            let TierHealth { state, cause, .. } = shared.tier.health();
            if reporter_state.last_known == (state, cause.clone()) {
                return;
            }
            let was_healthy = reporter_state.last_known.0.is_healthy();
            reporter_state.last_known = (state, cause.clone());
            reporter_state.unreported.push_back(HealthChange { state, cause, was_healthy });
            if mem::replace(&mut reporter_state.is_reporting, true) {
                return;
            }
        }
        // No lock is held here: a subscriber and an observer may use the cache, and cause the next change.
        let mut turn = ReportTurn { reporter: self, is_over: false };
        while let Some(HealthChange { state, cause, was_healthy }) = turn.next() {
            write(&shared.namespace, state, cause.as_ref(), was_healthy);
            if !self.observers.is_empty() {
                self.observers.notify(EventKind::Tier, "", None, &*shared.hasher);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, ReporterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that is reporting.
struct ReportTurn<'a> {
    reporter: &'a HealthReporter,
    /// All changes are reported.
    is_over: bool,
}

impl ReportTurn<'_> {
    /// Returns the next change to report.
    ///
    /// If there is none, the thread that finds the next change reports it.
    fn next(&mut self) -> Option<HealthChange> {
        let mut state = self.reporter.state();
        let next = state.unreported.pop_front();
        self.is_over = next.is_none();
        state.is_reporting = next.is_some();
        next
    }
}

/// Ends the reporting. If a subscriber panics, the thread that finds the next change also reports the rest.
impl Drop for ReportTurn<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.reporter.state().is_reporting = false;
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
fn write(namespace: &str, state: TierState, cause: Option<&TierCause>, was_healthy: bool) {
    let name = state.name();
    match cause {
        Some(cause) => write_line(format_args!("the shared tier of `{namespace}` is {name}: {cause}")),
        None if was_healthy => {}
        None => write_line(format_args!("the shared tier of `{namespace}` is {name} again")),
    }
}
