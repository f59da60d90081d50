//! State of a shared tier, for health checks.

use serde::{Deserialize, Serialize};

use crate::tier::cause::TierCause;

/// Health of a shared tier, as the tier reports it.
///
/// It holds neither addresses nor credentials. More fields may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TierHealth {
    /// State of the tier.
    pub state: TierState,
    /// Cause of a state that is not fully up.
    ///
    /// It is `None` if the tier works, if no connection was tried yet, or if the tier gives no cause.
    pub cause: Option<TierCause>,
    /// Number of times that a lost connection was replaced.
    pub reconnects: u64,
    /// True if the tier refuses requests for a while, because they took too long or failed too often.
    pub is_breaker_open: bool,
}

impl TierHealth {
    /// Creates a report of this state, without a cause or reconnects, and with the breaker closed.
    pub fn new(state: TierState) -> Self {
        Self { state, cause: None, reconnects: 0, is_breaker_open: false }
    }

    /// Sets the cause.
    #[must_use]
    pub fn cause(self, cause: Option<TierCause>) -> Self {
        Self { cause, ..self }
    }

    /// Sets the number of reconnects.
    #[must_use]
    pub fn reconnects(self, reconnects: u64) -> Self {
        Self { reconnects, ..self }
    }

    /// Sets whether the breaker is open.
    #[must_use]
    pub fn breaker_open(self, is_breaker_open: bool) -> Self {
        Self { is_breaker_open, ..self }
    }
}

/// State of a shared tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TierState {
    /// Unknown: no operation was started, or the first attempt to connect has not ended.
    Untried,
    /// The tier works.
    Up,
    /// The tier works in part, or slowly.
    Degraded,
    /// The tier cannot be reached.
    Down,
}

impl TierState {
    /// Returns whether no fault is known.
    pub fn is_healthy(self) -> bool {
        matches!(self, Self::Up | Self::Untried)
    }

    /// Returns the name: `untried`, `up`, `degraded` or `down`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}
