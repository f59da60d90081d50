//! The reporter of slot maps from one server to its cluster.
//!
//! It holds the cluster weakly, since the cluster owns the server.

use std::sync::Weak;

use crate::{
    cluster::{Shared, map::SlotMap},
    connect::settings::Addresses,
    tracking::attachment::Registry,
};

/// Reporter of slot maps from one server to its cluster.
#[derive(Clone, Debug)]
pub(super) struct MapReporter {
    pub(super) cluster: Weak<Shared>,
    pub(super) host: String,
    pub(super) addresses: Addresses,
}

impl MapReporter {
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub(super) fn report(&self, map: SlotMap, is_reset: bool) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.accept_map(map, is_reset);
        }
    }

    pub(super) fn registries(&self) -> Vec<Registry> {
        self.cluster.upgrade().map(|cluster| cluster.registries()).unwrap_or_default()
    }
}
