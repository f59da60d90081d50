//! Fills: the values to store, and the outcome.
//!
//! A fill carries the token of its load. The tier compares it with the lease under the key, and stores the
//! value only if they are the same.
//!
//! Invariant: an outcome has one flag for each fill, in order. `lease` has the token.

use std::{fmt, sync::Arc, time::Duration};

use crate::tier::{feed::ChangeFeed, lease::LeaseToken};

/// A value to store in a tier.
#[derive(Clone, PartialEq, Eq)]
pub struct TierFill {
    /// Key of the value.
    pub key: String,
    /// Token of the load that returned the value.
    pub token: LeaseToken,
    /// The value.
    pub bytes: Vec<u8>,
    /// Time for which the tier keeps the value; not zero.
    pub ttl: Duration,
    /// Tags of the value that may lose their generations before the value expires.
    ///
    /// A generation that still exists is kept for as long as the value. A missing one is not created.
    pub tags: Vec<String>,
}

impl fmt::Debug for TierFill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TierFill")
            .field("len", &self.bytes.len())
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// Outcome of fills.
#[derive(Clone, Debug)]
pub struct Filled {
    /// One flag for each fill, in order: true if the value was stored.
    pub stored: Vec<bool>,
    /// Change feed that reports later changes of the stored keys.
    pub feed: Arc<ChangeFeed>,
}
