//! Leases: the request of a load, its token, and the reply of the tier.
//!
//! The token under a key is the fence: a fill stores only if the token of its load is still there. An
//! invalidation removes the token with the key.
//!
//! Invariant: each load has a token of its own, which `Debug` does not show. `fill` uses a lease up, and
//! `l2::lease` holds it during the load.

use std::{fmt, sync::Arc, time::Duration};

use crate::tier::{feed::ChangeFeed, record::Revision, tags::JournalPosition};

/// Token of a load, which its lease carries. It is drawn anew for each load, and cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub [u8; 16]);

impl LeaseToken {
    /// Returns the [`Revision`] of the value that this load fills: never zero.
    pub fn revision(&self) -> Revision {
        self.0.first_chunk().copied().map_or(1, u64::from_le_bytes).max(1)
    }
}

/// Hides the token, since it authorizes a fill.
impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(..)")
    }
}

/// Request of a load for a lease.
///
/// `Debug` does not show the key, as it holds the arguments of a call.
#[derive(Clone, Copy)]
pub struct LeaseRequest<'a> {
    /// Key to load.
    pub key: &'a str,
    /// Token of the load.
    pub token: LeaseToken,
    /// Duration of the lease, unless it is renewed.
    pub lease: Duration,
    /// Condition under which the lease is granted.
    pub mode: LeaseMode,
}

impl fmt::Debug for LeaseRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseRequest")
            .field("token", &self.token)
            .field("lease", &self.lease)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// Condition under which a lease is granted. An existing value stays, and is served, until the fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseMode {
    /// There is neither a value nor another lease.
    IfAbsent,
    /// There is no other lease, and no value except the one with this revision.
    IfRevision(Revision),
    /// No condition. A lease of another load is replaced, and that load's fill is rejected.
    Always,
}

/// Reply to a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseReply {
    /// The caller holds the lease.
    Granted,
    /// Another load holds the lease, which ends after this time unless it is renewed.
    HeldElsewhere(Duration),
    /// There is a value that the caller has not seen.
    ValueChanged,
}

/// Answer to requests for leases and for generations of tags.
#[derive(Clone, Debug)]
pub struct Leased {
    /// One reply for each request, in order.
    pub replies: Vec<LeaseReply>,
    /// One generation for each tag, in order.
    pub generations: Vec<u64>,
    /// Position of the journal of invalidated tags at the time of the request, if it was asked for.
    pub position: Option<JournalPosition>,
    /// Change feed that reports later changes of these keys and tags.
    pub feed: Arc<ChangeFeed>,
}
