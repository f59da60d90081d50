//! The task that renews a lease, and the generations of its tags, while the load is at work.
//!
//! A lease is short, so that other processes need not wait long for a process that has died. Therefore it is
//! renewed, but not for a load that is stalled.
//!
//! Invariant: a lease whose value would be rejected is not renewed, but released. [`Lease::renew_while`]
//! starts the task, and the end of the lease stops it.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    base::{
        clock::{Nanos, nanos},
        planted::planted,
        race::{Either, either, within},
    },
    coherence::validity::Validity,
    l2::{
        lease::{Lease, recheck::recheck_tags, release::release_and_end_epoch},
        shared::Shared,
    },
    tier::{LeaseToken, TagRequest, Tier},
};

/// Interval at which a load renews the generations of its tags, so that they do not expire before the fill.
pub(super) const TAG_RENEWAL_INTERVAL: Duration = Duration::from_secs(20);

/// Renewal of one lease.
pub(super) struct LeaseRenewer<W> {
    pub(super) shared: Arc<Shared>,
    pub(super) name: String,
    pub(super) token: LeaseToken,
    /// Validity of the load.
    pub(super) validity: Validity,
    /// Time for which each renewal keeps the generations of the tags.
    pub(super) keep: Duration,
    /// Time of the last renewal of the generations.
    pub(super) tags_renewed_at: Nanos,
    /// Returns whether the load is at work: other processes must not wait for one that is stalled.
    pub(super) is_progressing: W,
}

impl Lease {
    /// Renews the lease in the background while `is_progressing` returns true.
    ///
    /// Other processes must not wait for a load that is stalled.
    pub(crate) fn renew_while(&mut self, is_progressing: impl Fn() -> bool + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        if planted!("lease-not-renewed") {
            return;
        }
        let renewer = LeaseRenewer {
            shared: self.shared.clone(),
            name: self.name.text.clone(),
            token: self.token,
            keep: Duration::from_nanos(self.tags_kept_until.saturating_sub(self.validity.checked_at)),
            tags_renewed_at: self.validity.checked_at,
            validity: self.validity.clone(),
            is_progressing,
        };
        let task = runtime.spawn(renewer.run());
        self.task = Some(task.abort_handle());
    }
}

impl<W: Fn() -> bool> LeaseRenewer<W> {
    /// Renews the lease until it is lost, or the cache is closed.
    pub(super) async fn run(mut self) {
        let mut closing = self.shared.closing.subscribe();
        let mut pause = self.shared.lease / 3;
        loop {
            let closed = async {
                let _ = closing.wait_for(|is_closing| *is_closing).await;
            };
            if let Some(Either::Left(())) = within(pause, either(closed, any_tag_ended(&self.validity))).await
            {
                let _ = self.shared.tier.release(&self.name, self.token, false).await;
                return;
            }
            match self.renew().await {
                Some(next) => pause = next,
                None => return,
            }
        }
    }

    /// Renews the lease now, if the load is at work. Returns the time until the next renewal; `None` if the
    /// lease is lost.
    pub(super) async fn renew(&mut self) -> Option<Duration> {
        if !self.renew_tags().await {
            // The value would be rejected, so no process should wait for it.
            release_and_end_epoch(&self.shared, &self.name, self.token).await;
            return None;
        }
        let lease = self.shared.lease;
        if !(self.is_progressing)() {
            return Some(lease / 10);
        }
        match self.shared.tier.renew(&self.name, self.token, lease).await {
            Ok(true) => Some(lease / 3),
            Ok(false) => None,
            Err(_) => Some(lease / 10),
        }
    }

    /// Returns whether the tags still have the generations from before the load, and renews them after each
    /// [`TAG_RENEWAL_INTERVAL`].
    ///
    /// If that cannot be found out, it returns true.
    async fn renew_tags(&mut self) -> bool {
        if self.validity.tags.iter().any(|(tag, _)| !tag.is_alive()) {
            match recheck_tags(&self.shared, &self.validity).await {
                Some(current) => self.validity = current,
                None => return false,
            }
        }
        let now = self.shared.clock.now();
        if self.validity.tags.is_empty()
            || now.saturating_sub(self.tags_renewed_at) <= nanos(TAG_RENEWAL_INTERVAL)
        {
            return true;
        }
        let tags = self.validity.tag_keys();
        let request = TagRequest { keys: &tags, keep: self.keep, needs_position: false };
        match self.shared.tier.lease(&[], request).await {
            Ok(leased) if self.validity.generations().ne(leased.generations.iter().copied()) => return false,
            Ok(_) => self.tags_renewed_at = now,
            Err(_) => {}
        }
        true
    }
}

/// Waits until a tag is invalidated.
async fn any_tag_ended(validity: &Validity) {
    let mut listeners: Vec<_> =
        validity.tags.iter().map(|(tag, _)| Box::pin(tag.listen().changed())).collect();
    poll_fn(|cx| {
        let is_over = listeners.iter_mut().any(|listener| listener.as_mut().poll(cx).is_ready());
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
