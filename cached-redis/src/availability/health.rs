//! Counters and facts about the connections, for health checks.

use cached_core::TierCause;
use serde::{Deserialize, Serialize};

use crate::availability::status::RedisState;

/// Health of the Redis tier, returned by [`RedisTier::health`](crate::RedisTier::health).
///
/// It contains no address and no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedisHealth {
    /// State of the connection.
    pub state: RedisState,
    /// Reason why the state is not [`Up`](RedisState::Up).
    ///
    /// `None` while it is, and before the first connection attempt has ended.
    pub cause: Option<TierCause>,
    /// Set while Redis is not queried before a load, because it hangs or is slow.
    pub breaker_open: bool,
    /// Number of times that the breaker has opened.
    pub breaker_opened: u64,
    /// Number of reads rejected because the breaker was open or too many reads waited.
    pub shed: u64,
    /// Number of rounds: round trips that carry reads of several callers.
    pub rounds: u64,
    /// Number of reads that were sent in rounds.
    pub reads_in_rounds: u64,
    /// Number of reconnects: connections after the first one.
    ///
    /// In a cluster, the first connection to each server does not count.
    pub reconnects: u64,
    /// Milliseconds since the last reply of Redis, refusals included. `None` if it never replied.
    pub last_answer_ms: Option<u64>,
    /// Milliseconds that the last heartbeat took. `None` before the first one.
    ///
    /// This is about one round trip, plus the time for which the server was busy.
    pub round_trip_ms: Option<u64>,
    /// Set if Redis pushes changes over the current connection.
    pub tracking: bool,
    /// Set if this process is registered with the processes that share the namespace.
    ///
    /// A tier without a cache has no registry, and is never registered.
    pub registered: bool,
    /// Health of the connection for values of more than 256 KiB.
    ///
    /// `None` before the first such value.
    pub large: Option<LargeHealth>,
}

/// Health of the connection for large values.
///
/// The connection is made for the first large value. While it cannot be made, large values use the main
/// connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LargeHealth {
    /// State of the connection: [`Down`](RedisState::Down) if it could not be made.
    pub state: RedisState,
    /// Reason why the state is not [`Up`](RedisState::Up).
    ///
    /// `None` while it is, and before the first connection attempt has ended.
    pub cause: Option<TierCause>,
    /// Set while no large value is read, because they do not arrive in time.
    ///
    /// Each call then loads its own value.
    pub breaker_open: bool,
    /// Number of times that the breaker has opened.
    pub breaker_opened: u64,
    /// Number of connections after the first one.
    pub reconnects: u64,
}

impl LargeHealth {
    /// Combines the connections to all servers; the result has the worst of their states.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(dead_code, reason = "only a cluster has several connections to combine")
    )]
    pub(crate) fn combine(all: impl Iterator<Item = Self>) -> Option<Self> {
        let rank = |state| match state {
            RedisState::Up => 0,
            RedisState::Untried => 1,
            RedisState::Degraded => 2,
            RedisState::Down => 3,
        };
        all.reduce(|one, other| {
            let (breaker_open, reconnects) =
                (one.breaker_open || other.breaker_open, one.reconnects + other.reconnects);
            let breaker_opened = one.breaker_opened + other.breaker_opened;
            let worst = if rank(other.state) > rank(one.state) { other } else { one };
            Self { breaker_open, breaker_opened, reconnects, ..worst }
        })
    }
}
