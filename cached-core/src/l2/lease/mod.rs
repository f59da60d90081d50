//! Leases: the right of one load, over all processes, to store its value.
//!
//! A lease is a token in the key itself. Any removal of the key removes the lease as well, and a fill
//! compares the token. So a load that was overtaken by an invalidation stores nothing: this is the fence.
//!
//! A lease passes through these states:
//!
//! * *Requested*: a [`LeaseAttempt`]. If the reply is lost, dropping the attempt releases the lease, in case it was
//!   granted.
//! * *Held*: a [`Lease`]. While the load is at work, the renewer renews the lease and the generations of its
//!   tags.
//! * *Over*: after the reply to a fill, or after a release.
//!
//! Epochs are taken before each request to the tier. After a release there may be nothing under the name, and
//! the tier does not report the removal of nothing. So if no value is kept, the name's epoch ends as well.
//!
//! A tier may report this process's own changes, such as the lease itself. So an ended epoch does not prove
//! an invalidation: the tier is asked again before a load or a value is given up.
//!
//! `lookup` requests leases, `call::run` and `call::publish` use them, `pending_releases` counts those being
//! released.

mod renewer;
#[cfg(test)]
mod tests;

use std::{future::Future, mem, sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle};

use self::renewer::LeaseRenewer;
use crate::{
    base::{
        clock::{Nanos, nanos},
        planted::planted,
    },
    coherence::{epoch::Epoch, validity::Validity},
    error::{shared::SharedLoadError, tier::TierError},
    key::entry_key::SharedKey,
    l2::{
        note,
        pending_releases::PendingRelease,
        shared::{Fill, Life, Shared},
    },
    telemetry::{functions::FunctionMetrics, span::Span, stats::Count, step::TimedSpan},
    tier::{
        Filled, JournalPosition, LARGE_VALUE, LeaseMode, LeaseRequest, LeaseToken, Lookup, Note, Record,
        Revision, TagRequest, Tier, TierFill, budget::Budget, feed::ChangeFeed,
    },
    value::envelope::{self, Expect},
};

/// The right to store a value, held from before a load until its value is stored.
///
/// A held lease is renewed. If it is dropped before the store, it is released.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    name: SharedKey,
    token: LeaseToken,
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

/// Result of a fill.
pub(crate) enum Verdict {
    /// The shared tier has the value, and this process may keep it with this validity.
    Stored(Validity),
    /// The shared tier cannot hold the value and has a stub instead. This process may keep the value with
    /// this validity.
    Stubbed(Validity),
    /// An invalidation overtook the load.
    Rejected,
    /// The result is not known. The caller decides by the validity of the load.
    Undecided,
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

    /// Returns whether the tier still has the lease: then its key was not invalidated since it was taken.
    pub(crate) async fn is_in_place(&self) -> Result<bool, TierError> {
        self.shared.tier.renew(&self.name.text, self.token, self.shared.lease).await
    }

    pub(crate) fn revision(&self) -> u64 {
        self.token.revision()
    }

    /// Returns the lease if it still holds after an epoch of its validity has ended.
    ///
    /// The change may have been the lease itself, since a tier may report a process's own changes. If the
    /// lease and the tags are unchanged, the lease gets new epochs. If the tier cannot be asked, it gets them
    /// as well, and the fill decides. Otherwise the lease is released.
    pub(crate) async fn reconfirm(mut self) -> Option<Self> {
        let Self { shared, name, token, validity, .. } = &self;
        // New epochs are taken before the tier is asked, so that any later invalidation ends them.
        let renewed = if validity.tags.is_empty() {
            Some(shared.detached_validity(&name.text, &[]))
        } else {
            recheck_tags(shared, validity).await
        };
        if let Some(renewed) = renewed
            && shared.tier.renew(&name.text, *token, shared.lease).await.unwrap_or(true)
        {
            self.validity = Validity { epoch: renewed.epoch, tags: renewed.tags, ..self.validity.clone() };
            return Some(self);
        }
        let Self { shared, name, token, .. } = &self;
        // The release precedes the next lease request, so that its notification cannot invalidate the next
        // lease.
        let _ = shared.tier.release(&name.text, *token, false).await;
        shared.epochs.end(&name.text);
        self.mark_over();
        None
    }

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

