//! The right of one load to store what it finds, over all processes.

mod keeper;
#[cfg(test)]
mod tests;

use std::{future::Future, mem, sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle};

use self::keeper::Keeper;
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
        returning::Return,
        shared::{Fill, Life, Shared},
    },
    telemetry::{functions::FunctionMetrics, span::Span, stats::Count, step::TimedSpan},
    tier::{
        Filled, JournalPosition, LARGE_VALUE, LeaseMode, LeaseRequest, LeaseToken, Lookup, Note, Record,
        Revision, TagRequest, Tier, TierFill, budget::Budget, feed::ChangeFeed,
    },
    value::envelope::{self, Expect},
};

/// Held from before a load until its value is stored. While it is held, it is renewed; dropped before, it is given back.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    name: SharedKey,
    token: LeaseToken,
    /// What was true when the lease was taken, before the load.
    pub(crate) claim: Validity,
    /// When it was taken, for tags that only the value tells; and whether this process has heard of any tag since.
    since: Option<(JournalPosition, Arc<Epoch>)>,
    /// Until when the generations of the tags are kept at least.
    tags_kept: Nanos,
    keeper: Option<AbortHandle>,
    is_over: bool,
    /// It is about to be given back.
    given_back: Option<Return>,
}

/// What became of a value.
pub(crate) enum Verdict {
    /// The shared tier has it, and this process may keep it on this claim.
    Stored(Validity),
    /// The shared tier cannot hold it and has a stub instead, on which this process may keep it.
    Stubbed(Validity),
    /// An invalidation overtook the load.
    Rejected,
    /// It is not known: what the load stood on still holds, or does not.
    Undecided,
}

impl Lease {
    pub(crate) fn name(&self) -> &str {
        &self.name.text
    }

    /// Dead when this process has heard since before the load that some tag was invalidated.
    pub(crate) fn any_tag(&self) -> Option<Arc<Epoch>> {
        self.since.as_ref().map(|(_, any_tag)| any_tag.clone())
    }

    pub(crate) fn stamp(&self) -> u64 {
        self.token.stamp()
    }

    /// Something was said about what it stands on: itself, if it is still there, as a tier may tell one of one's own words. If that
    /// cannot be found out, the fill will.
    pub(crate) async fn reassured(mut self) -> Option<Self> {
        let Self { shared, name, token, claim, .. } = &self;
        // Its marks are from before the questions, so that what is said from now on is heard.
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
        // Before another one is asked for: what is said about the name then is not about that.
        let _ = shared.tier.release(&name.text, *token, false).await;
        shared.marks.end(&name.text);
        self.let_go();
        None
    }

    /// Renews it, as long as `is_at_work`: whoever waits elsewhere must not wait for a load that stands still.
    pub(crate) fn keep(&mut self, is_at_work: impl Fn() -> bool + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        if planted!("lease-not-renewed") {
            return;
        }
        let keeper = Keeper {
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

    /// Has it given back if the cache is closed before the load ends. It need not be renewed.
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

    /// Stores the value, if this is still the right one. `value_tags` are those that the value told; from now on the load
    /// has to stand on them as well.
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
            // Counted where it is kept.
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
                // Another process may read that.
                return Err(why);
            }
            // The way of a small value may be open all the same. The stub is there for as long as the value would be, as each process
            // keeps its own for so long, and nobody is told of the removal of what is not there any more.
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
        // Stored or not, the lease is no more.
        self.is_over = true;
        self.shared.marks.nudge(&self.name.text);
        if filled.stored.pop() != Some(true) {
            return Ok(Verdict::Rejected);
        }
        let is_other_line = !self.claim.line.is_same(&filled.line);
        if (is_other_line || !filled.line.watches()) && !self.claim.tags.is_empty() {
            // What was said of the tags was said over a line that is gone, or over another one, or to nobody, and the fill has
            // looked at the key only.
            return Ok(self.look_again().await?.map_or(Verdict::Rejected, keep));
        }
        let claim = Validity { checked: asked, line: filled.line, ..self.claim.clone() };
        if claim.is_intact() {
            return Ok(keep(claim));
        }
        // Something was said about the key since the lease was taken. It may have been about the lease itself, as a tier may
        // tell one of one's own words: what counts is whether the value is still there.
        Ok(self.look_again().await?.map_or(Verdict::Rejected, keep))
    }

    /// Whether a value that is no stub is under the key; as far as that can be found out.
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

    /// Has the tier store these bytes in the place of the lease, beginning at that moment; `None` if they are out of date by now.
    fn put(
        &self,
        bytes: Vec<u8>,
        life: Life,
        budget: Budget,
    ) -> Option<(Nanos, impl Future<Output = Result<Filled, TierError>>)> {
        let ttl = self.shared.left(life)?;
        let asked = self.shared.clock.now();
        // Only the value knew how long it would be kept, or the load took its time.
        let ends = asked.saturating_add(nanos(ttl));
        let prolongs = ends > self.tags_kept && !planted!("tag-kept-for-load");
        let tags = if prolongs { self.claim.tag_keys() } else { Vec::new() };
        let fill = TierFill { key: self.name.text.clone(), token: self.token, bytes, ttl, tags };
        Some((asked, self.shared.tier.fill_within(vec![fill], budget)))
    }

