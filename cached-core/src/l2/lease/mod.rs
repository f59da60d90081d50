//! Leases: the right of one load, over all processes, to store its value.
//!
//! A lease is a token in the key itself. Any removal of the key removes the lease as well, and a fill
//! compares the token. So a load that was overtaken by an invalidation stores nothing: this is the fence.
//!
//! A lease passes through these states:
//!
//! * *Requested*: a [`LeaseAttempt`]. If the reply is lost, dropping the pledge releases the lease, in case it was
//!   granted.
//! * *Held*: a [`Lease`]. While the load is at work, the `keeper` renews the lease and the generations of its
//!   tags.
//! * *Over*: after the reply to a fill, or after a release.
//!
//! Epochs are taken before each request to the tier. After a release there may be nothing under the name, and
//! the tier does not report the removal of nothing. So if no value is kept, the name's epoch ends as well.
//!
//! A tier may report this process's own changes, such as the lease itself. So an ended epoch does not prove
//! an invalidation: the tier is asked again before a load or a value is given up.
//!
//! `lookup` requests leases, `call::run` and `call::publish` use them, `returning` counts those being
//! released.

mod keeper;
#[cfg(test)]
mod tests;

use std::{future::Future, mem, sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle};

use self::keeper::LeaseRenewer;
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
        returning::PendingRelease,
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
    pub(crate) claim: Validity,
    /// Position of the journal when the lease was taken, and the journal's epoch, which any invalidation of a
    /// tag ends.
    ///
    /// Present if the value may add tags and the tier has a journal.
    since: Option<(JournalPosition, Arc<Epoch>)>,
    /// Time until which the generations of the tags are kept at least.
    tags_kept: Nanos,
    keeper: Option<AbortHandle>,
    is_over: bool,
    /// Set when the release of the lease has been announced.
    given_back: Option<PendingRelease>,
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

    /// Returns the epoch of the journal.
    ///
    /// It has ended if an invalidation of any tag was reported to this process since before the load.
    pub(crate) fn any_tag(&self) -> Option<Arc<Epoch>> {
        self.since.as_ref().map(|(_, any_tag)| any_tag.clone())
    }

    pub(crate) fn stamp(&self) -> u64 {
        self.token.stamp()
    }

    /// Returns the lease if it still holds after an epoch of its validity has ended.
    ///
    /// The change may have been the lease itself, since a tier may report a process's own changes. If the
    /// lease and the tags are unchanged, the lease gets new epochs. If the tier cannot be asked, it gets them
    /// as well, and the fill decides. Otherwise the lease is released.
    pub(crate) async fn reassured(mut self) -> Option<Self> {
        let Self { shared, name, token, claim, .. } = &self;
        // New epochs are taken before the tier is asked, so that any later invalidation ends them.
        let renewed = if claim.tags.is_empty() {
            Some(shared.silent_claim(&name.text, &[]))
        } else {
            ask_tags_again(shared, claim).await
        };
        if let Some(renewed) = renewed
            && shared.tier.renew(&name.text, *token, shared.lease).await.unwrap_or(true)
        {
            self.claim = Validity { mark: renewed.mark, tags: renewed.tags, ..self.claim.clone() };
            return Some(self);
        }
        let Self { shared, name, token, .. } = &self;
        // The release precedes the next lease request, so that its notification cannot invalidate the next
        // lease.
        let _ = shared.tier.release(&name.text, *token, false).await;
        shared.marks.end(&name.text);
        self.let_go();
        None
    }

    /// Renews the lease in the background while `is_at_work` returns true.
    ///
    /// Other processes must not wait for a load that is stalled.
    pub(crate) fn keep(&mut self, is_at_work: impl Fn() -> bool + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        if planted!("lease-not-renewed") {
            return;
        }
        let keeper = LeaseRenewer {
            shared: self.shared.clone(),
            name: self.name.text.clone(),
            token: self.token,
            keep: Duration::from_nanos(self.tags_kept.saturating_sub(self.claim.checked)),
            seeded: self.claim.checked,
            claim: self.claim.clone(),
            is_at_work,
        };
        let task = runtime.spawn(keeper.run());
        self.keeper = Some(task.abort_handle());
    }

    /// Releases the lease if the cache is closed before the load ends. Used for leases that are not renewed.
    pub(crate) fn give_back_at_close(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (shared, name, token) = (self.shared.clone(), self.name.text.clone(), self.token);
        let mut leaving = shared.leaving.subscribe();
        let task = runtime.spawn(async move {
            let _ = leaving.wait_for(|is_leaving| *is_leaving).await;
            let _ = shared.tier.release(&name, token, false).await;
        });
        self.keeper = Some(task.abort_handle());
    }

    /// Stores the value, if the lease is still the current one.
    ///
    /// `value_tags` are the tags that come from the value. `stand_on` is called with the validity that
    /// includes them, so that the load depends on their epochs as well.
    pub(crate) async fn fill(
        &mut self,
        fill: Fill,
        value_tags: &[String],
        function: &FunctionMetrics,
        budget: Budget,
        stand_on: impl Fn(&Validity),
    ) -> Verdict {
        let mut step = TimedSpan::begin(Span::fill(function.name()), &self.shared.clock);
        let verdict = step.around(self.try_fill(fill, value_tags, function, budget, stand_on)).await;
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
        stand_on: impl Fn(&Validity),
    ) -> Result<Verdict, TierError> {
        let (life, created_ms) = (fill.life, fill.created_ms);
        if !value_tags.is_empty() {
            if !self.add_tags(value_tags, life.whole().saturating_add(life.spare)).await? {
                return Ok(Verdict::Rejected);
            }
            stand_on(&self.claim);
        }
        if planted!("tag-generation-after-load") {
            let tags = self.claim.tag_keys();
            let ask = TagRequest { keys: &tags, keep: life.ttl, more: false };
            let leased = self.shared.tier.lease(&[], ask).await?;
            let claim = self.shared.silent_claim(&self.name.text, &tags);
            self.claim = claim.with_generations(leased.generations);
        }
        let is_checked = function.checks_codec();
        let (bytes, mut is_stub) = match self.shared.seal(&self.name, fill, &self.claim, is_checked) {
            Ok(bytes) => {
                function.trust_codec(is_checked);
                function.measures(bytes.len());
                (bytes, false)
            }
            Err(why) => {
                function.say_unshared(&why);
                let stub = self.shared.seal_stub(&self.name, created_ms, life);
                (stub.map_err(|_| TierError::Unavailable)?, true)
            }
        };
        if planted!("unleased-fill") {
            let (key, token, lease) = (self.name.text.as_str(), self.token, self.shared.lease);
            let claim = LeaseRequest { key, token, lease, take: LeaseMode::Always };
            self.shared.tier.lease(&[claim], TagRequest { keys: &[], keep: lease, more: false }).await?;
        }
        let length = bytes.len();
        let Some((asked, put)) = self.put(bytes, life, budget) else { return Ok(Verdict::Undecided) };
        let (mut asked, mut filled) = (asked, put.await);
        if let Err(error @ (TierError::Timeout | TierError::Refused(_))) = &filled
            && length > LARGE_VALUE
        {
            let why = error.clone();
            if self.is_over_value().await {
                // Another process may read that value, so it is not replaced by a stub.
                return Err(why);
            }
            // A small value may still get through. The stub lives as long as the value would: each process
            // keeps its own value for that time, and the tier does not report the removal of a key that is
            // not there any more.
            let stub = self.shared.seal_stub(&self.name, created_ms, life);
            let stub = stub.map_err(|_| TierError::Unavailable)?;
            let Some((again, put)) = self.put(stub, life, Budget::Own) else { return Ok(Verdict::Undecided) };
            let stubbed = put.await?;
            if stubbed.stored.first() != Some(&true) {
                // The value itself may have been stored.
                return Ok(Verdict::Undecided);
            }
            function.say_untaken(length, &why);
            (asked, filled, is_stub) = (again, Ok(stubbed), true);
        }
        let keep: fn(Validity) -> Verdict = if is_stub { Verdict::Stubbed } else { Verdict::Stored };
        let mut filled = filled?;
        // Stored or not, the lease has ended.
        self.is_over = true;
        self.shared.marks.nudge(&self.name.text);
        if filled.stored.pop() != Some(true) {
            return Ok(Verdict::Rejected);
        }
        let is_other_line = !self.claim.line.is_same(&filled.line);
        if (is_other_line || !filled.line.watches()) && !self.claim.tags.is_empty() {
            // Invalidations of the tags were reported over another change feed, over one that has ended, or
            // not at all. The fill has compared only the key.
            return Ok(self.look_again().await?.map_or(Verdict::Rejected, keep));
        }
        let claim = Validity { checked: asked, line: filled.line, ..self.claim.clone() };
        if claim.is_intact() {
            return Ok(keep(claim));
        }
        // A name was reported as changed since the lease was taken. The cause may be the lease itself, as a
        // tier may report a process's own changes. So the tier is asked whether the value is still there.
        Ok(self.look_again().await?.map_or(Verdict::Rejected, keep))
    }

    /// Returns whether the key has a value that is not a stub. If that cannot be found out, it returns true.
    async fn is_over_value(&self) -> bool {
        let expect = Expect { schema: self.name.schema, check: self.name.check };
        match self.shared.tier.look_at(&self.name.text).await {
            Ok((Record::Value(stored), _)) => {
                let opened = envelope::open(&stored.bytes, &expect, &self.shared.limits);
                !opened.is_ok_and(|opened| opened.header.is_stub)
            }
            looked => looked.is_err(),
        }
    }

    /// Prepares a fill that replaces the lease with these bytes. Returns the time of the request and the
    /// future of its reply.
    ///
    /// Returns `None` if the value has expired by now.
    fn put(
        &self,
        bytes: Vec<u8>,
        life: Life,
        budget: Budget,
    ) -> Option<(Nanos, impl Future<Output = Result<Filled, TierError>>)> {
        let ttl = self.shared.left(life)?;
        let asked = self.shared.clock.now();
        // The value may outlive the generations: only the value determined its ttl, or the load took long.
        let ends = asked.saturating_add(nanos(ttl));
        let prolongs = ends > self.tags_kept && !planted!("tag-kept-for-load");
        let tags = if prolongs { self.claim.tag_keys() } else { Vec::new() };
        let fill = TierFill { key: self.name.text.clone(), token: self.token, bytes, ttl, tags };
        Some((asked, self.shared.tier.fill_within(vec![fill], budget)))
    }

    async fn look_again(&self) -> Result<Option<Validity>, TierError> {
        look_again(&self.shared, &self.name.text, &self.claim, self.stamp()).await
    }

    /// Adds tags that were not known before the load. Returns whether none was invalidated since then.
    async fn add_tags(&mut self, tags: &[String], keep: Duration) -> Result<bool, TierError> {
        let Some((since, _)) = &self.since else { return Ok(false) };
        let (asked, is_first) = (self.shared.clock.now(), self.claim.tags.is_empty());
        let Some(claim) = adopt(&self.shared, &self.claim, *since, tags, keep).await? else {
            return Ok(false);
        };
        self.claim = claim;
        if is_first {
            self.tags_kept = asked.saturating_add(nanos(keep));
        }
        Ok(true)
    }

    /// Releases the lease, because there is nothing to store. Waiting processes are notified of that.
    pub(crate) fn fail(mut self) {
        self.give_back(End::Nothing);
    }

    /// Releases the lease after an error, and leaves a note of the error for waiting processes.
    ///
    /// The note is empty if the error has no text.
    pub(crate) fn fail_with(mut self, error: Option<&SharedLoadError>) {
        let note = error.map(|error| note::seal(error, &self.name));
        self.give_back(End::Error(Note(note.unwrap_or_default())));
    }

    /// Releases the lease in the background, because the result of the fill is not known, or there can be no
    /// fill.
    ///
    /// Returns the validity of the value in this process.
    pub(crate) fn leave(mut self) -> Validity {
        self.let_go();
        let (shared, name, token) = (self.shared.clone(), self.name.text.clone(), self.token);
        self.shared.background.spawn(async move {
            let _ = shared.tier.release(&name, token, false).await;
            shared.marks.nudge(&name);
        });
        self.here_only()
    }

    /// Returns the validity of the value in this process while the shared tier may not have it.
    ///
    /// It depends on the own epoch of the name, because changes by leases of other loads do not concern the
    /// value.
    pub(crate) fn here_only(&self) -> Validity {
        let mark = self.shared.own_mark(&self.name.text);
        Validity { mark, ..self.claim.silenced(self.shared.clock.now()) }
    }

    /// Announces the release of the lease. Followers get the result after that, and one may call again at
    /// once.
    pub(crate) fn begin_return(&mut self) {
        self.given_back = Some(self.shared.returning.begin(&self.name.text, &self.shared.marks));
    }

    fn give_back(&mut self, end: End) {
        if self.let_go() {
            let given_back = self.given_back.take();
            give_back_later(&self.shared, self.name.text.clone(), self.token, end, given_back);
        }
    }

    /// Marks the lease as over and stops its renewal. Returns whether it was held.
    fn let_go(&mut self) -> bool {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
        }
        !mem::replace(&mut self.is_over, true)
    }
}