    /// Stores the value, if the lease is still the current one.
    ///
    /// `value_tags` are the tags that come from the value. `bind` is called with the validity that
    /// includes them, so that the load depends on their epochs as well.
    pub(crate) async fn fill(
        &mut self,
        fill: Fill,
        value_tags: &[String],
        function: &FunctionMetrics,
        budget: Budget,
        bind: impl Fn(&Validity),
    ) -> Verdict {
        let mut step = TimedSpan::begin(Span::fill(function.name()), &self.shared.clock);
        let verdict = step.instrument(self.try_fill(fill, value_tags, function, budget, bind)).await;
        step.end(match &verdict {
            Ok(Verdict::Stored(_)) => "stored",
            Ok(Verdict::Rejected) => "rejected",
            Ok(Verdict::Stubbed(_)) => "stubbed",
            Ok(Verdict::Undecided) | Err(_) => "undecided",
        });
        let (count, verdict) = match verdict {
            Ok(verdict @ Verdict::Stored(_)) => (Count::SharedFill, verdict),
            Ok(Verdict::Rejected) => (Count::SharedReject, Verdict::Rejected),
            // Counted where the value is kept.
            Ok(verdict @ Verdict::Stubbed(_)) => return verdict,
            Ok(Verdict::Undecided) | Err(_) => (Count::SharedFillError, Verdict::Undecided),
        };
        function.add(count);
        verdict
    }

    async fn try_fill(
        &mut self,
        fill: Fill,
        value_tags: &[String],
        function: &FunctionMetrics,
        budget: Budget,
        bind: impl Fn(&Validity),
    ) -> Result<Verdict, TierError> {
        let (life, created_ms) = (fill.life, fill.created_ms);
        if !value_tags.is_empty() {
            if !self.add_tags(value_tags, life.usable_for().saturating_add(life.spare)).await? {
                return Ok(Verdict::Rejected);
            }
            bind(&self.validity);
        }
        if planted!("tag-generation-after-load") {
            let tags = self.validity.tag_keys();
            let request = TagRequest { keys: &tags, keep: life.ttl, needs_position: false };
            let leased = self.shared.tier.lease(&[], request).await?;
            let validity = self.shared.detached_validity(&self.name.text, &tags);
            self.validity = validity.with_generations(leased.generations);
        }
        let is_checked = function.is_codec_check_due();
        let (bytes, mut is_stub) = match self.shared.seal(&self.name, fill, &self.validity, is_checked) {
            Ok(bytes) => {
                function.record_encoded(is_checked);
                function.record_value_size(bytes.len());
                (bytes, false)
            }
            Err(error) => {
                function.warn_unshared(&error);
                let stub = self.shared.seal_stub(&self.name, created_ms, life);
                (stub.map_err(|_| TierError::Unavailable)?, true)
            }
        };
        if planted!("unleased-fill") {
            let (key, token, lease) = (self.name.text.as_str(), self.token, self.shared.lease);
            let request = LeaseRequest { key, token, lease, mode: LeaseMode::Always };
            self.shared
                .tier
                .lease(&[request], TagRequest { keys: &[], keep: lease, needs_position: false })
                .await?;
        }
        let length = bytes.len();
        let Some((requested_at, filling)) = self.prepare_fill(bytes, life, budget) else {
            return Ok(Verdict::Undecided);
        };
        let (mut requested_at, mut filled) = (requested_at, filling.await);
        if let Err(error @ (TierError::Timeout | TierError::Refused(_))) = &filled
            && length > LARGE_VALUE
        {
            let fill_error = error.clone();
            if self.has_stored_value().await {
                // Another process may read that value, so it is not replaced by a stub.
                return Err(fill_error);
            }
            // A small value may still get through. The stub lives as long as the value would: each process
            // keeps its own value for that time, and the tier does not report the removal of a key that is
            // not there any more.
            let stub = self.shared.seal_stub(&self.name, created_ms, life);
            let stub = stub.map_err(|_| TierError::Unavailable)?;
            let Some((stub_requested_at, filling)) = self.prepare_fill(stub, life, Budget::Own) else {
                return Ok(Verdict::Undecided);
            };
            let stubbed = filling.await?;
            if stubbed.stored.first() != Some(&true) {
                // The value itself may have been stored.
                return Ok(Verdict::Undecided);
            }
            function.warn_large_value_not_stored(length, &fill_error);
            (requested_at, filled, is_stub) = (stub_requested_at, Ok(stubbed), true);
        }
        let into_verdict: fn(Validity) -> Verdict = if is_stub { Verdict::Stubbed } else { Verdict::Stored };
        let mut filled = filled?;
        // Stored or not, the lease has ended.
        self.is_over = true;
        self.shared.epochs.notify_listeners(&self.name.text);
        if filled.stored.pop() != Some(true) {
            return Ok(Verdict::Rejected);
        }
        let is_other_feed = !self.validity.feed.is_same(&filled.feed);
        if (is_other_feed || !filled.feed.is_tracked()) && !self.validity.tags.is_empty() {
            // Invalidations of the tags were reported over another change feed, over one that has ended, or
            // not at all. The fill has compared only the key.
            return Ok(self.revalidate().await?.map_or(Verdict::Rejected, into_verdict));
        }
        let validity = Validity { checked_at: requested_at, feed: filled.feed, ..self.validity.clone() };
        if validity.is_intact() {
            return Ok(into_verdict(validity));
        }
        // A name was reported as changed since the lease was taken. The cause may be the lease itself, as a
        // tier may report a process's own changes. So the tier is asked whether the value is still there.
        Ok(self.revalidate().await?.map_or(Verdict::Rejected, into_verdict))
    }

