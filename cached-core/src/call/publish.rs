//! A value that was loaded, on its way to those who want it.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    base::{
        clock::Nanos,
        planted::planted,
        race::{Either, either},
    },
    cache::{
        Cache, Mode,
        invalidation::{Invalidation, Target},
    },
    call::{
        context::CallContext,
        fill_right::{Ended, FillRight},
    },
    coherence::{epoch::Epoch, tag_log::LogPosition, validity::Validity},
    error::{shared::SharedLoadError, tier::TierError},
    flight::Leader,
    key::entry_key::EntryKey,
    l2::{
        lease::{Lease, Verdict, adopt, look_again},
        lookup::Stub,
        shared::{Fill, Life, Shared, own_mark_name},
    },
    spec::FunctionSpec,
    telemetry::stats::Count,
    tier::{Lookup, Tier, feed::ChangeFeed},
    value::erased::ErasedValue,
};

use futures_timer::Delay;

/// How long followers wait to hear whether the value was stored, or longer, where a load costs more.
const VERDICT_PATIENCE: Duration = Duration::from_millis(50);

/// More than this under way are neither stored nor asked about: the shared tier cannot keep up.
const MOST_LANDINGS: usize = 4096;

pub(crate) struct Publication {
    pub(crate) cache: Cache,
    pub(crate) site: FunctionSpec,
    pub(crate) entry: EntryKey,
    pub(crate) leader: Leader,
    pub(crate) slot: Arc<dyn ErasedValue>,
    pub(crate) told: ValueTags,
    /// Than what the shared tier has.
    pub(crate) is_newer: bool,
}

/// Tags that the value told.
pub(crate) struct ValueTags {
    tags: Vec<String>,
    /// When the load began, by what this process says of tags,
    since: LogPosition,
    /// and by the clock.
    began: Nanos,
    /// Dead when this process has heard meanwhile that some tag was invalidated.
    any_tag: Option<Arc<Epoch>>,
}

impl ValueTags {
    pub(crate) fn new(shared: &Shared, tags: &[String], since: LogPosition, ground: &FillRight) -> Self {
        let tags = tags.iter().map(|tag| shared.tag_key(tag)).collect();
        let any_tag = match ground {
            FillRight::Everywhere(lease) => lease.any_tag(),
            FillRight::Stub(stub) => stub.since.as_ref().map(|(_, any_tag)| any_tag.clone()),
            FillRight::IfUnchanged(_) | FillRight::LocalOnly(_) => None,
        };
        Self { tags, since, began: ground.claim().checked, any_tag }
    }

    /// Whether it may have been one of these.
    fn may_be_outdated(&self) -> bool {
        !self.tags.is_empty() && self.any_tag.as_ref().is_some_and(|any| !any.is_alive())
    }

    /// A claim for this process only, with these tags; none if one of them was invalidated here meanwhile.
    fn added_to(&self, claim: Validity, shared: &Arc<Shared>, is_shared: bool) -> Option<Validity> {
        if self.tags.is_empty() {
            return Some(claim);
        }
        let marks: Vec<_> = self.tags.iter().map(|tag| (shared.mark(tag), 0)).collect();
        // Only then: what is said later ends the marks.
        if shared.said.is_about(&self.tags, self.since) {
            return None;
        }
        let tags = claim.tags.into_vec().into_iter().chain(marks).collect();
        if !is_shared {
            return Some(Validity { tags, ..claim });
        }
        // Nobody tells of tags that were not asked for, nor has anybody since the load began.
        Some(Validity { tags, line: ChangeFeed::silent(), checked: self.began, ..claim })
    }
}

/// What is known of the silence about a name.
enum ChangeCheck {
    /// Nothing was said until now.
    Proven,
    /// Something was said.
    Broken,
    /// The tier does not tell, or took too long.
    Unknown,
    /// It cannot be asked.
    Outage,
}

impl Publication {
    /// Into L1, on this claim.
    pub(crate) fn here(self, claim: Validity, stamp: u64) {
        let Self { cache, site, entry, leader, slot, .. } = self;
        let fill = |claim| cache.l1().insert(&site, &entry.key, slot.clone(), claim, stamp);
        let stored = leader.land_on(claim, slot.clone(), fill);
        cache.l1().tell_evicted();
        cache.note(if stored { Count::Fill } else { Count::RejectedFill }, &site, entry.key.as_ref());
    }

