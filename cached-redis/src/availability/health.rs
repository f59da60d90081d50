//! Counters and facts about the connections, for a health check to show.

use cached_core::TierCause;
use serde::{Deserialize, Serialize};

use crate::availability::status::RedisState;

/// What is known of Redis; made by [`RedisTier::health`](crate::RedisTier::health). It holds no address and no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedisHealth {
    /// How it stands.
    pub state: RedisState,
    /// Why it is not [`Up`](RedisState::Up), if it is not, and was tried.
    pub cause: Option<TierCause>,
    /// Whether Redis is not asked before a load, because it hangs or is slow.
    pub breaker_open: bool,
    /// How often that began.
    pub breaker_opened: u64,
    /// How many reads were turned away, because the breaker was open or too many waited.
    pub shed: u64,
    /// How often reads of many callers went to Redis together.
    pub rounds: u64,
    /// How many reads those were.
    pub reads_in_rounds: u64,
    /// How many connections came after the first one.
    pub reconnects: u64,
    /// How many milliseconds ago Redis last answered, refusals included. `None` if it never did.
    pub last_answer_ms: Option<u64>,
    /// How many milliseconds the last check of the connection took, which is about a round trip and what the server was at.
    /// `None` before the first one.
    pub round_trip_ms: Option<u64>,
    /// Whether Redis tells over the present connection what changes.
    pub tracking: bool,
    /// Whether this process stands in the register of those that share the namespace. A tier without a cache
    /// has none.
    pub registered: bool,
    /// How the connection for values of more than 256 KiB stands. `None` before the first such value.
    pub large: Option<LargeHealth>,
}

/// What is known of the connection for large values, which is made for the first of them. While it cannot be made, they go over the other one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LargeHealth {
    /// How it stands: one that could not be made is [`Down`](RedisState::Down).
    pub state: RedisState,
    /// Why it is not [`Up`](RedisState::Up), if it is not, and was tried.
    pub cause: Option<TierCause>,
    /// Whether no large value is read, because they do not come in time: each call loads its own.
    pub breaker_open: bool,
    /// How often that began.
    pub breaker_opened: u64,
    /// How many connections came after the first one.
    pub reconnects: u64,
}

impl LargeHealth {
    /// Those to all servers, as one: it stands as the worst of them.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only a cluster has several"))]
    pub(crate) fn together(all: impl Iterator<Item = Self>) -> Option<Self> {
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