    /// Returns whether the key has a value that is not a stub. If that cannot be found out, it returns true.
    async fn has_stored_value(&self) -> bool {
        let expect = Expect { schema: self.name.schema, check: self.name.check };
        match self.shared.tier.get(&self.name.text).await {
            Ok((Record::Value(stored), _)) => {
                let opened = envelope::open(&stored.bytes, &expect, &self.shared.limits);
                !opened.is_ok_and(|opened| opened.header.is_stub)
            }
            reply => reply.is_err(),
        }
    }

    /// Prepares a fill that replaces the lease with these bytes. Returns the time of the request and the
    /// future of its reply.
    ///
    /// Returns `None` if the value has expired by now.
    fn prepare_fill(
        &self,
        bytes: Vec<u8>,
        life: Life,
        budget: Budget,
    ) -> Option<(Nanos, impl Future<Output = Result<Filled, TierError>>)> {
        let ttl = self.shared.remaining_life(life)?;
        let requested_at = self.shared.clock.now();
        // The value may outlive the generations: only the value determined its ttl, or the load took long.
        let expires_at = requested_at.saturating_add(nanos(ttl));
        let extends_tags = expires_at > self.tags_kept_until && !planted!("tag-kept-for-load");
        let tags = if extends_tags { self.validity.tag_keys() } else { Vec::new() };
        let fill = TierFill { key: self.name.text.clone(), token: self.token, bytes, ttl, tags };
        Some((requested_at, self.shared.tier.fill_within(vec![fill], budget)))
    }

    async fn revalidate(&self) -> Result<Option<Validity>, TierError> {
        revalidate(&self.shared, &self.name.text, &self.validity, self.revision()).await
    }