/// Releases a lease, and ends the epoch of its name.
async fn give_up(shared: &Shared, name: &str, token: LeaseToken) {
    let _ = shared.tier.release(name, token, false).await;
    shared.marks.end(name);
}

/// Reason for the release of a lease without a value.
enum End {
    /// The load did not complete.
    Free,
    /// The load has nothing to share.
    Nothing,
    Error(Note),
}

/// Releases a lease in the background, and ends the epoch of its name.
///
/// Afterwards there may be nothing under the name, and the tier does not report the removal of nothing. So
/// entries that depend on the name must not stay valid.
fn give_back_later(
    shared: &Arc<Shared>,
    name: String,
    token: LeaseToken,
    end: End,
    given_back: Option<PendingRelease>,
) {
    let there = shared.clone();
    let given_back = given_back.unwrap_or_else(|| shared.returning.begin(&name, &shared.marks));
    shared.background.spawn(async move {
        let _ = match end {
            End::Free => there.tier.release(&name, token, false).await,
            End::Nothing => there.tier.release(&name, token, true).await,
            End::Error(note) => there.tier.fail(&name, token, &note).await,
        };
        there.marks.end(&name);
        // Dropped last, so that a load that waited for the release takes epochs that begin after it.
        drop(given_back);
    });
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back(End::Free);
    }
}

