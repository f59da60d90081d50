//! The round trips of a heartbeat: sends a batch within its time, and records that the server has answered.
//!
//! A reply decides whether the breaker admits callers. So it is recorded whether the server was late, or this
//! process itself.

use std::{pin::pin, time::Instant};

use redis::RedisResult;
use tokio::time::timeout_at;

use crate::{
    availability::wait::within,
    node::heartbeat::{End, Heartbeat},
    protocol::batch::{Batch, Replies},
};

impl Heartbeat {
    /// Checks that the connection still works.
    pub(super) async fn check_connection(&mut self) -> Result<(), End> {
        if !self.may_acknowledge(true) {
            self.router.take_barrier();
        }
        let sent = Instant::now();
        let (mut replies, was_late) = self.send_batch(Batch::of(redis::cmd("TIME")), sent).await?;
        self.update_clock(replies.next(), sent);
        self.record_beat(sent, was_late);
        Ok(())
    }

    /// Sends a batch, and returns the replies and whether this process itself was late.
    ///
    /// If it was late, the replies do not show how long the server took.
    pub(super) async fn send_batch(&mut self, batch: Batch, sent: Instant) -> Result<(Replies, bool), End> {
        // A large value may precede the batch. The limit keeps the supervisor's signs of life frequent
        // enough.
        let transfer_time = self.link.transfers.estimated_time().min(self.settings.liveness_timeout() / 2);
        let mut request = pin!(batch.send(&mut self.session.connection));
        // The budget of a caller, since the reply decides whether the breaker admits callers.
        let budget = self.settings.read_timeout.min(self.settings.check_timeout);
        let (in_time, wait) = within(request.as_mut(), sent, budget).await;
        let was_late = wait.was_late(Instant::now());
        let replies = match in_time {
            Some(replies) => replies,
            None => timeout_at((sent + self.settings.check_timeout + transfer_time).into(), request)
                .await
                .map_err(|_| End::Broken)?,
        };
        replies.map(|replies| (replies, was_late)).map_err(|_| End::Broken)
    }

    /// Records the server's time. Without the right to use `TIME`, `PTTL` is queried for each value instead.
    #[allow(clippy::needless_pass_by_value, reason = "each reply is read once")]
    pub(super) fn update_clock(&mut self, time: RedisResult<(u64, u64)>, sent: Instant) {
        if let Ok(time) = time {
            self.session.clock.update(time, sent);
            self.schedule.record_clock_reading(sent);
        }
    }

    /// Records that the server has answered.
    pub(super) fn record_beat(&self, sent: Instant, was_late: bool) {
        if self.link.record_beat(sent, was_late) {
            // The cache resends the invalidations that could not be delivered.
            self.router.notify_restored();
        }
    }
}
