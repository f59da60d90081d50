//! Settings of the caches under test. They are small, so that a short run has time for everything that takes
//! long.

use serde::{Deserialize, Serialize};

use crate::clock::ms;

/// Timeouts and bounds of a cache, all in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Staleness bound.
    pub(crate) bound: u64,
    /// Outage grace, after the bound.
    pub(crate) grace: u64,
    pub(crate) lease: u64,
    pub(crate) operation_timeout: u64,
    pub(crate) write_timeout: u64,
    pub(crate) connect_timeout: u64,
    pub(crate) retry_min: u64,
    pub(crate) retry_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bound: 300,
            grace: 2_000,
            lease: 200,
            operation_timeout: 200,
            write_timeout: 500,
            connect_timeout: 250,
            retry_min: 10,
            retry_max: 100,
        }
    }
}

/// Longest age of the witness's last answer, in nanoseconds. Beyond it, the worker is in an outage.
///
/// No cache goes on without an answer earlier than this. For example, followers wait 50 ms for the verdict
/// whether a value was stored.
pub(crate) const SLOW: u64 = ms(50);

impl Settings {
    pub(crate) fn bound_ns(&self) -> u64 {
        ms(self.bound)
    }

    /// Returns the longest time for which an invalidated entry may be served, in any outage.
    pub(crate) fn outage_ns(&self) -> u64 {
        ms(self.bound + self.grace)
    }

    /// Returns how long an outage continues after the witness got no answer for `stall`.
    ///
    /// After a stall of at least half of the shorter timeout, the cache may have given up a connection or an
    /// operation, and has to recover. After a shorter one, only entries that were stored without an answer
    /// are left. They live for the bound.
    pub(crate) fn aftermath_ns(&self, stall: u64) -> u64 {
        if stall < ms(self.operation_timeout.min(self.connect_timeout)) / 2 {
            self.bound_ns()
        } else {
            self.recovery_ns()
        }
    }

    /// Returns how long after the end of an outage a worker may not have noticed it.
    ///
    /// The steps are the wait for the next check of the connection, for which a quarter of the bound is
    /// counted, the timeout without an answer, the pause, and the new connection. The sum is doubled, because
    /// the worker also needs time to run.
    pub(crate) fn recovery_ns(&self) -> u64 {
        2 * ms(self.bound / 4 + self.connect_timeout + self.retry_max + self.operation_timeout)
    }
}
