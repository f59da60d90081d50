//! Detection of leaders that could go on and are not polled.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
    time::Duration,
};

use crate::sync::Instant;

/// Waker between a leader's future and its task, which records wakes that no poll followed.
///
/// A leader that waits for a slow reply is not woken, and so is not idle, however long the reply takes.
pub(super) struct Liveness(Mutex<PollState>);

struct PollState {
    waker: Option<Waker>,
    /// Time of the first wake since the last poll began.
    woken_at: Option<Instant>,
    is_polling: bool,
}

impl Liveness {
    pub(super) fn new() -> Self {
        Self(Mutex::new(PollState { waker: None, woken_at: Some(Instant::now()), is_polling: false }))
    }

    /// Counts a new future as woken, because it waits for its first poll.
    pub(super) fn expect_poll(&self) {
        self.state().woken_at.get_or_insert_with(Instant::now);
    }

    pub(super) fn begin_poll(&self, waker: &Waker) {
        let mut state = self.state();
        state.woken_at = None;
        state.is_polling = true;
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    pub(super) fn end_poll(&self) {
        self.state().is_polling = false;
    }

    /// Returns how long the leader could have gone on and was not polled.
    pub(super) fn idle_time(&self) -> Duration {
        let state = self.state();
        match state.woken_at {
            Some(woken_at) if !state.is_polling => woken_at.elapsed(),
            _ => Duration::ZERO,
        }
    }

    fn state(&self) -> MutexGuard<'_, PollState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Liveness {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state();
        state.woken_at.get_or_insert_with(Instant::now);
        let waker = state.waker.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
