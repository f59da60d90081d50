//! The error type of a cache. The files beside it hold the errors of a tier and of a load.

pub(crate) mod load_timeout;
pub(crate) mod shared;
pub(crate) mod tier;

use std::fmt;

use crate::error::tier::TierError;

/// Error of building a cache, or of using it directly.
///
/// A function under `#[cached]` never returns it: failures of the cache do not reach callers of the function.
/// The message holds neither keys, nor values, nor credentials.
#[derive(Clone, Debug)]
pub struct Error(Kind);

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Config(String),
    Key(String),
    Codec(String),
    Tier(TierError),
    NotPropagated(TierError),
    NotConfirmed(TierError),
    Installed,
}

impl Error {
    /// Creates an error for a setting that cannot work.
    ///
    /// The text names the setting, and never a secret in it.
    pub fn config(message: impl Into<String>) -> Self {
        Self(Kind::Config(message.into()))
    }

    /// Creates an error for an argument that cannot be part of a key.
    pub fn key(why: impl Into<String>) -> Self {
        Self(Kind::Key(why.into()))
    }

    /// Creates an error for a value that cannot be encoded, decoded or stored.
    pub fn codec(why: impl Into<String>) -> Self {
        Self(Kind::Codec(why.into()))
    }

    pub(crate) fn not_propagated(cause: TierError) -> Self {
        Self(Kind::NotPropagated(cause))
    }

    pub(crate) fn not_confirmed(cause: TierError) -> Self {
        Self(Kind::NotConfirmed(cause))
    }

    pub(crate) fn installed() -> Self {
        Self(Kind::Installed)
    }

    /// Returns whether a setting cannot work.
    pub fn is_config(&self) -> bool {
        matches!(self.0, Kind::Config(_))
    }

    /// Returns whether an argument, such as a NaN, cannot be part of a key.
    pub fn is_key(&self) -> bool {
        matches!(self.0, Kind::Key(_))
    }

    /// Returns whether a value could not be encoded or decoded, or is too large to be stored.
    pub fn is_codec(&self) -> bool {
        matches!(self.0, Kind::Codec(_))
    }

    /// Returns whether the shared tier did not answer.
    pub fn is_tier(&self) -> bool {
        matches!(self.0, Kind::Tier(_))
    }

    /// Returns whether an invalidation did not reach the shared tier.
    ///
    /// This process does not serve the value any more, but other processes may. The invalidation is sent
    /// again as soon as the tier can be reached.
    pub fn is_not_propagated(&self) -> bool {
        matches!(self.0, Kind::NotPropagated(_))
    }

    /// Returns whether an invalidation reached the shared tier, but was not confirmed.
    ///
    /// It is unknown whether every process has handled it.
    pub fn is_not_confirmed(&self) -> bool {
        matches!(self.0, Kind::NotConfirmed(_))
    }

    /// Returns whether the process default was set, or used, before.
    pub fn is_installed(&self) -> bool {
        matches!(self.0, Kind::Installed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Config(message) => write!(f, "the configuration is invalid: {message}"),
            Kind::Key(why) => write!(f, "no valid key, tag or pattern: {why}"),
            Kind::Codec(why) => write!(f, "the value cannot be stored or read: {why}"),
            Kind::Tier(cause) => cause.fmt(f),
            Kind::NotPropagated(cause) => {
                write!(f, "holds in this process, but has not reached the shared tier yet: {cause}")
            }
            Kind::NotConfirmed(cause) => {
                write!(f, "invalidated, but not every process has confirmed it: {cause}")
            }
            Kind::Installed => f.write_str("the process default cannot be set: it was set or used before"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Tier(cause) | Kind::NotPropagated(cause) | Kind::NotConfirmed(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<TierError> for Error {
    fn from(cause: TierError) -> Self {
        Self(Kind::Tier(cause))
    }
}
