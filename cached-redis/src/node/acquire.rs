//! The session of an operation: the current one, or the next one that comes within the budget.
//!
//! A session is used only if the supervisor gives signs of life and a recent heartbeat admits operations.
//! Only operations during the very first attempt wait longer than their budget.

use std::{sync::Arc, time::Instant};

use cached_core::TierError;
use tokio::{
    runtime::Handle,
    time::{timeout, timeout_at},
};

use crate::{
    availability::wait::WaitRecord,
    node::{Node, session::Session},
};

impl Node {
    /// Returns the current connection, if it is reliable.
    pub(super) fn usable_session(&self, began: Instant) -> Option<Arc<Session>> {
        if self.link.note_use() {
            self.router.heartbeat_due.notify_one();
        }
        // A supervisor that ends removes the connection, and one on a stalled runtime gives no signs of life.
        // During a pause without requests, the registration of this process may have expired.
        let is_driven = self.link.time_since_liveness_at(began) < self.settings.liveness_timeout();
        self.link.current_session().filter(|_| is_driven && self.link.is_usable_at(began))
    }

    /// Returns the current connection, or the next one if it comes within the budget.
    pub(super) async fn session(&self, wait: &mut WaitRecord) -> Result<Arc<Session>, TierError> {
        match self.usable_session(wait.began()) {
            Some(session) => {
                Handle::try_current().map_err(|_| TierError::Unavailable)?;
                Ok(session)
            }
            None => Box::pin(self.next_session(wait)).await,
        }
    }

    /// Waits for the next connection.
    async fn next_session(&self, wait: &mut WaitRecord) -> Result<Arc<Session>, TierError> {
        // A process that asks at once, or only once, must get existing values, however far away the server
        // is. So the first connection may take its full time, and the operation gets the rest of it.
        let is_first = self.condition().is_untried();
        self.ensure_running()?;
        if is_first {
            let first = self.settings.connect_timeout;
            // The attempt times out by itself; waiting longer than that makes its outcome known.
            let time_limit = wait.budget().max(first.saturating_mul(2));
            let _ = timeout(time_limit, self.link.session()).await;
            wait.restart_after_first_connection(first);
        }
        let request_heartbeat = || self.router.heartbeat_due.notify_one();
        let session = timeout_at(wait.deadline().into(), self.link.usable_session(request_heartbeat)).await;
        let session = session.ok().flatten().ok_or(TierError::Unavailable)?;
        if !is_first && !self.settings.has_substitute {
            wait.restart_after_pause();
        }
        Ok(session)
    }
}
