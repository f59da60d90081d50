//! Usability of a link: whether an operation may start over the current session.
//!
//! Two facts count. A heartbeat has admitted operations until some time, because this process is registered,
//! or need not or cannot be. The supervisor gives signs of life: one on a runtime that stands still does not
//! replace a broken connection.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::node::{link::Link, session::Session};

/// Times that determine whether operations may start, in microseconds after `began`.
#[derive(Debug)]
pub(super) struct Usability {
    began: Instant,
    /// Time until which operations need not wait for a heartbeat.
    usable_until: AtomicU64,
    /// Notified when more operations may start, or when the session has ended.
    changed: Notify,
    /// Time of the supervisor's last sign of life.
    last_liveness: AtomicU64,
}

impl Usability {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            usable_until: AtomicU64::new(0),
            changed: Notify::new(),
            last_liveness: AtomicU64::new(0),
        }
    }

    /// Notifies waiting operations that the session has ended.
    pub(super) fn notify_change(&self) {
        self.changed.notify_waiters();
    }

    fn micros_at(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.began).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX)
    }
}

impl Link {
    /// Lets operations start without a heartbeat until `until`.
    pub(crate) fn set_usable_until(&self, until: Instant) {
        self.usability.usable_until.store(self.usability.micros_at(until), Ordering::Release);
        self.usability.changed.notify_waiters();
    }

    /// Makes operations wait for a heartbeat from now on.
    pub(crate) fn set_unusable(&self) {
        self.usability.usable_until.store(0, Ordering::Release);
    }

    /// Returns whether the others know that this process may read at `now`, and serve the entries.
    pub(crate) fn is_usable_at(&self, now: Instant) -> bool {
        self.usability.micros_at(now) < self.usability.usable_until.load(Ordering::Acquire)
    }

    /// Returns the current connection once operations may start; `None` if there is no connection.
    pub(crate) async fn usable_session(&self, request_heartbeat: impl Fn()) -> Option<Arc<Session>> {
        loop {
            let mut usability_changed = pin!(self.usability.changed.notified());
            usability_changed.as_mut().enable();
            let session = self.session().await?;
            if self.is_usable_at(Instant::now()) {
                return Some(session);
            }
            request_heartbeat();
            usability_changed.await;
        }
    }

    /// Records a sign of life of the supervisor.
    pub(crate) fn record_liveness(&self) {
        self.usability.last_liveness.store(self.usability.micros_at(Instant::now()), Ordering::Release);
    }

    /// Returns the time since the supervisor's last sign of life.
    pub(crate) fn time_since_liveness(&self) -> Duration {
        self.time_since_liveness_at(Instant::now())
    }

    pub(crate) fn time_since_liveness_at(&self, now: Instant) -> Duration {
        let last_liveness = self.usability.last_liveness.load(Ordering::Acquire);
        Duration::from_micros(self.usability.micros_at(now).saturating_sub(last_liveness))
    }

    /// Returns whether the supervisor has given no sign of life since `began`.
    ///
    /// A heartbeat that was sent in the meantime checks the connection as well.
    pub(crate) fn is_unchecked(&self, began: Instant, now: Instant) -> bool {
        self.time_since_liveness_at(now) >= now.saturating_duration_since(began)
    }
}
