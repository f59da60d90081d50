//! What the other modules need to know, checked.

use std::{fmt, sync::Arc, time::Duration};

use crate::connect::{endpoint::Endpoint, query::Protocol};

/// How often a connection is checked at least.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// The longest time that Redis is told, a century: a longer one is cut to it, as Redis refuses a point in time that
/// does not fit 64 bits.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The settings of a tier. No duration is zero, and `retry_min <= retry_max`.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    pub(crate) protocol: Protocol,
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only a cluster has several"))]
    pub(crate) addresses: Addresses,
    /// Budget of an operation that somebody waits for before he has a value.
    pub(crate) read_timeout: Duration,
    /// Budget of an operation that writes.
    pub(crate) write_timeout: Duration,
    /// Budget of connecting until the server has answered.
    pub(crate) connect_timeout: Duration,
    /// Budget of each later check.
    pub(crate) check_timeout: Duration,
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
    /// How many reads, and how many writes, may be under way at the same time.
    pub(crate) max_in_flight: usize,
    /// Whether operations go over another connection while this one is down, which they are not to do in each short gap.
    pub(crate) has_substitute: bool,
}

/// Where the servers of a cluster are for this process, by what they announce.
#[derive(Clone, Default)]
pub(crate) struct Addresses(pub(crate) Option<Arc<AddressMap>>);

pub(crate) type AddressMap = dyn Fn(&str, u16) -> Option<(String, u16)> + Send + Sync;

#[cfg(feature = "cluster")]
impl Addresses {
    /// Where the server is that announces this; as `host:port`.
    pub(crate) fn of(&self, host: &str, port: u16) -> String {
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
    /// A time within which a supervisor that still runs has shown a sign of life.
    pub(crate) fn sign_of_life(&self) -> Duration {
        let longest_wait = HEARTBEAT.max(self.connect_timeout).max(self.check_timeout).max(self.retry_max);
        longest_wait.saturating_mul(3)
    }
}

/// Redis refuses a life of less than a millisecond, and one that ends past the range of its clock.
pub(crate) fn millis(life: Duration) -> u64 {
    u64::try_from(life.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_fits_what_redis_accepts() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_micros(2500)), 2);
        assert_eq!(millis(Duration::MAX), 3_153_600_000_000);
    }
}
