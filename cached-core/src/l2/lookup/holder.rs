//! The liveness of the holder of a lease, judged by the remaining times that the tier reports.
//!
//! A holder renews its lease while its load is at work. A process that has died does not, and its lease may
//! never end if the server's clock was set back. The decision reads no clock of its own. `wait` has the wait
//! for a live holder, and `l2::lease` the side of the holder.

use std::time::Duration;

use crate::base::clock::Nanos;

/// Number of lease lengths without a renewal after which the holder of a lease is presumed lost.
///
/// The end of the lease is not decisive: the server's clock may have been set back since it was taken.
/// Holders renew after each third of the length.
const LOST_AFTER_LEASES: u32 = 3;

/// Liveness of the holder of a lease: while the holder is alive, the end of its lease moves on.
pub(super) struct Holder {
    lease: Duration,
    /// Time of the last observation, and the remaining time of the lease then.
    last: Option<(Nanos, Duration)>,
    renewed_at: Nanos,
}

impl Holder {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, last: None, renewed_at: 0 }
    }

    /// Returns whether the end of the lease has not moved for too long. `left` is its remaining time.
    pub(super) fn is_lost(&mut self, left: Duration, now: Nanos) -> bool {
        /// Divisor of a lease length. The end of a lease may seem to move by that part: the server's clock is
        /// known only up to a round trip.
        const TOLERANCE_DIVISOR: u32 = 10;

        let has_not_moved = self.last.is_some_and(|(then, before)| {
            let passed = Duration::from_nanos(now.saturating_sub(then));
            left.saturating_add(passed) <= before.saturating_add(self.lease / TOLERANCE_DIVISOR)
        });
        if !has_not_moved {
            self.renewed_at = now;
        }
        self.last = Some((now, left));
        Duration::from_nanos(now.saturating_sub(self.renewed_at)) >= LOST_AFTER_LEASES * self.lease
    }
}
