//! The validated settings that all other modules use.

use std::{fmt, sync::Arc, time::Duration};

use crate::connect::{endpoint::Endpoint, query::Protocol};

/// Longest interval between two heartbeats of a connection in use.
pub(crate) const MAX_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Longest duration that is sent to Redis: a century.
///
/// A longer one is cut to it, as Redis refuses a point in time that does not fit 64 bits.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Settings of a tier. No duration is zero, and `retry_min <= retry_max`.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    pub(crate) protocol: Protocol,
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only a cluster maps addresses"))]
    pub(crate) addresses: Addresses,
    /// Budget of an operation that a caller awaits before it has a value.
    pub(crate) read_timeout: Duration,
    /// Budget of an operation that writes.
    pub(crate) write_timeout: Duration,
    /// Budget of a connection attempt, until the server has answered.
    pub(crate) connect_timeout: Duration,
    /// Budget of each later check of the connection.
    pub(crate) check_timeout: Duration,
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
    /// Maximum number of reads, and of writes, under way at the same time.
    pub(crate) max_in_flight: usize,
    /// Set if operations use another connection while this one is down.
    ///
    /// The gap before an immediate replacement then does not count as down, so that operations wait for it
    /// instead.
    pub(crate) has_substitute: bool,
}

/// Map from the addresses that cluster servers announce to those that this process can reach.
#[derive(Clone, Default)]
pub(crate) struct Addresses(pub(crate) Option<Arc<AddressMap>>);

pub(crate) type AddressMap = dyn Fn(&str, u16) -> Option<(String, u16)> + Send + Sync;

#[cfg(feature = "cluster")]
impl Addresses {
    /// Returns the address of the server that announces this host and port, as `host:port`.
    pub(crate) fn resolve(&self, host: &str, port: u16) -> String {
        match self.0.as_ref().and_then(|map| map(host, port)) {
            Some((host, port)) => format!("{host}:{port}"),
            None => format!("{host}:{port}"),
        }
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Addresses").field(&self.0.is_some()).finish()
    }
}

impl Settings {
    /// Returns a time within which a running supervisor shows a sign of life.
    pub(crate) fn liveness_timeout(&self) -> Duration {
        let longest_wait =
            MAX_HEARTBEAT_INTERVAL.max(self.connect_timeout).max(self.check_timeout).max(self.retry_max);
        longest_wait.saturating_mul(3)
    }
}

/// Converts a lifetime to milliseconds, from 1 to a century.
///
/// Redis refuses a lifetime of less than a millisecond, and one that ends beyond the range of its clock.
pub(crate) fn millis(lifetime: Duration) -> u64 {
    u64::try_from(lifetime.min(MAX_DURATION).as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetime_is_limited_to_what_redis_accepts() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_micros(2500)), 2);
        assert_eq!(millis(Duration::MAX), 3_153_600_000_000);
    }
}