/// Returns `claim` as of now, if the tier still has the revision `stamp` and the generations of the tags.
///
/// Then nothing was invalidated since `claim` was made.
pub(crate) async fn look_again(
    shared: &Arc<Shared>,
    name: &str,
    claim: &Validity,
    stamp: Revision,
) -> Result<Option<Validity>, TierError> {
    let tags = claim.tag_keys();
    let renewed = shared.silent_claim(name, &tags);
    // The tier does not know the invalidations in the outbox.
    if shared.pending.is_about(std::iter::once(name).chain(tags.iter().map(String::as_str))) {
        return Ok(None);
    }
    let ask = Lookup::known(name, stamp);
    let seen = shared.tier.look(&[ask], &tags).await?;
    let is_current = claim.generations().map(Some).eq(seen.generations);
    if !(is_current && matches!(seen.records.first(), Some(Record::Unchanged))) {
        return Ok(None);
    }
    let renewed = renewed.with_generations(claim.generations());
    Ok(Some(Validity { line: seen.line, ..renewed }))
}

/// Returns `claim` with tags that were not known before the load, if none was invalidated since `since`.
pub(crate) async fn adopt(
    shared: &Arc<Shared>,
    claim: &Validity,
    since: JournalPosition,
    tags: &[String],
    keep: Duration,
) -> Result<Option<Validity>, TierError> {
    let marks: Vec<_> = tags.iter().map(|tag| shared.mark(tag)).collect();
    // The outbox is checked after the epochs are taken: an undelivered invalidation is added to it before the
    // epochs end.
    if shared.pending.is_about(tags.iter().map(String::as_str)) {
        return Ok(None);
    }
    let adopted = shared.tier.adopt(tags, keep, since).await?;
    let generations = match adopted.generations {
        Some(generations) => generations,
        None if planted!("tag-adopted-unasked") => {
            shared.tier.lease(&[], TagRequest { keys: tags, keep, more: false }).await?.generations
        }
        None => return Ok(None),
    };
    let known = claim.tags.iter().cloned();
    Ok(Some(Validity {
        tags: known.chain(marks.into_iter().zip(generations)).collect(),
        line: ChangeFeed::joined([claim.line.clone(), adopted.line]),
        ..claim.clone()
    }))
}

