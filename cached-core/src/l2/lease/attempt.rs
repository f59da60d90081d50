//! The request of a lease, from the draw of its token to the reply of the tier.
//!
//! The reply may be lost although the lease was granted. No process may wait for such a lease, so an attempt
//! that is dropped before its reply releases the lease.
//!
//! Invariant: an attempt ends once: as a lease, as refused, as withdrawn, or by its drop. `lookup` requests
//! leases, and `release` has the release.

use std::{sync::Arc, time::Duration};

use crate::{
    base::clock::nanos,
    coherence::{epoch::Epoch, validity::Validity},
    key::entry_key::SharedKey,
    l2::{
        lease::{
            Lease,
            release::{ReleaseReason, release_and_end_epoch, release_in_background},
        },
        shared::Shared,
    },
    tier::{JournalPosition, LeaseToken},
};

/// A lease that was requested.
///
/// If the reply is not received, dropping this releases the lease, in case it was granted.
pub(crate) struct LeaseAttempt<'a> {
    shared: &'a Arc<Shared>,
    name: &'a str,
    token: LeaseToken,
    length: Duration,
    is_open: bool,
}

impl<'a> LeaseAttempt<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, name: &'a str, length: Duration) -> Self {
        Self { shared, name, token: LeaseToken::random(), length, is_open: true }
    }

    pub(crate) fn token(&self) -> LeaseToken {
        self.token
    }

    pub(crate) fn set_refused(mut self) {
        self.is_open = false;
    }

    /// Releases the lease at once, because another part of the request was refused.
    pub(crate) async fn withdraw(mut self) {
        self.is_open = false;
        release_and_end_epoch(self.shared, self.name, self.token).await;
    }

    /// Converts this into a lease. The generations of the tags are kept for `keep` from before the request
    /// on.
    pub(crate) fn into_lease(
        mut self,
        name: SharedKey,
        validity: Validity,
        keep: Duration,
        journal: Option<(JournalPosition, Arc<Epoch>)>,
    ) -> Lease {
        self.is_open = false;
        let (shared, token, length) = (self.shared.clone(), self.token, self.length);
        let tags_kept_until = validity.checked_at.saturating_add(nanos(keep));
        Lease {
            shared,
            name,
            token,
            length,
            validity,
            journal,
            tags_kept_until,
            task: None,
            is_over: false,
            pending_release: None,
        }
    }
}

impl Drop for LeaseAttempt<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        release_in_background(self.shared, self.name.to_owned(), self.token, ReleaseReason::Aborted, None);
    }
}