    /// To nobody but its caller.
    pub(crate) fn refuse(self) {
        self.cache.note(Count::RejectedFill, &self.site, self.entry.key.as_ref());
        self.leader.reject(self.slot);
    }

    /// To those who follow.
    pub(crate) fn land(self) -> Option<Self> {
        self.leader.land(self.slot, || ());
        None
    }

    /// If nobody follows; otherwise it is still to be landed.
    pub(crate) fn land_unfollowed(self) -> Option<Self> {
        let Self { leader, slot, .. } = self;
        let leader = leader.land_unfollowed(&slot)?;
        Some(Self { leader, slot, ..self })
    }

    /// To those who follow, unless they may have come after an invalidation.
    pub(crate) async fn pass_on(self, claim: &Validity) {
        match self.ask(claim).await {
            ChangeCheck::Broken => self.leader.reject(self.slot),
            ChangeCheck::Proven | ChangeCheck::Unknown | ChangeCheck::Outage => _ = self.land(),
        }
    }

    /// Of a load that could not ask.
    pub(crate) fn alone(self, claim: Validity) {
        let (cache, outdated) = (self.cache.clone(), self.outdated());
        match self.told.added_to(claim, cache.shared(), self.entry.is_shared) {
            Some(claim) => self.here(claim, 0),
            None => self.refuse(),
        }
        cache.forget_shared(outdated);
    }

    /// Of a load beside another one's lease.
    pub(crate) async fn beside(self, claim: Validity) {
        if planted!("kept-beside-unasked") {
            return self.here(claim, 0);
        }
        if !self.told.tags.is_empty() {
            // Nobody had told of them.
            return self.refuse();
        }
        match self.ask(&claim).await {
            ChangeCheck::Proven => self.here(claim, 0),
            ChangeCheck::Outage => {
                let claim = claim.silenced(self.cache.clock().now());
                self.here(claim, 0);
            }
            ChangeCheck::Broken | ChangeCheck::Unknown => self.refuse(),
        }
    }

    /// Of a load whose value the shared tier cannot hold. The stub there has a stamp of its own: if it is the one from before the
    /// load, nothing was said of the key since then, however that would have been told.
    pub(crate) async fn beside_stub(self, stub: Stub, keep: Duration) {
        let Stub { mut claim, stamp, since } = stub;
        let shared = self.cache.shared();
        if !self.told.tags.is_empty() {
            let Some((since, _)) = since else { return self.refuse() };
            match adopt(shared, &claim, since, &self.told.tags, keep).await {
                Ok(Some(adopted)) => claim = adopted,
                // Only the tier knows whether they were invalidated.
                Ok(None) | Err(_) => return self.refuse(),
            }
            self.leader.stand_on(&claim);
        }
        match look_again(shared, &self.entry.name.text, &claim, stamp).await {
            Ok(Some(claim)) => self.here_unshared(claim, stamp),
            Ok(None) => self.refuse(),
            Err(_) => {
                let claim = claim.silenced(self.cache.clock().now());
                self.here(claim, 0);
            }
        }
    }

    /// Into L1 only, as the shared tier cannot hold it.
    fn here_unshared(self, claim: Validity, stamp: u64) {
        self.cache.note(Count::Unshared, &self.site, self.entry.key.as_ref());
        self.here(claim, stamp);
    }

    /// Into the shared tier, and if that takes it, into L1.
    pub(crate) async fn store(self, mut lease: Lease, fill: Fill) {
        let (cache, outdated) = (self.cache.clone(), self.outdated());
        let (function, stand_on) = (cache.function(&self.site).clone(), self.leader.standing());
        let (stamp, tags) = (lease.stamp(), self.told.tags.clone());
        let budget = function.budget(&self.site);
        // Its mark is taken here, before it can be known that nothing was said.
        let here_only = lease.here_only();
        let before = lease.claim.clone();
        let mut arrival = Some(self);
        let mut land_undecided = || {
            let Some(arrival) = arrival.take() else { return false };
            let claim = if before.is_intact() { here_only.clone() } else { before.clone() };
            arrival.undecided(claim, stamp);
            true
        };
        let mut was_undecided = planted!("l1-fill-before-verdict") && land_undecided();
        let verdict = {
            let mut filling = pin!(lease.fill(fill, &tags, &function, budget, stand_on));
            match either(&mut filling, Delay::new(budget.of_write(VERDICT_PATIENCE))).await {
                Either::Left(verdict) => verdict,
                Either::Right(()) => {
                    // Redis is slow. Those who follow get the value, which this process keeps for a moment; but not if only
                    // Redis knows whether its tags were invalidated.
                    was_undecided |= tags.is_empty() && land_undecided();
                    filling.await
                }
            }
        };
        if matches!(verdict, Verdict::Undecided) {
            land_undecided();
            lease.leave();
            return cache.forget_shared(outdated);
        }
        let Some(arrival) = arrival else {
            if was_undecided {
                // Now it is known, so what was kept meanwhile has to be asked for.
                cache.shared().marks.end(&own_mark_name(lease.name()));
            }
            return;
        };
        match verdict {
            Verdict::Stored(claim) => arrival.here(claim, stamp),
            Verdict::Stubbed(claim) => arrival.here_unshared(claim, stamp),
            Verdict::Rejected if planted!("followers-take-rejected-value") => _ = arrival.land(),
            Verdict::Rejected | Verdict::Undecided => arrival.refuse(),
        }
    }

