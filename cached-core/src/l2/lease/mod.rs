//! Leases: the right of one load, over all processes, to store its value.
//!
//! A lease is a token in the key itself. Any removal of the key removes the lease as well, and a fill
//! compares the token. So a load that was overtaken by an invalidation stores nothing: this is the fence.
//!
//! A lease passes through these states:
//!
//! * *Requested*: a [`LeaseAttempt`]. If the reply is lost, dropping the attempt releases the lease, in
//!   case it was granted.
//! * *Held*: a [`Lease`]. While the load is at work, the renewer renews the lease and the generations of its
//!   tags.
//! * *Over*: after the reply to a fill, or after a release.
//!
//! Epochs are taken before each request to the tier, so that no invalidation is missed.
//!
//! This file has the held lease, and these files have the steps of its life:
//!
//! * `attempt`: the request of a lease.
//! * `renewer`: the task that renews it during the load.
//! * `recheck`: the question to the tier whether a lease, a value and tags are unchanged.
//! * `fill`: the store of the value.
//! * `value_tags`: the tags that only the value determines.
//! * `stub`: the stub of a value that the tier cannot hold.
//! * `fill_request`: the request that stores a value or a stub.
//! * `verdict`: the result of the store.
//! * `release`: the ends of a lease without a value.
//!
//! `lookup` requests leases, `call::run` and `call::publish` use them, `pending_releases` counts those being
//! released.

mod attempt;
mod fill;
mod fill_request;
mod recheck;
mod release;
mod renewer;
mod stub;
#[cfg(test)]
mod tests;
mod value_tags;
mod verdict;

use std::{mem, sync::Arc, time::Duration};

use tokio::task::AbortHandle;

pub(crate) use self::{attempt::LeaseAttempt, recheck::revalidate, value_tags::claim_tags, verdict::Verdict};
use crate::{
    base::clock::Nanos,
    coherence::{epoch::Epoch, validity::Validity},
    key::entry_key::SharedKey,
    l2::{pending_releases::PendingRelease, shared::Shared},
    tier::{JournalPosition, LeaseToken},
};

/// The right to store a value, held from before a load until its value is stored.
///
/// A held lease is renewed. If it is dropped before the store, it is released.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    name: SharedKey,
    token: LeaseToken,
    /// Time after which the lease ends, unless it is renewed.
    length: Duration,
    /// Validity from the time at which the lease was taken, before the load.
    pub(crate) validity: Validity,
    /// Position of the journal when the lease was taken, and the journal's epoch, which any invalidation of a
    /// tag ends.
    ///
    /// Present if the value may add tags and the tier has a journal.
    journal: Option<(JournalPosition, Arc<Epoch>)>,
    /// Time until which the generations of the tags are kept at least.
    tags_kept_until: Nanos,
    /// Task that renews the lease, or releases it when the cache is closed.
    task: Option<AbortHandle>,
    is_over: bool,
    /// Set when the release of the lease has been announced.
    pending_release: Option<PendingRelease>,
}

impl Lease {
    pub(crate) fn name(&self) -> &str {
        &self.name.text
    }

    /// Returns the position of the journal when the lease was taken, and the journal's epoch.
    ///
    /// The epoch has ended if an invalidation of any tag was reported to this process since before the load.
    pub(crate) fn journal(&self) -> Option<&(JournalPosition, Arc<Epoch>)> {
        self.journal.as_ref()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.token.revision()
    }

    /// Returns the validity of the value in this process while the shared tier may not have it.
    ///
    /// It depends on the own epoch of the name, because changes by leases of other loads do not concern the
    /// value.
    pub(crate) fn detached_validity(&self) -> Validity {
        let epoch = self.shared.own_epoch(&self.name.text);
        Validity { epoch, ..self.validity.detached(self.shared.clock.now()) }
    }

    /// Marks the lease as over and stops its renewal. Returns whether it was held.
    fn mark_over(&mut self) -> bool {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        !mem::replace(&mut self.is_over, true)
    }
}
