//! Health of a node.

use std::{sync::atomic::Ordering, time::Duration};

use cached_core::TierCause;

use crate::{
    availability::{
        health::{LargeHealth, RedisHealth},
        status::RedisState,
    },
    node::Node,
};

impl Node {
    pub(crate) fn health(&self) -> RedisHealth {
        let (gate, condition) = (self.gate(), self.condition());
        let facts = condition.facts();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        RedisHealth {
            state: condition.state(),
            cause: facts.cause(),
            breaker_open: gate.is_open(),
            breaker_opened: gate.open_count(),
            shed: gate.shed_count(),
            rounds: self.link.reads.rounds.load(Ordering::Relaxed),
            reads_in_rounds: self.link.reads.reads_in_rounds.load(Ordering::Relaxed),
            reconnects: condition.connections().saturating_sub(1),
            last_answer_ms: condition.time_since_reply().map(millis),
            round_trip_ms: condition.last_round_trip().map(millis),
            tracking: facts.tracking == Some(true),
            registered: self.member.registry_number().is_some(),
            large: self.large.get().map(|large| large_health(large)),
        }
    }
}

fn large_health(node: &Node) -> LargeHealth {
    let (gate, condition) = (node.gate(), node.condition());
    LargeHealth {
        state: condition.state(),
        // Without a recorded cause, the next connection is being made.
        cause: condition
            .facts()
            .cause()
            .or_else(|| (condition.state() == RedisState::Down).then_some(TierCause::Lost)),
        breaker_open: gate.is_open(),
        breaker_opened: gate.open_count(),
        reconnects: condition.connections().saturating_sub(1),
    }
}