    async fn look_again(&self) -> Result<Option<Validity>, TierError> {
        look_again(&self.shared, &self.name.text, &self.claim, self.stamp()).await
    }

    /// Takes up tags that were not known before the load, if none of them was invalidated since then.
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

    /// Gives it back, because there is nothing to store: who waits elsewhere is told so.
    pub(crate) fn fail(mut self) {
        self.give_back(End::Nothing);
    }

    /// The same after an error, with what there is to say of it.
    pub(crate) fn fail_with(mut self, error: Option<&SharedLoadError>) {
        let note = error.map(|error| note::seal(error, &self.name));
        self.give_back(End::Error(Note(note.unwrap_or_default())));
    }

    /// It is not known whether the value was stored, or it cannot be. What the value may be served on in this process.
    pub(crate) fn leave(mut self) -> Validity {
        self.let_go();
        let (shared, name, token) = (self.shared.clone(), self.name.text.clone(), self.token);
        self.shared.background.spawn(async move {
            let _ = shared.tier.release(&name, token, false).await;
            shared.marks.nudge(&name);
        });
        self.here_only()
    }

    /// On what the value may be served in this process while it is not known, or not so, that the shared tier has it. What
    /// is said of the leases of others is not about it.
    pub(crate) fn here_only(&self) -> Validity {
        let mark = self.shared.own_mark(&self.name.text);
        Validity { mark, ..self.claim.silenced(self.shared.clock.now()) }
    }

    /// Says that it is about to be given back, before followers have the result: one of them may call again at once.
    pub(crate) fn begin_return(&mut self) {
        self.given_back = Some(self.shared.returning.begin(&self.name.text, &self.shared.marks));
    }

    fn give_back(&mut self, end: End) {
        if self.let_go() {
            let given_back = self.given_back.take();
            give_back_later(&self.shared, self.name.text.clone(), self.token, end, given_back);
        }
    }

    /// Whether it was held.
    fn let_go(&mut self) -> bool {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
        }
        !mem::replace(&mut self.is_over, true)
    }
}

/// Gives back a lease, and ends what stood on it.
async fn give_up(shared: &Shared, name: &str, token: LeaseToken) {
    let _ = shared.tier.release(name, token, false).await;
    shared.marks.end(name);
}

/// Why a lease is given back without a value.
enum End {
    /// The load did not come to its end.
    Free,
    /// There is nothing to share.
    Nothing,
    Error(Note),
}

/// After that there may be nothing under the name, and nobody is told of the removal of nothing: what stood on that does
/// not stand any more.
fn give_back_later(
    shared: &Arc<Shared>,
    name: String,
    token: LeaseToken,
    end: End,
    given_back: Option<Return>,
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
        // Only now: a load that begins when this is over stands on marks from after the word.
        drop(given_back);
    });
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back(End::Free);
    }
}

/// `claim` as of now, if the tier has still what was stored under `stamp`, and the tags have still their generations: then nothing was
/// invalidated since the claim was made.
pub(crate) async fn look_again(
    shared: &Arc<Shared>,
    name: &str,
    claim: &Validity,
    stamp: Revision,
) -> Result<Option<Validity>, TierError> {
    let tags = claim.tag_keys();
    let renewed = shared.silent_claim(name, &tags);
    // What could not be told is not in the tier.
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

/// `claim` with tags that were not known before the load, if none of them was invalidated since that moment.
pub(crate) async fn adopt(
    shared: &Arc<Shared>,
    claim: &Validity,
    since: JournalPosition,
    tags: &[String],
    keep: Duration,
) -> Result<Option<Validity>, TierError> {
    let marks: Vec<_> = tags.iter().map(|tag| shared.mark(tag)).collect();
    // Only then: what could not be told was remembered before the marks were ended.
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

/// What was said may have been about the tag's making, as a tier may tell one of one's own words. The claim with new marks
/// if the tags are the same, or if nobody can say; then the fill finds out.
async fn ask_tags_again(shared: &Arc<Shared>, claim: &Validity) -> Option<Validity> {
    let tags = claim.tag_keys();
    let marked = shared.silent_claim(claim.mark.name(), &tags).with_generations(claim.generations());
    match shared.tier.look(&[], &tags).await {
        Ok(seen) if claim.generations().map(Some).ne(seen.generations.iter().copied()) => None,
        _ => Some(marked),
    }
}

/// A lease that was asked for. Should nobody hear the answer, it is given back in case it was granted.
pub(crate) struct Pledge<'a> {
    shared: &'a Arc<Shared>,
    name: &'a str,
    token: LeaseToken,
    is_open: bool,
}

impl<'a> Pledge<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, name: &'a str) -> Self {
        Self { shared, name, token: LeaseToken::random(), is_open: true }
    }

    pub(crate) fn token(&self) -> LeaseToken {
        self.token
    }

    pub(crate) fn refused(mut self) {
        self.is_open = false;
    }

    /// Gives it back at once, as another part of what was asked has been refused.
    pub(crate) async fn withdraw(mut self) {
        self.is_open = false;
        give_up(self.shared, self.name, self.token).await;
    }

    /// The generations of the tags are kept for `keep` from before the question on.
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

impl Drop for Pledge<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        give_back_later(self.shared, self.name.to_owned(), self.token, End::Free, None);
    }
}
