//! State and health of a cluster, combined from those of its servers.
//!
//! Each server reports its changes, and the state is published anew for each of them, under `state_lock`. The
//! listener of the cache is notified under no lock, since it may query the tier.

use std::{
    mem,
    sync::{PoisonError, atomic::Ordering},
};

use cached_core::TierCause;
use tokio::sync::watch;

use crate::{
    availability::{
        health::{LargeHealth, RedisHealth},
        status::RedisState,
    },
    cluster::{Cluster, Shared},
};

impl Cluster {
    pub(crate) fn state(&self) -> RedisState {
        *self.0.state.borrow()
    }

    pub(crate) fn watch_state(&self) -> watch::Receiver<RedisState> {
        self.0.state.subscribe()
    }

    pub(crate) fn health(&self) -> RedisHealth {
        let nodes = self.nodes();
        let healths: Vec<_> = nodes.iter().map(|node| node.health()).collect();
        let state = self.state();
        // The first cause by name, so that it stays the same while nothing changes.
        let causes = healths.iter().filter_map(|health| health.cause.clone());
        let cause = match state {
            RedisState::Up | RedisState::Untried => None,
            _ => causes.min_by_key(TierCause::name).or(Some(TierCause::Connecting)),
        };
        // The first connection to each server is not a reconnect.
        RedisHealth {
            state,
            cause,
            round_trip_ms: healths.iter().filter_map(|health| health.round_trip_ms).max(),
            breaker_open: healths.iter().any(|health| health.breaker_open),
            breaker_opened: healths.iter().map(|health| health.breaker_opened).sum(),
            shed: healths.iter().map(|health| health.shed).sum(),
            rounds: healths.iter().map(|health| health.rounds).sum(),
            reads_in_rounds: healths.iter().map(|health| health.reads_in_rounds).sum(),
            reconnects: healths.iter().map(|health| health.reconnects).sum::<u64>()
                + self.0.past_reconnects.load(Ordering::Relaxed),
            last_answer_ms: healths.iter().filter_map(|health| health.last_answer_ms).min(),
            tracking: !healths.is_empty() && healths.iter().all(|health| health.tracking),
            registered: !healths.is_empty() && healths.iter().all(|health| health.registered),
            large: LargeHealth::combine(healths.iter().filter_map(|health| health.large.clone())),
        }
    }
}

impl Shared {
    /// Publishes the state.
    pub(super) fn publish_state(&self) {
        {
            // Under the lock, so that the last state computed is the last one published.
            let _guard = self.state_lock.lock().unwrap_or_else(PoisonError::into_inner);
            let states: Vec<_> = self.all_nodes().iter().map(|node| node.condition().state()).collect();
            let is_map_known = self.map.borrow().is_some();
            let published = *self.state.borrow();
            let state = combined_state(&states, is_map_known, published);
            self.state.send_if_modified(|published| mem::replace(published, state) != state);
        }
        if let Some(attached) = self.attached.get() {
            attached.attachment().listener.status_changed();
        }
    }
}

/// Returns the state of a cluster: up if all servers are up, and down if all are down.
fn combined_state(states: &[RedisState], is_map_known: bool, published: RedisState) -> RedisState {
    let are_all = |wanted| states.iter().all(|state| *state == wanted);
    match () {
        () if are_all(RedisState::Down) => RedisState::Down,
        () if are_all(RedisState::Up) && is_map_known => RedisState::Up,
        // The state stays `Untried` until all servers of the first map were tried.
        () if states.contains(&RedisState::Untried) && published == RedisState::Untried => {
            RedisState::Untried
        }
        () => RedisState::Degraded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RedisState::{Degraded, Down, Untried, Up};

    #[test]
    fn cluster_is_up_or_down_only_as_a_whole() {
        assert_eq!(combined_state(&[Up, Up], true, Untried), Up);
        assert_eq!(combined_state(&[Down, Down], true, Up), Down);
        for states in [[Up, Down], [Up, Degraded], [Degraded, Degraded], [Down, Degraded]] {
            assert_eq!(combined_state(&states, true, Up), Degraded, "{states:?}");
        }
        assert_eq!(combined_state(&[], true, Up), Down, "no server is known");
    }

    #[test]
    fn seeds_that_are_up_do_not_make_the_cluster_up() {
        assert_eq!(combined_state(&[Up], false, Untried), Degraded);
    }

    #[test]
    fn cluster_is_untried_until_all_first_servers_were_tried() {
        assert_eq!(combined_state(&[Up, Untried], true, Untried), Untried);
        assert_eq!(combined_state(&[Up, Untried], true, Up), Degraded, "a server was added");
    }
}
