//! Counters and facts about the connection, for a health check to show.

use std::{sync::atomic::Ordering, time::Duration};

use cached_core::TierCause;
use serde::{Deserialize, Serialize};

use crate::{node::Node, state::RedisState, tier::RedisTier};

/// What is known of Redis; made by [`RedisTier::health`]. It holds no address and no credentials.
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
}

impl RedisTier {
    /// What is known of Redis now. This asks nobody.
    ///
    /// ```
    /// # fn main() -> Result<(), cached_core::Error> {
    /// let tier = cached_redis::RedisTier::builder("redis://127.0.0.1:6379/").build()?;
    /// let health = tier.health();
    /// assert_eq!((health.reconnects, health.last_answer_ms), (0, None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn health(&self) -> RedisHealth {
        self.way.health()
    }
}

impl Node {
    pub(crate) fn health(&self) -> RedisHealth {
        let (gate, condition) = (self.gate(), self.condition());
        let facts = condition.facts();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        RedisHealth {
            state: condition.state(),
            cause: facts.cause(),
            breaker_open: gate.is_open(),
            breaker_opened: gate.opened(),
            shed: gate.shed(),
            rounds: self.link.reads.rounds.load(Ordering::Relaxed),
            reads_in_rounds: self.link.reads.seats.load(Ordering::Relaxed),
            reconnects: condition.connections().saturating_sub(1),
            last_answer_ms: condition.silence().map(millis),
            round_trip_ms: condition.last_round_trip().map(millis),
            tracking: facts.tracking == Some(true),
            registered: self.member.registered_at().is_some(),
        }
    }
}
