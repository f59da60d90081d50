//! Publication of a loaded value: to L2, L1 and the followers.
//!
//! The fill right of the load decides where the value goes:
//!
//! * `Everywhere`: L2 stores the value if the lease is still there (the fence). If it does, L1 stores it too.
//!   While the verdict of L2 is late or unknown, L1 keeps the value under the validity from before the load.
//! * `IfUnchanged`: L2 is asked whether anything changed during the load. If nothing did, L1 stores the
//!   value.
//! * `Stub`: L2 is asked whether its stub is still the same. If so, L1 stores the value.
//! * `LocalOnly`: L1 stores the value at once.
//!
//! If L2 is involved, the flight lands in the background, and the caller of the load does not wait for it.
//! Until then, callers follow the flight. They get the value when it has landed, or start over if it is
//! rejected.
//!
//! Invariant: an invalidation during the load keeps the value out of L1, because it ends an epoch of the load
//! or supersedes the flight. The flight checks both under its shard lock, so that no invalidation falls
//! between the check and the fill. `l2::lease` has the protocol with the tier, `flight::leader` has the
//! landing.

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
        invalidation::{Invalidation, InvalidationTarget},
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

/// Longest wait of followers for the verdict of L2, or longer if loads of the function cost more.
const VERDICT_PATIENCE: Duration = Duration::from_millis(50);

/// Largest number of jobs in the background. Beyond it, values are neither stored in L2 nor checked there,
/// because L2 cannot keep up.
const MOST_LANDINGS: usize = 4096;

/// A loaded value, with its flight and all that is needed to store it.
pub(crate) struct Publication {
    pub(crate) cache: Cache,
    pub(crate) site: FunctionSpec,
    pub(crate) entry: EntryKey,
    pub(crate) leader: Leader,
    pub(crate) slot: Arc<dyn ErasedValue>,
    pub(crate) told: ValueTags,
    /// The value is newer than the one in L2, which must be removed if this one is not stored there.
    pub(crate) is_newer: bool,
}

/// Tags that were derived from the value, and so are known only after the load.
pub(crate) struct ValueTags {
    tags: Vec<String>,
    /// Position in the log of invalidated tags, at the start of the load.
    since: LogPosition,
    /// Time at which the validity of the load was taken, before the load began.
    began: Nanos,
    /// Epoch that ends when this process is notified of the invalidation of any tag.
    ///
    /// Taken before the load; `None` if the load has no use for it.
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

    /// Returns whether one of these tags may have been invalidated during the load.
    fn may_be_outdated(&self) -> bool {
        !self.tags.is_empty() && self.any_tag.as_ref().is_some_and(|any| !any.is_alive())
    }

    /// Adds these tags to a validity for this process only.
    ///
    /// Returns `None` if this process has invalidated one of them during the load.
    fn added_to(&self, claim: Validity, shared: &Arc<Shared>, is_shared: bool) -> Option<Validity> {
        if self.tags.is_empty() {
            return Some(claim);
        }
        let marks: Vec<_> = self.tags.iter().map(|tag| (shared.mark(tag), 0)).collect();
        // The log is read after the epochs are taken: a later invalidation ends the epochs.
        if shared.said.is_about(&self.tags, self.since) {
            return None;
        }
        let tags = claim.tags.into_vec().into_iter().chain(marks).collect();
        if !is_shared {
            return Some(Validity { tags, ..claim });
        }
        // L2 reports no invalidation of tags that it was not asked for, and has not done so since the load
        // began. So the value counts as checked at that time, without a change feed.
        Some(Validity { tags, line: ChangeFeed::silent(), checked: self.began, ..claim })
    }
}

/// Reply of L2 to the question whether anything changed during the load.
enum ChangeCheck {
    /// Nothing was invalidated until the reply.
    Proven,
    /// Something was invalidated.
    Broken,
    /// The tier does not report changes over the feed of the load, or took too long.
    Unknown,
    /// The tier cannot be queried.
    Outage,
}

