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
pub(super) struct Liveness(Mutex<Beat>);

struct Beat {
    waker: Option<Waker>,
    /// Time of the first wake since the last poll began.
    woken: Option<Instant>,
    polling: bool,
}

impl Liveness {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Beat { waker: None, woken: Some(Instant::now()), polling: false }))
    }

    /// Counts a new future as woken, because it waits for its first poll.
    pub(super) fn expect_poll(&self) {
        self.beat().woken.get_or_insert_with(Instant::now);
    }

    pub(super) fn begin_poll(&self, waker: &Waker) {
        let mut beat = self.beat();
        beat.woken = None;
        beat.polling = true;
        match &mut beat.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    pub(super) fn end_poll(&self) {
        self.beat().polling = false;
    }

    /// Returns how long the leader could have gone on and was not polled.
    pub(super) fn idle(&self) -> Duration {
        let beat = self.beat();
        match beat.woken {
            Some(woken) if !beat.polling => woken.elapsed(),
            _ => Duration::ZERO,
        }
    }

    fn beat(&self) -> MutexGuard<'_, Beat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Liveness {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut beat = self.beat();
        beat.woken.get_or_insert_with(Instant::now);
        let waker = beat.waker.clone();
        drop(beat);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
