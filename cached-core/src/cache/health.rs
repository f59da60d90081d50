//! Health of a cache, for health checks and operators.

use serde::{Deserialize, Serialize};

use crate::{
    cache::{Cache, Mode},
    tier::{Tier, health::TierHealth},
};

/// Health of a cache, for a health check or a page for operators. More fields may come.
///
/// ```
/// # extern crate cached_core as cached_aside;
/// let cache = cached_aside::Cache::builder().build()?;
/// let health = cache.health();
/// assert!(health.tier.is_none() && health.is_healthy());
/// # Ok::<(), cached_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// Tiers that take part.
    pub mode: Mode,
    /// Health of the shared tier, as the tier reports it; `None` without a shared tier.
    pub tier: Option<TierHealth>,
    /// True if the shared tier is worth asking now; otherwise, or without one, reads and fills skip it.
    pub is_tier_ready: bool,
    /// Loads in progress.
    pub in_flight: u64,
    /// Calls that wait for the load of another call of this process.
    pub waiting: u64,
    /// Invalidations that the shared tier has not received yet.
    pub pending_invalidations: u64,
    /// Jobs that go on after callers were answered, such as storing values in the shared tier.
    pub background_jobs: u64,
    /// Entries in the in-process tier.
    pub l1_entries: u64,
    /// Estimated bytes of these entries.
    pub l1_bytes: u64,
    /// Prefixes and templates that several functions of this process use without the same `schema`.
    ///
    /// Placeholders are written as `{}`. The functions never serve each other's values, but displace them in
    /// the shared tier.
    pub clashes: Vec<String>,
}

impl Health {
    /// Returns whether the cache works in full and no function displaces values of another one.
    ///
    /// In full means: every tier takes part, the shared tier can be reached as far as that was tried, and it
    /// has received all invalidations. If this is `false`, calls still work. An operator should look, and the
    /// process need not be taken out of service.
    pub fn is_healthy(&self) -> bool {
        let is_reachable = self.tier.as_ref().is_none_or(|tier| tier.state.is_healthy());
        let is_tier_in_use = self.is_tier_ready || self.tier.is_none();
        let is_outbox_empty = self.pending_invalidations == 0;
        self.mode == Mode::On && is_reachable && is_tier_in_use && is_outbox_empty && self.clashes.is_empty()
    }
}

impl Cache {
    /// Returns the current health. It sends no request and returns at once.
    pub fn health(&self) -> Health {
        let shared = self.shared();
        let (l1_entries, l1_bytes) = self.l1().usage();
        Health {
            mode: self.mode(),
            tier: shared.has_tier.then(|| shared.tier.health()),
            is_tier_ready: shared.has_tier && shared.tier.ready(),
            in_flight: self.flights().len() as u64,
            waiting: self.flights().followers() as u64,
            pending_invalidations: shared.outbox.len() as u64,
            background_jobs: shared.background.len() as u64,
            l1_entries,
            l1_bytes,
            clashes: self.functions().clashes(),
        }
    }
}
