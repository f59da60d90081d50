//! The settings of the caches under test. They are small, so that what takes long takes long enough in a short run.

use serde::{Deserialize, Serialize};

use crate::clock::ms;

/// All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// How old the proof of freshness of an entry may be.
    pub(crate) bound: u64,
    /// How much longer an entry is served in an outage.
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

/// A worker whose witness has no fresher answer than this is in an outage. It lies below all times after which a
/// cache does without an answer, such as the 50 ms for which those who wait for a load wait to hear whether it was
/// stored.
pub(crate) const SLOW: u64 = ms(50);

impl Settings {
    pub(crate) fn bound_ns(&self) -> u64 {
        ms(self.bound)
    }

    /// The most that an invalidated entry may be served for, in whatever outage.
    pub(crate) fn outage_ns(&self) -> u64 {
        ms(self.bound + self.grace)
    }

    /// After a witness had no answer for `stall`, for how long the outage goes on. If that is too short for the
    /// cache to have given up a connection or an operation, only what was kept without an answer is left, and that
    /// lives for the bound.
    pub(crate) fn aftermath_ns(&self, stall: u64) -> u64 {
        if stall < ms(self.operation_timeout.min(self.connect_timeout)) / 2 {
            self.bound_ns()
        } else {
            self.recovery_ns()
        }
    }

    /// After an outage has ended, for how long a worker may not have noticed: it checks its connection once in a
    /// quarter of the bound, gives up when there is no answer, pauses, and connects anew. Twice that, since it also
    /// has to find the time to run.
    pub(crate) fn recovery_ns(&self) -> u64 {
        2 * ms(self.bound / 4 + self.connect_timeout + self.retry_max + self.operation_timeout)
    }
}
