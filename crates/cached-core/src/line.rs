//! The way over which a tier tells of changes, and how fresh its silence is.

use std::{sync::Arc, time::Instant};

use tokio::sync::Notify;

use crate::{
    clock::{Clock, Nanos},
    planted,
    sync::{AtomicBool, AtomicU64, Ordering, lazy},
};

/// One connection of a [`Tier`](crate::Tier), as far as it proves that what was read over it still holds.
///
/// A tier that watches what is read over a connection calls [`prove`](Self::prove) whenever it knows that it has handed
/// every change up to some moment to its [`Watcher`](crate::Watcher). When the connection is gone, the proof gets no
/// younger, and what was read over it is asked for again before it is served.
#[derive(Debug)]
pub struct Line {
    /// Every change up to this moment is known.
    proven: AtomicU64,
    watches: bool,
    /// Whether other processes know that this one may serve for a while without a proof.
    has_grace: AtomicBool,
    is_over: AtomicBool,
    over: Notify,
}

impl Line {
    fn new(proven: Nanos, watches: bool) -> Arc<Self> {
        Arc::new(Self {
            proven: AtomicU64::new(proven),
            watches,
            has_grace: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            over: Notify::new(),
        })
    }

    /// A connection that watches what is read over it, and has proven nothing yet.
    pub fn watching() -> Arc<Self> {
        Self::new(0, true)
    }

    /// As [`silent`](Self::silent), of one connection: it can end.
    pub fn deaf() -> Arc<Self> {
        Self::new(0, false)
    }

    /// No connection, or one that tells nothing: what is read over it holds for the bound of the cache, and no longer.
    pub fn silent() -> Arc<Self> {
        lazy!(static SILENT: Arc<Line> = Line::new(0, false));
        SILENT.clone()
    }

    /// What cannot change without this process knowing, until a [proof](Self::prove) says otherwise.
    pub fn certain() -> Arc<Self> {
        Self::new(Nanos::MAX, true)
    }

    /// Every change up to `moment` was handed to the watcher.
    pub fn prove(&self, moment: Instant) {
        self.prove_until(Clock::system_nanos(moment));
    }

    pub(crate) fn prove_until(&self, moment: Nanos) {
        self.proven.store(moment, Ordering::Release);
    }

    /// Whether entries may be served for the grace of an outage after this line was lost. Default: yes. A tier that
    /// could not register with the others says no, so that [`confirm`](crate::Tier::confirm) stays true.
    pub fn allow_grace(&self, is_allowed: bool) {
        self.has_grace.store(is_allowed, Ordering::Release);
    }

    /// The connection is gone: whoever waits for a change has to look again.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.over.notify_waiters();
    }

    #[inline]
    pub(crate) fn proven(&self) -> Nanos {
        if planted!("skip-reconnect") && self.is_over.load(Ordering::Acquire) {
            return Nanos::MAX;
        }
        self.proven.load(Ordering::Acquire)
    }

    /// Whether it tells, and is not over.
    pub(crate) fn is_live(&self) -> bool {
        self.watches && !self.is_over.load(Ordering::Acquire)
    }

    pub(crate) fn watches(&self) -> bool {
        self.watches
    }

    pub(crate) fn has_grace(&self) -> bool {
        self.has_grace.load(Ordering::Acquire)
    }

    /// Waits for [`end`](Self::end).
    pub(crate) async fn ended(&self) {
        let mut over = std::pin::pin!(self.over.notified());
        over.as_mut().enable();
        if !self.is_over.load(Ordering::Acquire) {
            over.await;
        }
    }
}