    /// Of a load whose lease is given up, because the tier has too much to do.
    pub(crate) fn leave(self, lease: Lease) {
        let (stamp, claim) = (lease.stamp(), lease.leave());
        self.undecided(claim, stamp);
    }

    /// It is not known whether the shared tier has it: what the load stood on counts.
    fn undecided(self, claim: Validity, stamp: u64) {
        let cache = self.cache.clone();
        let Some(claim) = self.told.added_to(claim, cache.shared(), true) else { return self.refuse() };
        if self.told.tags.is_empty() {
            return self.here(claim, stamp);
        }
        if self.told.may_be_outdated() {
            return self.refuse();
        }
        let (now, (bound, grace)) = (cache.clock().now(), cache.staleness().limits(&self.site, &claim));
        let is_outage = !cache.shared().tier.ready();
        if claim.stands(now, bound) || (is_outage && claim.stands_alone(now, bound, grace)) {
            // A stamp would let it be confirmed without its tags.
            self.here(claim, 0);
        } else if is_outage {
            // Too old to be kept. Those who follow need not load it again.
            self.leader.land_on(claim, self.slot, |_| ());
        } else {
            self.refuse();
        }
    }

    /// What is said about what `claim` names is heard before the answer to a question that is asked now, if both come over
    /// one line. So each name is asked for: they may have a line each.
    async fn ask(&self, claim: &Validity) -> ChangeCheck {
        let ask = Lookup::known(&self.entry.name.text, 0);
        let seen = self.cache.shared().tier.look(&[ask], &claim.tag_keys()).await;
        if !claim.is_intact() {
            return ChangeCheck::Broken;
        }
        match seen {
            Ok(seen) if claim.line.watches() && seen.line.covers(&claim.line) => ChangeCheck::Proven,
            Ok(_) | Err(TierError::Timeout) => ChangeCheck::Unknown,
            Err(_) => ChangeCheck::Outage,
        }
    }

    fn outdated(&self) -> Option<EntryKey> {
        self.is_newer.then(|| self.entry.clone())
    }
}

impl<R> CallContext<R> {
    /// The text of an error for callers in other processes, if they can have waited for this load.
    fn error_for_others(&self, slot: &dyn ErasedValue, ground: &FillRight) -> Option<SharedLoadError> {
        let is_awaited = matches!(ground, FillRight::Everywhere(_)) && !self.site.coalesces_here();
        if is_awaited { self.shape.describe(slot) } else { None }
    }
}

/// What a load has found: a value, or an error that can be shared.
pub(crate) struct Loaded {
    pub(crate) slot: Arc<dyn ErasedValue>,
    /// How long it may be kept; `None` if not at all.
    pub(crate) ttl: Option<Duration>,
    pub(crate) is_error: bool,
    /// There was an older value.
    pub(crate) had_spare: bool,
    pub(crate) since: LogPosition,
}

