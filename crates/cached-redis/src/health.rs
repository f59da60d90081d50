//! Counters and facts about the connection, for a health check to show.

use serde::{Deserialize, Serialize};

use crate::{node::Node, state::RedisState, tier::RedisTier};

/// What is known of Redis; made by [`RedisTier::health`]. It holds no address and no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedisHealth {
    /// How it stands.
    pub state: RedisState,
    /// Whether Redis is not asked before a load, because it hangs or is slow.
    pub breaker_open: bool,
    /// How often that began.
    pub breaker_opened: u64,
    /// How many reads were turned away, because the breaker was open or too many waited.
    pub shed: u64,
    /// How many connections came after the first one.
    pub reconnects: u64,
    /// How many milliseconds ago Redis last answered, refusals included. `None` if it never did.
    pub last_answer_ms: Option<u64>,
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
        let last_answer = condition.silence().map(|silence| silence.as_millis());
        RedisHealth {
            state: condition.state(),
            breaker_open: gate.is_open(),
            breaker_opened: gate.opened(),
            shed: gate.shed(),
            reconnects: condition.connections().saturating_sub(1),
            last_answer_ms: last_answer.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            tracking: facts.tracking == Some(true),
            registered: self.member.registered_at().is_some(),
        }
    }
}
