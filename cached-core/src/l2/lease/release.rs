//! The ends of a lease that stores no value: a release, with its reason for waiting processes.
//!
//! After a release there may be nothing under the name, and the tier does not report the removal of nothing.
//! So if no value is kept, the epoch of the name ends as well.
//!
//! Invariant: the drop of a lease releases it, unless it is over. So it is released however its load ends.
//! `l2::pending_releases` counts the releases in the background, and `l2::note` has the text of an error.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::{
    coherence::validity::Validity,
    error::shared::SharedLoadError,
    l2::{lease::Lease, note, pending_releases::PendingRelease, shared::Shared},
    tier::{LeaseToken, Note, Tier},
};

/// Reason for the release of a lease without a value.
pub(super) enum ReleaseReason {
    /// The load did not complete.
    Aborted,
    /// The load has nothing to share.
    NothingToShare,
    Error(Note),
}

impl Lease {
    /// Releases the lease if the cache is closed before the load ends. Used for leases that are not renewed.
    pub(crate) fn release_on_close(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (shared, name, token) = (self.shared.clone(), self.name.text.clone(), self.token);
        let mut closing = shared.closing.subscribe();
        let task = runtime.spawn(async move {
            let _ = closing.wait_for(|is_closing| *is_closing).await;
            let _ = shared.tier.release(&name, token, false).await;
        });
        self.task = Some(task.abort_handle());
    }

    /// Releases the lease, because there is nothing to store. Waiting processes are notified of that.
    pub(crate) fn fail(mut self) {
        self.release(ReleaseReason::NothingToShare);
    }

    /// Releases the lease after an error, and leaves a note of the error for waiting processes.
    ///
    /// The note is empty if the error has no text.
    pub(crate) fn fail_with(mut self, error: Option<&SharedLoadError>) {
        let note = error.map(|error| note::seal(error, &self.name));
        self.release(ReleaseReason::Error(Note(note.unwrap_or_default())));
    }

    /// Releases the lease in the background, because the result of the fill is not known, or there can be no
    /// fill.
    ///
    /// Returns the validity of the value in this process.
    pub(crate) fn abandon(mut self) -> Validity {
        self.mark_over();
        let (shared, name, token) = (self.shared.clone(), self.name.text.clone(), self.token);
        self.shared.background.spawn(async move {
            let _ = shared.tier.release(&name, token, false).await;
            shared.epochs.notify_listeners(&name);
        });
        self.detached_validity()
    }

    /// Announces the release of the lease. Followers get the result after that, and one may call again at
    /// once.
    pub(crate) fn announce_release(&mut self) {
        self.pending_release = Some(self.shared.pending_releases.begin(&self.name.text, &self.shared.epochs));
    }

    fn release(&mut self, reason: ReleaseReason) {
        if self.mark_over() {
            let pending_release = self.pending_release.take();
            release_in_background(&self.shared, self.name.text.clone(), self.token, reason, pending_release);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release(ReleaseReason::Aborted);
    }
}

/// Releases a lease, and ends the epoch of its name.
pub(super) async fn release_and_end_epoch(shared: &Shared, name: &str, token: LeaseToken) {
    let _ = shared.tier.release(name, token, false).await;
    shared.epochs.end(name);
}

/// Releases a lease in the background, and ends the epoch of its name.
///
/// Afterwards there may be nothing under the name, and the tier does not report the removal of nothing. So
/// entries that depend on the name must not stay valid.
pub(super) fn release_in_background(
    shared: &Arc<Shared>,
    name: String,
    token: LeaseToken,
    reason: ReleaseReason,
    pending_release: Option<PendingRelease>,
) {
    let task_shared = shared.clone();
    let pending_release =
        pending_release.unwrap_or_else(|| shared.pending_releases.begin(&name, &shared.epochs));
    shared.background.spawn(async move {
        let _ = match reason {
            ReleaseReason::Aborted => task_shared.tier.release(&name, token, false).await,
            ReleaseReason::NothingToShare => task_shared.tier.release(&name, token, true).await,
            ReleaseReason::Error(note) => task_shared.tier.fail(&name, token, &note).await,
        };
        task_shared.epochs.end(&name);
        // Dropped last, so that a load that waited for the release takes epochs that begin after it.
        drop(pending_release);
    });
}
