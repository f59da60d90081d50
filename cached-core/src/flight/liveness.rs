//! Detection of leaders that could go on and are not polled.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};

use crate::sync::Instant;

/// Waker between a leader's future and its task, which records wakes that no poll followed.
///
/// A leader that waits for a slow reply is not woken, and so is not idle, however long the reply takes.
///
/// A new leader is at work: the code that takes the lead runs at this moment. A load that blocks its thread stays at
/// work until its end, and locks nothing here.
pub(super) struct Liveness {
    state: Mutex<PollState>,
    /// The leader is being polled, or blocks its thread. It changes under the lock of the state.
    is_at_work: AtomicBool,
}

struct PollState {
    waker: Option<Waker>,
    /// Time of the first wake since the last poll began.
    woken_at: Option<Instant>,
}

impl Liveness {
    pub(super) fn at_work() -> Self {
        let state = PollState { waker: None, woken_at: None };
        Self { state: Mutex::new(state), is_at_work: AtomicBool::new(true) }
    }

    /// Counts a new future as woken, because it waits for its first poll.
    pub(super) fn expect_poll(&self) {
        let mut state = self.state();
        self.is_at_work.store(false, Ordering::Relaxed);
        state.woken_at.get_or_insert_with(Instant::now);
    }

    /// Begins work that blocks the thread, unless the leader is at work already.
    pub(super) fn begin_work(&self) {
        if !self.is_at_work.load(Ordering::Relaxed) {
            self.begin_poll(Waker::noop());
        }
    }

    pub(super) fn begin_poll(&self, waker: &Waker) {
        let mut state = self.state();
        self.is_at_work.store(true, Ordering::Relaxed);
        state.woken_at = None;
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    pub(super) fn end_poll(&self) {
        let _state = self.state();
        self.is_at_work.store(false, Ordering::Relaxed);
    }

    /// Returns how long the leader could have gone on and was not polled.
    pub(super) fn idle_time(&self) -> Duration {
        let state = self.state();
        match state.woken_at {
            Some(woken_at) if !self.is_at_work.load(Ordering::Relaxed) => woken_at.elapsed(),
            _ => Duration::ZERO,
        }
    }

    fn state(&self) -> MutexGuard<'_, PollState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the leader was woken, and wakes its task.
    pub(super) fn wake_leader(&self) {
        let mut state = self.state();
        state.woken_at.get_or_insert_with(Instant::now);
        let waker = state.waker.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for Liveness {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_leader();
    }
}