/// Returns `claim` with new epochs; `None` if one of its tags has another generation.
///
/// An epoch may have ended because its tag was created, since a tier may report a process's own changes. If
/// the tier cannot be asked, the result has new epochs as well, and the fill decides.
async fn ask_tags_again(shared: &Arc<Shared>, claim: &Validity) -> Option<Validity> {
    let tags = claim.tag_keys();
    let marked = shared.silent_claim(claim.mark.name(), &tags).with_generations(claim.generations());
    match shared.tier.look(&[], &tags).await {
        Ok(seen) if claim.generations().map(Some).ne(seen.generations.iter().copied()) => None,
        _ => Some(marked),
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

    pub(crate) fn refused(mut self) {
        self.is_open = false;
    }

    /// Releases the lease at once, because another part of the request was refused.
    pub(crate) async fn withdraw(mut self) {
        self.is_open = false;
        give_up(self.shared, self.name, self.token).await;
    }

    /// Converts this into a lease. The generations of the tags are kept for `keep` from before the request
    /// on.
    pub(crate) fn granted(
        mut self,
        name: SharedKey,
        claim: Validity,
        keep: Duration,
        since: Option<(JournalPosition, Arc<Epoch>)>,
    ) -> Lease {
        self.is_open = false;
        let (shared, token) = (self.shared.clone(), self.token);
        let tags_kept = claim.checked.saturating_add(nanos(keep));
        Lease { shared, name, token, claim, since, tags_kept, keeper: None, is_over: false, given_back: None }
    }
}

impl Drop for LeaseAttempt<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        give_back_later(self.shared, self.name.to_owned(), self.token, End::Free, None);
    }
}
