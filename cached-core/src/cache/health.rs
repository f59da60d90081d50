//! How a cache is at this moment.

use serde::{Deserialize, Serialize};

use crate::{
    cache::{Cache, Mode},
    tier::{Tier, cause::TierCause},
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

/// What a shared tier says of itself. It holds neither addresses nor credentials. More fields may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TierHealth {
    /// Whether it works.
    pub state: TierState,
    /// Why it does not, or not fully: `None` if it does, if nothing was tried yet, or if the tier does not say.
    pub cause: Option<TierCause>,
    /// How often it lost its connection and got a new one.
    pub reconnects: u64,
    /// Whether it refuses to ask for a while, because asking took too long or failed too often.
    pub is_breaker_open: bool,
}

impl TierHealth {
    /// In this state, with nothing else to say.
    pub fn new(state: TierState) -> Self {
        Self { state, cause: None, reconnects: 0, is_breaker_open: false }
    }

    /// For this reason.
    #[must_use]
    pub fn cause(self, cause: Option<TierCause>) -> Self {
        Self { cause, ..self }
    }

    /// With so many reconnects.
    #[must_use]
    pub fn reconnects(self, reconnects: u64) -> Self {
        Self { reconnects, ..self }
    }

    /// With a breaker that is open or not.
    #[must_use]
    pub fn breaker_open(self, is_breaker_open: bool) -> Self {
        Self { is_breaker_open, ..self }
    }
}

/// Whether a shared tier works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TierState {
    /// Not known yet: nothing was asked, or the first attempt to connect has not ended.
    Untried,
    /// It does.
    Up,
    /// In part, or slowly.
    Degraded,
    /// It cannot be reached.
    Down,
}

impl TierState {
    /// Whether nothing is known to be wrong.
    pub fn is_well(self) -> bool {
        matches!(self, Self::Up | Self::Untried)
    }

    /// `untried`, `up`, `degraded` or `down`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
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
