//! What the other modules need to know, checked.

use std::time::Duration;

use crate::endpoint::Endpoint;

/// How often an idle connection is checked.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The settings of a tier. No duration is zero, and `retry_min <= retry_max`.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    /// Budget of an operation that reads.
    pub(crate) read_timeout: Duration,
    /// Budget of an operation that writes.
    pub(crate) write_timeout: Duration,
    /// Budget of connecting until the server has answered, and of each later check.
    pub(crate) connect_timeout: Duration,
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
}

impl Settings {
    /// A time within which a supervisor that still runs has shown a sign of life.
    pub(crate) fn sign_of_life(&self) -> Duration {
        let longest_wait = PING_INTERVAL.max(self.connect_timeout).max(self.retry_max);
        longest_wait.saturating_mul(3)
    }

    /// The longest time that anything waits for an answer.
    pub(crate) fn longest_answer(&self) -> Duration {
        self.read_timeout.max(self.write_timeout).max(self.connect_timeout)
    }
}