    /// Adds tags that were not known before the load. Returns whether none was invalidated since then.
    async fn add_tags(&mut self, tags: &[String], keep: Duration) -> Result<bool, TierError> {
        let Some((since, _)) = &self.journal else { return Ok(false) };
        let (requested_at, is_first) = (self.shared.clock.now(), self.validity.tags.is_empty());
        let Some(validity) = claim_tags(&self.shared, &self.validity, *since, tags, keep).await? else {
            return Ok(false);
        };
        self.validity = validity;
        if is_first {
            self.tags_kept_until = requested_at.saturating_add(nanos(keep));
        }
        Ok(true)
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

    /// Returns the validity of the value in this process while the shared tier may not have it.
    ///
    /// It depends on the own epoch of the name, because changes by leases of other loads do not concern the
    /// value.
    pub(crate) fn detached_validity(&self) -> Validity {
        let epoch = self.shared.own_epoch(&self.name.text);
        Validity { epoch, ..self.validity.detached(self.shared.clock.now()) }
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

    /// Marks the lease as over and stops its renewal. Returns whether it was held.
    fn mark_over(&mut self) -> bool {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        !mem::replace(&mut self.is_over, true)
    }
}

/// Releases a lease, and ends the epoch of its name.
async fn release_and_end_epoch(shared: &Shared, name: &str, token: LeaseToken) {
    let _ = shared.tier.release(name, token, false).await;
    shared.epochs.end(name);
}

/// Reason for the release of a lease without a value.
enum ReleaseReason {
    /// The load did not complete.
    Aborted,
    /// The load has nothing to share.
    NothingToShare,
    Error(Note),
}

/// Releases a lease in the background, and ends the epoch of its name.
///
/// Afterwards there may be nothing under the name, and the tier does not report the removal of nothing. So
/// entries that depend on the name must not stay valid.
fn release_in_background(
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

impl Drop for Lease {
    fn drop(&mut self) {
        self.release(ReleaseReason::Aborted);
    }
}

/// Returns `validity` as of now, if the tier still has `revision` and the generations of the tags.
///
/// Then nothing was invalidated since `validity` was made.
pub(crate) async fn revalidate(
    shared: &Arc<Shared>,
    name: &str,
    validity: &Validity,
    revision: Revision,
) -> Result<Option<Validity>, TierError> {
    let tags = validity.tag_keys();
    let renewed = shared.detached_validity(name, &tags);
    // The tier does not know the invalidations in the outbox.
    if shared.outbox.may_match(std::iter::once(name).chain(tags.iter().map(String::as_str))) {
        return Ok(None);
    }
    let lookup = Lookup::if_none_match(name, revision);
    let found = shared.tier.lookup(&[lookup], &tags).await?;
    let is_current = validity.generations().map(Some).eq(found.generations);
    if !(is_current && matches!(found.records.first(), Some(Record::Unchanged))) {
        return Ok(None);
    }
    let renewed = renewed.with_generations(validity.generations());
    Ok(Some(Validity { feed: found.feed, ..renewed }))
}

/// Returns `validity` with tags that were not known before the load, if none was invalidated since `since`.
pub(crate) async fn claim_tags(
    shared: &Arc<Shared>,
    validity: &Validity,
    since: JournalPosition,
    tags: &[String],
    keep: Duration,
) -> Result<Option<Validity>, TierError> {
    let epochs: Vec<_> = tags.iter().map(|tag| shared.epoch(tag)).collect();
    // The outbox is checked after the epochs are taken: an undelivered invalidation is added to it before the
    // epochs end.
    if shared.outbox.may_match(tags.iter().map(String::as_str)) {
        return Ok(None);
    }
    let claimed = shared.tier.claim_tags(tags, keep, since).await?;
    let generations = match claimed.generations {
        Some(generations) => generations,
        None if planted!("tag-adopted-unasked") => {
            shared.tier.lease(&[], TagRequest { keys: tags, keep, needs_position: false }).await?.generations
        }
        None => return Ok(None),
    };
    let known = validity.tags.iter().cloned();
    Ok(Some(Validity {
        tags: known.chain(epochs.into_iter().zip(generations)).collect(),
        feed: ChangeFeed::merge([validity.feed.clone(), claimed.feed]),
        ..validity.clone()
    }))
}

/// Returns `validity` with new epochs; `None` if one of its tags has another generation.
///
/// An epoch may have ended because its tag was created, since a tier may report a process's own changes. If
/// the tier cannot be asked, the result has new epochs as well, and the fill decides.
async fn recheck_tags(shared: &Arc<Shared>, validity: &Validity) -> Option<Validity> {
    let tags = validity.tag_keys();
    let renewed =
        shared.detached_validity(validity.epoch.name(), &tags).with_generations(validity.generations());
    match shared.tier.lookup(&[], &tags).await {
        Ok(found) if validity.generations().map(Some).ne(found.generations.iter().copied()) => None,
        _ => Some(renewed),
    }
}

/// A lease that was requested.
///
/// If the reply is not received, dropping this releases the lease, in case it was granted.
pub(crate) struct LeaseAttempt<'a> {
    shared: &'a Arc<Shared>,
    name: &'a str,
    token: LeaseToken,
    is_open: bool,
}

impl<'a> LeaseAttempt<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, name: &'a str) -> Self {
        Self { shared, name, token: LeaseToken::random(), is_open: true }
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
        let (shared, token) = (self.shared.clone(), self.token);
        let tags_kept_until = validity.checked_at.saturating_add(nanos(keep));
        Lease {
            shared,
            name,
            token,
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
