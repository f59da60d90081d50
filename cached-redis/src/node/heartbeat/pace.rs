//! The pace of a heartbeat: waits until the next one is due, and records the use of the connection meanwhile.
//!
//! `schedule` has the regular times. A pushed barrier, a request after a pause, and an event of the
//! connection end the wait early. No wait is longer than the interval of the supervisor's signs of life.

use std::time::Instant;

use tokio::time::timeout;

use crate::{connect::settings::MAX_HEARTBEAT_INTERVAL, node::heartbeat::Heartbeat};

impl Heartbeat {
    /// Waits until the next heartbeat is due. An urgent event notifies `heartbeat_due`.
    pub(super) async fn wait_until_due(&mut self, began: Instant) {
        loop {
            let now = Instant::now();
            let (is_quiet, is_calm) = (self.is_quiet(now), self.schedule.is_calm(now));
            self.link.set_calm(is_calm);
            // Only after `set_calm`: a later request wakes a calm heartbeat.
            let has_request = self.record_use(now);
            let is_over = (is_quiet && !self.is_quiet(now))
                || (has_request && is_calm && self.mode.is_noloop_suspended());
            let pause = self.next_due(began, is_quiet).saturating_duration_since(now);
            if is_over || pause.is_zero() {
                return;
            }
            if timeout(pause.min(MAX_HEARTBEAT_INTERVAL), self.router.heartbeat_due.notified()).await.is_ok()
            {
                return;
            }
            self.link.record_liveness();
        }
    }

    /// Returns whether anything was requested since the last call. Also records uses of the watermark.
    pub(super) fn record_use(&mut self, now: Instant) -> bool {
        let has_request = self.link.take_use();
        // A load under way counts as a request, since it writes its lease.
        if has_request || self.router.has_loads() {
            self.schedule.record_request(now);
        }
        if self.router.take_watermark_use() || has_request {
            self.schedule.record_use(now);
        }
        has_request
    }

    fn next_due(&self, began: Instant, is_quiet: bool) -> Instant {
        let acknowledgement =
            if self.may_acknowledge(is_quiet) { self.registrar.due(self.ack_delay()) } else { None };
        let probe = self.link.gate.probe_due();
        self.schedule.next_due(began, is_quiet, self.router.interval(), [acknowledgement, probe])
    }
}
