//! The orderly end of a cache: the flush of values that are being stored, and the close.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use crate::{base::race::within, cache::Cache, tier::Tier};

/// Limit of a flush without an explicit one.
const DEFAULT_FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// Limit of a close without an explicit one.
const DEFAULT_CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Interval between checks for loads under way and undelivered invalidations.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Limit for releasing the leases, and again for closing the shared tier.
const STEP_LIMIT: Duration = Duration::from_secs(1);

impl Cache {
    /// Waits until the values loaded so far have reached the shared tier, or have failed to.
    ///
    /// The wait is limited to 30 seconds. Values are stored in the background, so call this before a program
    /// exits, or call [`close`](Self::close), which also waits for loads and for undelivered invalidations.
    pub async fn flush(&self) {
        self.flush_within(DEFAULT_FLUSH_LIMIT).await;
    }

    /// Waits like [`flush`](Self::flush), but for at most `limit`. Returns whether all values were handed
    /// over.
    ///
    /// Values cannot be handed over while the shared tier hangs, or if they were loaded on a runtime that is
    /// not driven any more.
    pub async fn flush_within(&self, limit: Duration) -> bool {
        self.0.shared.background.flush(limit).await
    }

    /// Closes the cache like [`close_within`](Self::close_within), with a limit of ten seconds.
    pub async fn close(&self) -> bool {
        self.close_within(DEFAULT_CLOSE_LIMIT).await
    }

    /// Closes the cache: await this before the program exits, when no further calls begin.
    ///
    /// The close takes these steps:
    ///
    /// 1. It waits until the loads under way are over, their values have reached the shared tier, and so
    ///    have the invalidations that could not be delivered before, for at most `limit`.
    /// 2. It turns the cache off, for every handle and for ever: functions run as if they had no
    ///    attribute.
    /// 3. It releases the leases of loads that still go on, so that processes which wait for them go on at
    ///    once.
    /// 4. It leaves the register of the shared tier and closes the connection. Other processes then need
    ///    not wait for this one when they [confirm](crate::Invalidation::confirmed).
    ///
    /// Steps 3 and 4 take at most two seconds. Afterwards, invalidations return `NotPropagated`.
    ///
    /// Returns whether step 1 was over in time. If not, an invalidation may be lost: the shared tier may have a
    /// value that this process has invalidated ([`Health::pending_invalidations`]), until the value expires.
    ///
    /// [`Health::pending_invalidations`]: crate::Health::pending_invalidations
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_core::Error> {
    /// # extern crate cached_core as cached_aside;
    /// use std::time::Duration;
    ///
    /// use cached_aside::Cache;
    ///
    /// let cache = Cache::builder().build()?;
    /// assert!(cache.close_within(Duration::from_secs(5)).await);
    /// # Ok(()) }
    /// ```
    pub async fn close_within(&self, limit: Duration) -> bool {
        let started = Instant::now();
        let remaining = || limit.saturating_sub(started.elapsed());
        // A load that ends stores its value, as a background job that the flush waits for.
        while self.flights().len() > 0 && !remaining().is_zero() {
            within(POLL_INTERVAL.min(remaining()), pending::<()>()).await;
        }
        let are_values_stored = self.shared().background.flush(remaining()).await;
        let outbox = &self.shared().outbox;
        // A cache that is closed already sends nothing.
        while !outbox.is_empty() && !remaining().is_zero() && !*self.shared().closing.borrow() {
            self.resend();
            within(POLL_INTERVAL.min(remaining()), pending::<()>()).await;
        }
        let is_over = are_values_stored && self.flights().len() == 0 && outbox.is_empty();
        self.turn_off();
        let closing = &self.shared().closing;
        closing.send_replace(true);
        // Each task that holds a lease keeps a receiver of this channel until the lease is released.
        within(STEP_LIMIT, closing.closed()).await;
        within(STEP_LIMIT, self.shared().tier.close()).await;
        is_over
    }
}
