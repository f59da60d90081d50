//! How a shared tier is at this moment.

use serde::{Deserialize, Serialize};

use crate::tier::cause::TierCause;

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