/// What is left to do, and keeps no caller waiting.
pub(crate) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends a flight with what its load has found. Where there is no runtime to do it, it returns what is left to do.
pub(crate) fn land<R>(
    desk: Box<CallContext<R>>,
    leader: Leader,
    ground: FillRight,
    loaded: Loaded,
) -> Option<Rest> {
    let Loaded { slot, ttl, is_error, had_spare, since } = loaded;
    let ended = if is_error { Ended::Error(desk.error_for_others(&*slot, &ground)) } else { Ended::Value };
    let hasher = &*desk.cache.shared().hasher;
    let tags = if ttl.is_some() { desk.shape.value_tags(&*slot, hasher) } else { None };
    let encoder = if is_error { None } else { desk.shape.encoder(&slot) };
    let stale = desk.shape.stale();
    let is_renewed = desk.shape.is_renewed() || desk.site.warm_keys() > 0;
    let CallContext { cache, site, entry, terms, .. } = *desk;
    let shared = cache.shared().clone();
    let takes_part = terms.shared && cache.mode() == Mode::On;
    let told = ValueTags::new(&shared, tags.as_deref().unwrap_or_default(), since, &ground);
    // What the shared tier has is older than what was asked for anew.
    let is_newer = !terms.read && !is_error && takes_part;
    let arrival = Publication { cache, site, entry, leader, slot, told, is_newer };

    let (Some(ttl), Some(_)) = (ttl, tags) else {
        // Without its tags it could not be invalidated.
        let outdates = !is_error && (had_spare || !terms.read || terms.max_age.is_some());
        return pass_on(arrival, ground, ended, outdates);
    };
    if arrival.entry.is_shared && !terms.shared && arrival.cache.mode() == Mode::On {
        // It did not ask, so no message would come about it, and a follower may have come after an invalidation.
        ground.end(&ended);
        arrival.refuse();
        return None;
    }
    if let FillRight::LocalOnly(claim) = ground {
        arrival.alone(claim);
        return None;
    }
    let is_too_much = shared.background.len() > MOST_LANDINGS;
    // A lease over the value must not end it.
    let function = arrival.cache.function(&arrival.site);
    let lease = shared.lease_length(arrival.site.coalesces_here(), function);
    let spare = if is_renewed { lease } else { Duration::ZERO };
    let life = Life { since: shared.clock.now(), ttl, stale, spare };
    let fill = encoder.map(|encoder| Fill { encoder, created_ms: shared.clock.wall_ms(), life });
    arrival.leader.begin_landing();
    later(&arrival.cache.clone(), async move {
        match (ground, fill) {
            (FillRight::Everywhere(lease), Some(fill)) if !is_too_much => {
                Box::pin(arrival.store(lease, fill)).await;
            }
            (FillRight::Everywhere(lease), Some(_)) => arrival.leave(lease),
            (ground, Some(_)) if is_too_much => {
                ground.fail();
                arrival.refuse();
            }
            (FillRight::Stub(stub), Some(fill)) => {
                Box::pin(arrival.beside_stub(stub, fill.life.whole())).await;
            }
            (ground, Some(_)) => Box::pin(arrival.beside(ground.claim().clone())).await,
            // An error is for this process only, and stands on no lease.
            (ground, None) => {
                let own_mark = shared.own_mark(&arrival.entry.name.text);
                let claim = Validity { mark: own_mark, line: shared.home.clone(), ..ground.claim().clone() };
                // Callers that wait elsewhere learn that there will be nothing.
                ground.end(&ended);
                arrival.here(claim, 0);
            }
        }
    })
}

/// To the followers only. `outdates`: what there was before is older.
fn pass_on(arrival: Publication, mut ground: FillRight, ended: Ended, outdates: bool) -> Option<Rest> {
    ground.begin_return();
    let (cache, target) =
        (arrival.cache.clone(), Target::Entry(arrival.site, Box::new(arrival.entry.clone())));
    let is_error = matches!(ended, Ended::Error(_));
    let finish = move |ground: FillRight| {
        ground.end(&ended);
        if outdates {
            // A newer value that is not kept leaves no older one behind.
            Invalidation::new(cache, Ok(target)).spawn();
        }
    };
    let may_ask = !is_error && ground.claim().line.watches() && !matches!(ground, FillRight::LocalOnly(_));
    let arrival = if may_ask { arrival.land_unfollowed() } else { arrival.land() };
    let Some(arrival) = arrival else {
        finish(ground);
        return None;
    };
    arrival.leader.begin_landing();
    later(&arrival.cache.clone(), async move {
        arrival.pass_on(ground.claim()).await;
        finish(ground);
    })
}

/// Goes on in the background, where there is one.
fn later(cache: &Cache, rest: impl Future<Output = ()> + Send + 'static) -> Option<Rest> {
    let job = cache.shared().background.begin();
    let rest: Rest = Box::pin(async move {
        let _job = job;
        rest.await;
    });
    let Ok(runtime) = Handle::try_current() else { return Some(rest) };
    runtime.spawn(rest);
    None
}
