//! Saying that the shared tier works, or does not: to observers and to the log, once for each change.

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

/// What was last said of the shared tier.
#[derive(Debug)]
pub(crate) struct Standing {
    observers: SharedObservers,
    noted: Mutex<Noted>,
}

#[derive(Debug)]
struct Noted {
    last: (TierState, Option<TierCause>),
    unsaid: VecDeque<News>,
    /// A thread says what is unsaid.
    is_saying: bool,
}

#[derive(Debug)]
struct News {
    state: TierState,
    cause: Option<TierCause>,
    was_well: bool,
}

impl Standing {
    pub(crate) fn new(observers: SharedObservers) -> Self {
        let noted = Noted { last: (TierState::Untried, None), unsaid: VecDeque::new(), is_saying: false };
        Self { observers, noted: Mutex::new(noted) }
    }

    /// Looks how the tier is, and says so if that is something new.
    pub(crate) fn look(&self, shared: &Shared) {
        {
            // Looked under the lock, so that of two changes the later one is said last.
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
        // Under no lock: a subscriber and an observer may use the cache, and cause the next change.
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

/// The thread that says what is unsaid.
struct Saying<'a> {
    standing: &'a Standing,
    /// All is said.
    is_over: bool,
}

impl Saying<'_> {
    /// What is to be said next. If there is nothing, the next change is said by the thread that finds it.
    fn next(&mut self) -> Option<News> {
        let mut noted = self.standing.noted();
        let next = noted.unsaid.pop_front();
        self.is_over = next.is_none();
        noted.is_saying = next.is_some();
        next
    }
}

/// If a subscriber panics, the thread that finds the next change says what is left as well.
impl Drop for Saying<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.standing.noted().is_saying = false;
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