impl Publication {
    /// Stores the value in L1 under `claim`, and ends the flight.
    ///
    /// The value is not stored if an invalidation has ended `claim` or superseded the flight.
    pub(crate) fn here(self, claim: Validity, stamp: u64) {
        let Self { cache, site, entry, leader, slot, .. } = self;
        let fill = |claim| cache.l1().insert(&site, &entry.key, slot.clone(), claim, stamp);
        let stored = leader.land_on(claim, slot.clone(), fill);
        cache.l1().tell_evicted();
        cache.note(if stored { Count::Fill } else { Count::RejectedFill }, &site, entry.key.as_ref());
    }

    /// Rejects the value: only the caller of the load gets it, and followers start over.
    pub(crate) fn refuse(self) {
        self.cache.note(Count::RejectedFill, &self.site, self.entry.key.as_ref());
        self.leader.reject(self.slot);
    }

    /// Delivers the value to the followers, and does not store it. Returns `None`.
    pub(crate) fn land(self) -> Option<Self> {
        self.leader.land(self.slot, || ());
        None
    }

    /// Ends the flight if it has no followers. Otherwise returns the publication, which is still to be
    /// delivered.
    pub(crate) fn land_unfollowed(self) -> Option<Self> {
        let Self { leader, slot, .. } = self;
        let leader = leader.land_unfollowed(&slot)?;
        Some(Self { leader, slot, ..self })
    }

    /// Delivers the value to the followers, unless one may have joined after an invalidation.
    pub(crate) async fn pass_on(self, claim: &Validity) {
        match self.ask(claim).await {
            ChangeCheck::Broken => self.leader.reject(self.slot),
            ChangeCheck::Proven | ChangeCheck::Unknown | ChangeCheck::Outage => _ = self.land(),
        }
    }

    /// Publishes the value of a load without L2: to L1, unless one of its tags was invalidated.
    pub(crate) fn alone(self, claim: Validity) {
        let (cache, outdated) = (self.cache.clone(), self.outdated());
        match self.told.added_to(claim, cache.shared(), self.entry.is_shared) {
            Some(claim) => self.here(claim, 0),
            None => self.refuse(),
        }
        cache.forget_shared(outdated);
    }

