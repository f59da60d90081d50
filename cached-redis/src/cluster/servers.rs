//! The servers of a cluster, each of which is a [`Node`].
//!
//! The seeds are the first servers, and each slot map adds and removes some. All servers have the settings of
//! the cluster, except for the address. No existing node is called under the lock of [`Nodes`], because a
//! node that reports its state takes that lock.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLockReadGuard, atomic::Ordering},
};

use cached_core::TierError;

use crate::{
    cluster::{
        Shared,
        map::{Address, SlotMap},
        reporter::MapReporter,
    },
    connect::{endpoint::Endpoint, settings::Settings},
    node::{Node, heartbeat::Member},
    tracking::push::PushRouter,
};

/// The known servers.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) by_address: HashMap<Address, Arc<Node>>,
    /// All servers, as a slice that each operation can share.
    pub(super) all: Arc<[Arc<Node>]>,
    /// Set when the cluster is closed: no server is added any more.
    pub(super) is_closed: bool,
}

impl Shared {
    pub(super) fn nodes(&self) -> RwLockReadGuard<'_, Nodes> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns every server.
    ///
    /// No node is called under the lock, because a node takes it to report its state.
    pub(super) fn all_nodes(&self) -> Arc<[Arc<Node>]> {
        Arc::clone(&self.nodes().all)
    }

    /// Publishes the servers that `change` has added or removed.
    ///
    /// Returns `None` if the cluster is closed.
    pub(super) fn update_nodes<T>(
        &self,
        change: impl FnOnce(&mut HashMap<Address, Arc<Node>>) -> T,
    ) -> Option<T> {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.is_closed {
            return None;
        }
        let before = nodes.by_address.len();
        let changed = change(&mut nodes.by_address);
        if nodes.by_address.len() != before {
            nodes.all = nodes.by_address.values().cloned().collect();
        }
        Some(changed)
    }

    /// Returns the servers that hold slots in the map, and creates the missing ones.
    pub(super) fn owners(self: &Arc<Self>, map: &SlotMap) -> Result<Vec<Arc<Node>>, TierError> {
        map.owners().iter().map(|owner| self.node(owner).ok_or(TierError::Unavailable)).collect()
    }

    /// Returns the server at an address, and creates it if it is missing.
    pub(super) fn node(self: &Arc<Self>, address: &Address) -> Option<Arc<Node>> {
        if let Some(node) = self.nodes().by_address.get(address) {
            return Some(Arc::clone(node));
        }
        let endpoint = self.seeds.first()?.with_address(address)?;
        self.node_at(address, endpoint)
    }

    /// Returns the server at an address, and creates it with this endpoint if it is missing.
    ///
    /// Returns `None` if the cluster is closed.
    pub(super) fn node_at(self: &Arc<Self>, address: &Address, endpoint: Endpoint) -> Option<Arc<Node>> {
        let node = self.update_nodes(|nodes| {
            let new = || self.new_node(endpoint);
            Arc::clone(nodes.entry(Address::clone(address)).or_insert_with(new))
        })?;
        // At once, so that the first request need not wait for the connection. An error means that there is
        // no runtime, where no request can be sent either.
        let _ = node.ensure_running();
        Some(node)
    }

    fn new_node(self: &Arc<Self>, endpoint: Endpoint) -> Arc<Node> {
        let number = self.nodes_created.fetch_add(1, Ordering::Relaxed);
        let addresses = self.settings.addresses.clone();
        let reporter = MapReporter { cluster: Arc::downgrade(self), host: endpoint.host(), addresses };
        let router = PushRouter::of_cluster(reporter);
        let settings = Settings { endpoint, ..(*self.settings).clone() };
        let member = Member::new(format!("{}.{number}", self.member_prefix));
        let node = Node::new(Arc::new(settings), member, router);
        let cluster = Arc::downgrade(self);
        node.condition().on_change(move || {
            if let Some(cluster) = cluster.upgrade() {
                cluster.publish_state();
            }
        });
        if let Some(attached) = self.attached.get() {
            node.attach(attached.attachment().clone());
        }
        Arc::new(node)
    }
}
