//! The one error type.

pub(crate) mod load_timeout;
pub(crate) mod shared;
pub(crate) mod tier;

use std::fmt;

use crate::error::tier::TierError;

/// What can go wrong when a cache is built or asked directly.
///
/// A function under `#[cached]` never returns it: trouble of the cache stays in the cache. The message holds
/// neither keys, nor values, nor credentials.
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
    /// A setting that cannot work; `what` names the setting, never a secret in it.
    pub fn config(what: impl Into<String>) -> Self {
        Self(Kind::Config(what.into()))
    }

    /// An argument that cannot be part of a key.
    pub fn key(why: impl Into<String>) -> Self {
        Self(Kind::Key(why.into()))
    }

    /// A value that cannot be encoded or decoded.
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

    /// A setting cannot work.
    pub fn is_config(&self) -> bool {
        matches!(self.0, Kind::Config(_))
    }

    /// An argument cannot be part of a key, such as a NaN.
    pub fn is_key(&self) -> bool {
        matches!(self.0, Kind::Key(_))
    }

    /// A value could not be encoded or decoded.
    pub fn is_codec(&self) -> bool {
        matches!(self.0, Kind::Codec(_))
    }

    /// The shared tier did not answer.
    pub fn is_tier(&self) -> bool {
        matches!(self.0, Kind::Tier(_))
    }

    /// This process no longer serves the value, but the shared tier could not be told, so other processes may. It is told
    /// as soon as it can be reached.
    pub fn is_not_propagated(&self) -> bool {
        matches!(self.0, Kind::NotPropagated(_))
    }

    /// The shared tier knows that the value is invalid, but it could not be found out whether every process does.
    pub fn is_not_confirmed(&self) -> bool {
        matches!(self.0, Kind::NotConfirmed(_))
    }

    /// The process default was set, or used, before.
    pub fn is_installed(&self) -> bool {
        matches!(self.0, Kind::Installed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Config(what) => write!(f, "the cache cannot be built: {what}"),
            Kind::Key(why) => write!(f, "not a cache key: {why}"),
            Kind::Codec(why) => write!(f, "not a storable value: {why}"),
            Kind::Tier(cause) => cause.fmt(f),
            Kind::NotPropagated(cause) => {
                write!(f, "invalidated in this process, but other processes could not be told: {cause}")
            }
            Kind::NotConfirmed(cause) => {
                write!(f, "invalidated, but not every process has confirmed it: {cause}")
            }
            Kind::Installed => f.write_str("the process default was set or used before"),
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
