//! Discovery of the cluster: finds a server that can be reached, and accepts the slot maps of servers.
//!
//! The seeds are retried while no server can be reached. One map is accepted at a time, and an older one
//! never replaces a newer one, unless the cluster was reset or none of the known servers could be reached.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use cached_core::TierError;
use futures_util::future::{Either, select};
use tokio::{runtime::Handle, time::timeout};

use crate::{
    availability::status::RedisState,
    cluster::{Shared, map::SlotMap},
};

impl Shared {
    /// Returns the slot map, and waits for the first one.
    ///
    /// The wait is bounded by `budget`, or by the connect timeout if that is longer and no attempt has ended
    /// yet.
    pub(super) async fn current_map(self: &Arc<Self>, budget: Duration) -> Result<Arc<SlotMap>, TierError> {
        Handle::try_current().map_err(|_| TierError::Unavailable)?;
        self.connect_to_seeds();
        if let Some(map) = &*self.map.borrow() {
            return Ok(Arc::clone(map));
        }
        let nodes = self.all_nodes();
        // The runtime on which their tasks were started may have ended.
        nodes.iter().try_for_each(|node| node.ensure_running())?;
        if nodes.iter().all(|node| node.link.is_down()) {
            return Err(TierError::Unavailable);
        }
        let mut map_receiver = self.map.subscribe();
        let is_first = *self.state.borrow() == RedisState::Untried;
        let wait = if is_first { budget.max(self.settings.connect_timeout) } else { budget };
        let mut state = self.state.subscribe();
        let all_down = state.wait_for(|state| *state == RedisState::Down);
        // If all attempts have failed, no map arrives.
        let first_map = async {
            match select(pin!(map_receiver.wait_for(Option::is_some)), pin!(all_down)).await {
                Either::Left((received, _)) => received.ok().and_then(|map| map.clone()),
                Either::Right(_) => None,
            }
        };
        timeout(wait, first_map).await.ok().flatten().ok_or(TierError::Unavailable)
    }

    /// Connects to the seeds if no server can be reached.
    ///
    /// The seeds may know other servers by then, and those of a cluster that was created anew. They may also
    /// name the same unreachable servers again. So a seed that is not among the known servers is retried only
    /// once per `retry_max`, no more often than a lost connection.
    pub(super) fn connect_to_seeds(self: &Arc<Self>) {
        if self.all_nodes().iter().any(|node| !node.link.is_down()) {
            return;
        }
        self.accepts_any_map.store(true, Ordering::Relaxed);
        let may_retry = {
            let mut last_seed_attempt = self.last_seed_attempt.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = last_seed_attempt.is_none_or(|last| last.elapsed() >= self.settings.retry_max);
            if is_due {
                *last_seed_attempt = Some(Instant::now());
            }
            is_due
        };
        for seed in &self.seeds {
            let address = format!("{seed:?}").into();
            if may_retry || self.nodes().by_address.contains_key(&address) {
                self.node_at(&address, seed.clone());
            }
        }
    }

    /// Accepts the slot map that a server has reported.
    ///
    /// A map with a lower epoch than the known one is ignored, with two exceptions: the cluster was reset
    /// (`is_reset`), so that all its epochs start again, or no server could be reached before. A map without
    /// owners is ignored as well.
    pub(super) fn accept_map(self: &Arc<Self>, map: SlotMap, is_reset: bool) {
        let _guard = self.accept_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let owners = map.owners();
        let is_behind = self.map.borrow().as_ref().is_some_and(|known| known.epoch() > map.epoch());
        if owners.is_empty() || (is_behind && !is_reset && !self.accepts_any_map.load(Ordering::Relaxed)) {
            return;
        }
        self.accepts_any_map.store(false, Ordering::Relaxed);
        self.map.send_replace(Some(Arc::new(map)));
        for owner in &owners {
            self.node(owner);
        }
        let remove_gone = |nodes: &mut HashMap<_, _>| -> Vec<_> {
            nodes.extract_if(|address, _| !owners.contains(address)).collect()
        };
        let removed = self.update_nodes(remove_gone);
        // Not under the lock: a node that is dropped ends its connection, and reports its state.
        for (_, node) in removed.unwrap_or_default() {
            let reconnects = node.condition().connections().saturating_sub(1);
            self.past_reconnects.fetch_add(reconnects, Ordering::Relaxed);
        }
        self.publish_state();
    }
}