    /// Publishes the value of a load without a lease: to L1, if nothing changed during the load.
    ///
    /// In an outage, the value is kept under the proof that was reached before.
    pub(crate) async fn beside(self, claim: Validity) {
        if planted!("kept-beside-unasked") {
            return self.here(claim, 0);
        }
        if !self.told.tags.is_empty() {
            // L2 was not asked for these tags, and so has not reported their invalidation.
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

    /// Publishes a value that L2 cannot hold: to L1, if the stub in L2 is still the same.
    ///
    /// The stub has a revision of its own. If that is the revision from before the load, the key was not
    /// invalidated since, even if a notification would not have arrived.
    pub(crate) async fn beside_stub(self, stub: Stub, keep: Duration) {
        let Stub { mut claim, stamp, since } = stub;
        let shared = self.cache.shared();
        if !self.told.tags.is_empty() {
            let Some((since, _)) = since else { return self.refuse() };
            match adopt(shared, &claim, since, &self.told.tags, keep).await {
                Ok(Some(adopted)) => claim = adopted,
                // Only the tier knows whether these tags were invalidated.
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

    /// Stores the value in L1 only, because L2 cannot hold it.
    fn here_unshared(self, claim: Validity, stamp: u64) {
        self.cache.note(Count::Unshared, &self.site, self.entry.key.as_ref());
        self.here(claim, stamp);
    }

    /// Stores the value in L2, and if L2 has accepted it, in L1.
    ///
    /// The lease is used up, and released if it is unknown whether L2 has the value.
    pub(crate) async fn store(self, mut lease: Lease, fill: Fill) {
        let (cache, outdated) = (self.cache.clone(), self.outdated());
        let (function, stand_on) = (cache.function(&self.site).clone(), self.leader.standing());
        let (stamp, tags) = (lease.stamp(), self.told.tags.clone());
        let budget = function.budget(&self.site);
        // The epoch of `here_only` is taken now, before `before` is found intact: no invalidation is missed
        // in between.
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
                    // L2 is slow. Followers get the value, which this process keeps for a moment. But not if
                    // only L2 knows whether the tags of the value were invalidated.
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
                // The verdict is known, so the value that was kept meanwhile must be checked with L2 before
                // it is served.
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

    /// Releases the lease without a fill, because L2 is overloaded, and publishes to this process.
    pub(crate) fn leave(self, lease: Lease) {
        let (stamp, claim) = (lease.stamp(), lease.leave());
        self.undecided(claim, stamp);
    }

    /// Publishes the value to L1 while it is unknown whether L2 has it.
    ///
    /// The validity from before the load decides whether the value may be kept.
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
            // With a revision, the entry could be confirmed later without a check of its tags.
            self.here(claim, 0);
        } else if is_outage {
            // Too old to be stored. Followers still get the value, so that they need not load it again.
            self.leader.land_on(claim, self.slot, |_| ());
        } else {
            self.refuse();
        }
    }

    /// Asks L2 whether any name of `claim` was invalidated.
    ///
    /// Over one connection, the notification of a change arrives before the reply to a later query. Each name
    /// may have a connection of its own, so the query includes the key and all tags.
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

    /// Returns the entry that must be removed from L2 if this value is not stored there.
    fn outdated(&self) -> Option<EntryKey> {
        self.is_newer.then(|| self.entry.clone())
    }
}

impl<R> CallContext<R> {
    /// Returns the text of an error for other processes, if callers there can have waited for this load.
    fn error_for_others(&self, slot: &dyn ErasedValue, ground: &FillRight) -> Option<SharedLoadError> {
        let is_awaited = matches!(ground, FillRight::Everywhere(_)) && !self.site.coalesces_here();
        if is_awaited { self.shape.describe(slot) } else { None }
    }
}

/// Result of a load: a value, or an error that can be shared.
pub(crate) struct Loaded {
    pub(crate) slot: Arc<dyn ErasedValue>,
    /// Time for which the result may be stored; `None` if it must not be.
    pub(crate) ttl: Option<Duration>,
    pub(crate) is_error: bool,
    /// The load was to replace an older value.
    pub(crate) had_spare: bool,
    /// Position in the log of invalidated tags, at the start of the load.
    pub(crate) since: LogPosition,
}

/// Remaining work of a publication. No caller waits for it if there is a runtime to run it.
pub(crate) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Publishes the result of a load, which ends its flight.
///
/// The remaining work runs in the background. Without a runtime, it is returned instead.
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
    // The call asked for a new load, so the value in L2 is older.
    let is_newer = !terms.read && !is_error && takes_part;
    let arrival = Publication { cache, site, entry, leader, slot, told, is_newer };

    let (Some(ttl), Some(_)) = (ttl, tags) else {
        // Not to be stored. That includes a value with unknown tags, which could not be invalidated.
        let outdates = !is_error && (had_spare || !terms.read || terms.max_age.is_some());
        return pass_on(arrival, ground, ended, outdates);
    };
    if arrival.entry.is_shared && !terms.shared && arrival.cache.mode() == Mode::On {
        // L2 was not asked, so it would report no change of the entry, and a follower may have joined after
        // an invalidation.
        ground.end(&ended);
        arrival.refuse();
        return None;
    }
    if let FillRight::LocalOnly(claim) = ground {
        arrival.alone(claim);
        return None;
    }
    let is_too_much = shared.background.len() > MOST_LANDINGS;
    // L2 holds a value longer by the length of a lease, so that it does not expire under the lease of its
    // renewal.
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
            // An error is for this process only, so its validity does not depend on a lease.
            (ground, None) => {
                let own_mark = shared.own_mark(&arrival.entry.name.text);
                let claim = Validity { mark: own_mark, line: shared.home.clone(), ..ground.claim().clone() };
                // Callers that wait in other processes are notified that no value will come.
                ground.end(&ended);
                arrival.here(claim, 0);
            }
        }
    })
}

/// Delivers the result to the followers only, and releases the lease.
///
/// If `outdates` is set, values in the tiers are older than the result, and are invalidated.
fn pass_on(arrival: Publication, mut ground: FillRight, ended: Ended, outdates: bool) -> Option<Rest> {
    ground.begin_return();
    let (cache, target) =
        (arrival.cache.clone(), InvalidationTarget::Entry(arrival.site, Box::new(arrival.entry.clone())));
    let is_error = matches!(ended, Ended::Error(_));
    let finish = move |ground: FillRight| {
        ground.end(&ended);
        if outdates {
            // A newer value that is not stored must not leave an older one behind.
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

/// Runs `rest` in the background. Without a runtime, returns it instead.
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
