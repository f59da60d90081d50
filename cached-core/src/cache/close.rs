//! The orderly end of a cache.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use crate::{base::race::within, cache::Cache, tier::Tier};

/// How long a close waits that was given no limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether all loads are over.
const PAUSE: Duration = Duration::from_millis(5);

/// How long it takes at most to give the leases back, and then to take leave.
const GOODBYE: Duration = Duration::from_secs(1);

impl Cache {
    /// As [`close_within`](Self::close_within), with ten seconds.
    pub async fn close(&self) -> bool {
        self.close_within(PATIENCE).await
    }

    /// Takes leave of the processes that share the tier: a program awaits it before it exits, when it begins no further calls.
    ///
    /// Waits until the loads under way are over and what they found has reached the shared tier, but no longer than `patience`.
    /// Then the cache is off, for every handle and for ever: functions run as if they had no attribute. The leases of loads that
    /// still go on are given back, so that processes that wait for them go on at once; the others need not wait for this
    /// process any more when they [confirm](crate::Invalidation::confirmed); and the connection is closed. This takes another two
    /// seconds at most. Invalidations return `NotPropagated` from then on.
    ///
    /// Returns whether everything was over in time.
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
    pub async fn close_within(&self, patience: Duration) -> bool {
        let began = Instant::now();
        let left = || patience.saturating_sub(began.elapsed());
        // A load that ends hands its value over, and then is a job in the background.
        while self.flights().len() > 0 && !left().is_zero() {
            within(PAUSE.min(left()), pending::<()>()).await;
        }
        let is_over = self.shared().background.flush(left()).await && self.flights().len() == 0;
        self.turn_off();
        let leaving = &self.shared().leaving;
        leaving.send_replace(true);
        // Each lease that is renewed listens to it, until it was given back.
        within(GOODBYE, leaving.closed()).await;
        within(GOODBYE, self.shared().tier.close()).await;
        is_over
    }
}
