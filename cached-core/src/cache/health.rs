//! How a cache is at this moment.

use serde::{Deserialize, Serialize};

use crate::{
    cache::{Cache, Mode},
    tier::{Tier, health::TierHealth},
};

/// How a cache is at this moment, for a health check or a page for operators. More fields may come.
///
/// ```
/// # extern crate cached_core as cached_aside;
/// let cache = cached_aside::Cache::builder().build()?;
/// let health = cache.health();
/// assert!(health.tier.is_none() && health.is_well());
/// # Ok::<(), cached_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// Which tiers take part.
    pub mode: Mode,
    /// The shared tier's own word; `None` if there is no shared tier.
    pub tier: Option<TierHealth>,
    /// Whether it is worth asking the shared tier now: reads and fills pass it by otherwise. `false` if there is none.
    pub is_tier_ready: bool,
    /// Loads under way.
    pub in_flight: u64,
    /// Calls that wait for the load of another call of this process.
    pub waiting: u64,
    /// Invalidations that the shared tier has still to be told of.
    pub pending_invalidations: u64,
    /// What goes on after callers were answered, such as values on their way to the shared tier.
    pub background_jobs: u64,
    /// Entries in the in-process tier.
    pub l1_entries: u64,
    /// Their estimated bytes.
    pub l1_bytes: u64,
    /// Prefixes and templates, with `{}` for each placeholder, that more than one function of this process has, without a `schema` that
    /// says so. They never serve each other's values, but displace them in the shared tier.
    pub clashes: Vec<String>,
}

impl Health {
    /// Whether every tier that there is takes part and can be reached, as far as it was tried, and knows of all invalidations, and
    /// no two functions displace each other's values. If not, calls still work: an operator should look, and the process need not be
    /// taken out of service.
    pub fn is_well(&self) -> bool {
        let is_reachable = self.tier.as_ref().is_none_or(|tier| tier.state.is_well());
        let is_asked = self.is_tier_ready || self.tier.is_none();
        let is_told = self.pending_invalidations == 0;
        self.mode == Mode::On && is_reachable && is_asked && is_told && self.clashes.is_empty()
    }
}

impl Cache {
    /// How the cache is now. It asks nobody and returns at once.
    pub fn health(&self) -> Health {
        let shared = self.shared();
        let (l1_entries, l1_bytes) = self.l1().usage();
        Health {
            mode: self.mode(),
            tier: shared.exists.then(|| shared.tier.health()),
            is_tier_ready: shared.exists && shared.tier.ready(),
            in_flight: self.flights().len() as u64,
            waiting: self.flights().followers() as u64,
            pending_invalidations: shared.pending.len() as u64,
            background_jobs: shared.background.len() as u64,
            l1_entries,
            l1_bytes,
            clashes: self.functions().clashes(),
        }
    }
}
