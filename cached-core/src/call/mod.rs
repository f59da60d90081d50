//! The path of one call, top to bottom: key, L1, single-flight, L2, load, fill.

pub(crate) mod aside;
pub(crate) mod control;
pub(crate) mod join;
pub(crate) mod keep_warm;
pub(crate) mod load;
pub(crate) mod publish;
pub(crate) mod renew;
pub(crate) mod run;

use std::{
    cell::RefCell,
    collections::HashMap,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    base::{clock::Nanos, planted::planted},
    cache::{
        Absent, Cache, Looked, Mode as CacheMode,
        invalidation::{Invalidation, Target},
    },
    call::{
        control::{CacheOutcome, Layer, Reason, Reply, Terms},
        join::Joined,
        load::{Landed, Load, Panicked},
        run::{Ground, Lander},
    },
    coherence::validity::Claim,
    error::Error,
    flight::{
        self, Landing, Leader, Panic,
        permits::{Came, Turn},
    },
    key::{WriteKey, entry_key::Entry, with_identity},
    l1::{entry::Kept, hot_keys::Keeper},
    l2::{
        lookup::{Answer, Found, Seek, Wants},
        tags::Tags,
    },
    spec::Site,
    telemetry::{stats::Count, step::Loading},
    value::{
        erased::Slot,
        policy::{Settled, Shape},
    },
    warm::report::Warmed,
};

/// What generated code knows of a function besides its arguments.
pub struct Plan<R> {
    /// Where the function stands.
    pub site: &'static Site,
    /// The return type with the policies. Called on a miss.
    pub shape: fn() -> Arc<dyn Shape<R>>,
}

impl<R> Clone for Plan<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Plan<R> {}

/// A call that has to go further than L1.
pub(crate) struct Prepared {
    pub(crate) cache: Cache,
    pub(crate) site: Site,
    pub(crate) entry: Result<Entry, Error>,
    /// Keeps the key warm, if a hit makes it one of the most used.
    pub(crate) keeper: Option<Arc<dyn Keeper>>,
    /// L1 was found to have nothing.
    pub(crate) is_absent: bool,
}

/// Steps 1 and 2 of a plain call: encode the key into this thread's buffer, and look into L1. What `take` makes of an
/// entry ends the call, without an allocation.
#[allow(clippy::inline_always, reason = "what is known of the site then needs no look at it")]
#[inline(always)]
pub(crate) fn hit<T>(
    cache: &Cache,
    site: &Site,
    parts: &impl WriteKey,
    take: impl Fn(&Arc<Kept>) -> Option<T>,
) -> Result<T, Absent> {
    if cache.mode() == CacheMode::Off {
        return Err(Absent(false));
    }
    cache.hit(site, parts, take)
}

/// Names the function, the type and the version of the value. The digest is made once in each thread, and not for each miss.
pub(crate) fn schema<R>(plan: Plan<R>) -> u64 {
    type Known = HashMap<(usize, u64), u64, foldhash::fast::RandomState>;
    thread_local!(static KNOWN: RefCell<Known> = RefCell::default());
    // Shapes that are made by the same code are the same.
    let known_as = (plan.shape as usize, plan.site.print());
    let known = || KNOWN.try_with(|known| known.borrow().get(&known_as).copied());
    known().ok().flatten().unwrap_or_else(|| {
        // Policies are the user's code: not under the borrow.
        let schema = (plan.shape)().schema(plan.site);
        let _ = KNOWN.try_with(|known| known.borrow_mut().insert(known_as, schema));
        schema
    })
}

impl Prepared {
    /// Step 1 alone, for what goes further than L1. Not a part of the hit's code, which has to be small to be inlined into
    /// its caller.
    #[cold]
    pub(crate) fn new(
        cache: &Cache,
        site: &Site,
        parts: &dyn WriteKey,
        schema: impl FnOnce() -> u64,
    ) -> Self {
        let key = with_identity(site, parts, |key| key.owned());
        let entry = key.and_then(|key| cache.entry(site, key, parts, schema));
        Self { cache: cache.clone(), site: *site, entry, keeper: None, is_absent: false }
    }

    pub(crate) fn add_tags(&mut self, write: impl FnOnce(&mut Tags<'_>) -> Result<(), Error>) {
        let Ok(entry) = &mut self.entry else { return };
        if let Err(error) = write(&mut Tags::new(self.cache.shared(), &mut entry.tags)) {
            self.entry = Err(error);
        }
    }

    /// The rest of a call that missed L1. What this makes at once has no place in the future.
    pub(crate) fn run<R, F: Future<Output = R>>(
        self,
        terms: Terms,
        shape: Arc<dyn Shape<R>>,
        load: Load<R, F>,
    ) -> impl Future<Output = Result<Reply<R>, Panicked>> {
        let Self { cache, site, entry, keeper, is_absent } = self;
        // Boxed, so that loads inside of loads do not add up on the stack.
        let desk = match entry {
            _ if !terms.on || cache.mode() == CacheMode::Off => Err(Box::new((cache, site, Reason::Off))),
            Err(_) => {
                cache.count_of(&site, Count::KeyRefused);
                Err(Box::new((cache, site, Reason::Key)))
            }
            Ok(entry) => Ok(Box::new(Desk { cache, site, entry, terms, shape, wants: load.wants() })),
        };
        async move {
            match desk {
                Ok(desk) => desk.run(keeper, is_absent, load).await,
                Err(off) => {
                    let (cache, site, reason) = &*off;
                    Ok(Box::pin(bypass(cache, site, *reason, load)).await)
                }
            }
        }
    }

    /// Sees to it that there is a value, and lets go of it. `shape` is called for twice.
    pub(crate) async fn warm<R, F: Future<Output = R>>(
        self,
        terms: Terms,
        shape: impl Fn() -> Arc<dyn Shape<R>>,
        load: Load<R, F>,
    ) -> Warmed {
        if self.cache.mode() == CacheMode::Off || self.entry.is_err() {
            // A load would be for nothing.
            return Warmed::Skipped;
        }
        let Ok(Reply { value, outcome }) = self.run(terms, shape(), load).await else {
            return Warmed::Panicked;
        };
        if shape().has_failed(value) {
            return Warmed::Failed;
        }
        match outcome {
            CacheOutcome::Hit { .. } | CacheOutcome::Stale { .. } => Warmed::Present,
            CacheOutcome::Miss => Warmed::Loaded,
            CacheOutcome::Joined => Warmed::Joined,
            CacheOutcome::Bypass(_) => Warmed::Skipped,
        }
    }

    /// What the tiers have, without a load and without a trace in them.
    pub(crate) async fn find<R>(self, terms: Terms, shape: Arc<dyn Shape<R>>) -> Option<Reply<R>> {
        let Self { cache, site, entry, .. } = self;
        if !terms.on || cache.mode() == CacheMode::Off {
            return None;
        }
        let entry = entry.ok()?;
        let desk = Desk { cache, site, entry, terms, shape, wants: Wants::Usable };
        match desk.ask_l1() {
            Local::Hit(_, reply) => Some(reply),
            Local::Due(kept) => desk.spare(&kept),
            Local::Suspect(kept) => desk.find(Some(&kept)).await,
            Local::Nothing => desk.find(None).await,
        }
    }

    pub(crate) fn invalidate(self) -> Invalidation {
        let target = self.entry.map(|entry| Target::Entry(self.site, Box::new(entry)));
        Invalidation::new(self.cache, target)
    }
}

async fn bypass<R, F>(cache: &Cache, site: &Site, reason: Reason, load: Load<R, F>) -> Reply<R>
where
    F: Future<Output = R>,
{
    cache.count_of(site, Count::Bypass);
    Reply::new(load.here().await, CacheOutcome::Bypass(reason))
}

/// One call at work.
pub(crate) struct Desk<R> {
    pub(crate) cache: Cache,
    pub(crate) site: Site,
    pub(crate) entry: Entry,
    pub(crate) terms: Terms,
    pub(crate) shape: Arc<dyn Shape<R>>,
    /// Of the shared tier.
    pub(crate) wants: Wants,
}

impl<R> Clone for Desk<R> {
    fn clone(&self) -> Self {
        let (cache, entry, shape) = (self.cache.clone(), self.entry.clone(), self.shape.clone());
        Self { cache, entry, shape, ..*self }
    }
}

/// What L1 has.
enum Local<R> {
    Hit(Arc<Kept>, Reply<R>),
    /// A value that is to be loaded again, and may be served until that is done.
    Due(Arc<Kept>),
    /// A value that has to be checked with the shared tier before it is served.
    Suspect(Arc<Kept>),
    Nothing,
}

/// What the shared tier has.
pub(crate) enum Asked<R> {
    Hit(Found, Reply<R>),
    Kept(Arc<Kept>, Reply<R>),
    /// Nothing: load, on this.
    Ground(Ground),
    /// Nothing, and the load of another process that this call waited for has failed.
    Failed(Box<Settled<R>>),
}

impl<R> Desk<R> {
    async fn run<F: Future<Output = R>>(
        self: Box<Self>,
        keeper: Option<Arc<dyn Keeper>>,
        is_absent: bool,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        let suspect = match if is_absent { Local::Nothing } else { self.ask_l1() } {
            Local::Hit(kept, reply) => {
                if kept.used()
                    && let Some(keeper) = keeper
                {
                    self.cache.keep_warm(&self.site, &self.entry.key, &kept, keeper);
                }
                return Ok(reply);
            }
            Local::Due(kept) => {
                kept.used();
                return Box::pin(self.renew(kept, load)).await;
            }
            Local::Suspect(kept) => {
                kept.used();
                Some(kept)
            }
            Local::Nothing => None,
        };
        self.miss(suspect, load).await
    }

    /// No tier of this process has a value that may be served.
    pub(crate) async fn miss<F: Future<Output = R>>(
        self: Box<Self>,
        suspect: Option<Arc<Kept>>,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        if !self.terms.store {
            return Ok(match Box::pin(self.find(suspect.as_ref())).await {
                Some(reply) => reply,
                None => Box::pin(self.load_alone(load)).await,
            });
        }
        // All but the lead in a box of its own: the future of a hit in the shared tier is to be small.
        let joined = match self.begin() {
            Ok(leader) => Joined::Lead(leader),
            Err(follower) => Box::pin(self.join(follower)).await?,
        };
        match joined {
            Joined::Lead(leader) => self.lead(leader, None, load).await,
            Joined::Reply(reply) => Ok(reply),
            Joined::Alone => Ok(Box::pin(self.load_alone(load)).await),
            Joined::Recurse => Ok(Box::pin(bypass(&self.cache, &self.site, Reason::Recursion, load)).await),
        }
    }

    /// Finds the value for everyone who follows. With a `spare` one, only a newer value will do; that is served if the load
    /// fails.
    pub(crate) async fn lead<F: Future<Output = R>>(
        mut self: Box<Self>,
        leader: Leader,
        spare: Option<Arc<Kept>>,
        load: Load<R, F>,
    ) -> Result<Reply<R>, Panicked> {
        // The flight before this one may have ended between the look into L1 and the join.
        let is_there = self.cache.l1().has(&self.entry.key);
        let suspect = match if is_there { self.ask_l1() } else { Local::Nothing } {
            Local::Hit(kept, reply) => {
                leader.land(kept.slot.clone(), || ());
                return Ok(reply);
            }
            Local::Due(kept) | Local::Suspect(kept) => Some(kept),
            Local::Nothing => None,
        };
        if spare.is_some() {
            self.wants = Wants::Newer;
        }
        let mut turn = self.turn(&leader);
        let asked = match &spare {
            None => self.ask(&leader, suspect, &mut turn).await,
            Some(kept) => match Box::pin(self.ask_beside(&leader, suspect, &mut turn, kept)).await {
                Ok(asked) => asked,
                Err(reply) => return Ok(reply),
            },
        };
        let ground = match asked {
            Ok(Asked::Ground(ground)) => ground,
            Ok(Asked::Hit(found, reply)) => {
                self.land_found(leader, found);
                if matches!(reply.outcome, CacheOutcome::Stale { .. }) {
                    self.begin_renewal(load);
                }
                return Ok(reply);
            }
            Ok(Asked::Kept(kept, reply)) => {
                leader.land(kept.slot.clone(), || ());
                return Ok(reply);
            }
            Ok(Asked::Failed(settled)) => {
                let landed = self.land_failed(leader, *settled);
                let Reply { value, outcome } = self.settle(Ok(landed), spare.as_ref())?;
                // The load was another call's.
                let outcome = if outcome == CacheOutcome::Miss { CacheOutcome::Joined } else { outcome };
                return Ok(Reply::new(value, outcome));
            }
            Err(panic) => {
                leader.fail(Landing::Panicked);
                return Err(Panicked::Here(panic));
            }
        };
        self.note(Count::Miss);
        leader.expect_poll();
        let lander = Lander::new(self.clone(), leader, ground, turn, spare.clone());
        let end = match load {
            // Boxed, so that loads inside of loads do not add up on the stack.
            Load::Inline(future) => Box::pin(lander.land(future)).await,
            Load::Detached(future, spawn) => match Handle::try_current() {
                Ok(runtime) => match spawn(&runtime, lander.apart(), future).await {
                    Ok(end) => end,
                    Err(lost) => return Err(lost.try_into_panic().map_or(Panicked::Lost, Panicked::Here)),
                },
                Err(_) => Box::pin(lander.land(future)).await,
            },
        };
        self.settle(end, spare.as_ref())
    }

    /// What a load has come to, or the spare value if it failed.
    pub(crate) fn settle(
        &self,
        landed: thread::Result<Landed<R>>,
        spare: Option<&Arc<Kept>>,
    ) -> Result<Reply<R>, Panicked> {
        let (has_failed, may_spare) =
            landed.as_ref().map_or((true, false), |landed| (landed.is_error, landed.may_spare));
        let spare = spare.filter(|_| has_failed);
        let reply = spare.and_then(|kept| if may_spare { self.reply_spare(kept) } else { self.spare(kept) });
        if let Some(reply) = reply {
            return Ok(reply);
        }
        let landed = landed.map_err(Panicked::Here)?;
        Ok(Reply::new(landed.out, CacheOutcome::Miss))
    }

    /// The turn of the load that `leader` leads.
    pub(crate) fn turn(&self, leader: &Leader) -> Turn {
        if self.site.load_cap().is_none() {
            return Turn::at_once();
        }
        let limit = self.shape.load_timeout();
        let clock = self.cache.clock();
        self.cache.places().turn(&self.site, clock, leader.is_nested(), leader.wanted(), limit)
    }

    /// The shared tier's word, if it takes part. A load that is to store its value has its turn by then.
    pub(crate) async fn ask(
        &self,
        leader: &Leader,
        suspect: Option<Arc<Kept>>,
        turn: &mut Turn,
    ) -> Result<Asked<R>, Panic> {
        // Of what could not be told outside of a runtime.
        self.cache.tell_again();
        if self.asks_l2() {
            leader.watch(self.ask_l2(suspect, turn)).await
        } else {
            Ok(Asked::Ground(Ground::Alone(self.own_claim())))
        }
    }

    fn ask_l1(&self) -> Local<R> {
        if !self.terms.read {
            return Local::Nothing;
        }
        match self.cache.look(&self.site, self.entry.key.as_ref()) {
            Looked::Fresh(kept, age) => {
                match self.fresh_enough(age).and_then(|_| self.shape.restore(&*kept.slot)) {
                    Some(value) => {
                        self.note(Count::HitL1);
                        let outcome = CacheOutcome::Hit { tier: Layer::L1, age };
                        Local::Hit(kept, Reply::new(value, outcome))
                    }
                    None => Local::Nothing,
                }
            }
            Looked::Due(kept) => Local::Due(kept),
            Looked::Suspect(kept) => Local::Suspect(kept),
            Looked::Nothing => Local::Nothing,
        }
    }

    pub(crate) fn asks_l2(&self) -> bool {
        self.entry.is_shared && self.terms.shared && self.cache.mode() == CacheMode::On
    }

    /// Boxed, so that loads inside of loads do not add up on the stack.
    fn ask_l2(
        &self,
        suspect: Option<Arc<Kept>>,
        turn: &mut Turn,
    ) -> Pin<Box<impl Future<Output = Asked<R>>>> {
        Box::pin(self.seek_value_or_ground(suspect, turn))
    }

    /// The value, or what a load stands on.
    async fn seek_value_or_ground(&self, suspect: Option<Arc<Kept>>, turn: &mut Turn) -> Asked<R> {
        let seek = self.seek();
        let answer = if self.terms.read { seek.run(suspect, turn).await } else { seek.force(turn).await };
        match answer {
            Answer::Hit(found) => match self.hit_l2(&found) {
                Some(reply) => Asked::Hit(found, reply),
                None => Asked::Ground(Ground::Beside(found.claim)),
            },
            Answer::Kept(kept) => match self.hit_alone(&kept) {
                Some(reply) => Asked::Kept(kept, reply),
                None => Asked::Ground(Ground::Alone(self.own_claim())),
            },
            Answer::Lease(lease) => Asked::Ground(Ground::Leased(lease)),
            Answer::Beside(claim) => Asked::Ground(Ground::Beside(claim)),
            Answer::Stub(stub) => Asked::Ground(Ground::Stub(stub)),
            Answer::Alone(claim) => Asked::Ground(Ground::Alone(claim)),
            Answer::Failed(error) => match self.shape.revive(error, self.cache.clock().now()) {
                Some(settled) => Asked::Failed(Box::new(settled)),
                None => Asked::Ground(Ground::Alone(self.own_claim())),
            },
        }
    }

    /// As a look only.
    async fn find(&self, suspect: Option<&Arc<Kept>>) -> Option<Reply<R>> {
        match self.find_landing().await {
            None => self.find_l2(suspect).await,
            found => found,
        }
    }

    async fn find_l2(&self, suspect: Option<&Arc<Kept>>) -> Option<Reply<R>> {
        if !self.terms.read || !self.asks_l2() {
            return None;
        }
        match self.seek().find(suspect).await? {
            Answer::Hit(found) => self.hit_l2(&found),
            Answer::Kept(kept) => self.hit_alone(&kept),
            Answer::Lease(_) | Answer::Beside(_) | Answer::Stub(_) | Answer::Alone(_) | Answer::Failed(_) => {
                None
            }
        }
    }

    pub(crate) fn seek(&self) -> Seek<'_, R> {
        let function = self.cache.function(&self.site);
        Seek {
            shared: self.cache.shared(),
            entry: &self.entry,
            shape: &*self.shape,
            function,
            budget: function.budget(&self.site),
            max_age: self.terms.max_age,
            ttl: self.terms.ttl,
            coalesce: !self.site.coalesces_here() && !planted!("lease-ignored"),
            staleness: self.cache.staleness(),
            site: &self.site,
            wants: self.wants,
        }
    }

    fn hit_l2(&self, found: &Found) -> Option<Reply<R>> {
        let value = self.shape.restore(&*found.slot)?;
        if found.was_awaited {
            self.note(Count::Joined);
            return Some(Reply::new(value, CacheOutcome::Joined));
        }
        Some(self.reply_at(found.at, Layer::L2, &*found.slot, value))
    }

    /// With what is said of a value of a tier, fresh or not.
    fn reply_from(&self, tier: Layer, slot: &dyn Slot, value: R) -> Reply<R> {
        self.reply_at(self.cache.clock().now(), tier, slot, value)
    }

    fn reply_at(&self, now: Nanos, tier: Layer, slot: &dyn Slot, value: R) -> Reply<R> {
        let meta = slot.meta();
        let age = meta.age(now);
        if !meta.is_fresh(now) {
            self.note(Count::Stale);
            return Reply::new(value, CacheOutcome::Stale { tier, age });
        }
        self.note(if tier == Layer::L1 { Count::HitL1 } else { Count::HitL2 });
        Reply::new(value, CacheOutcome::Hit { tier, age })
    }

    /// A value that is due, if it may still be served.
    pub(crate) fn spare(&self, kept: &Arc<Kept>) -> Option<Reply<R>> {
        if self.cache.may_serve(&self.site, kept) { self.reply_spare(kept) } else { None }
    }

    fn reply_spare(&self, kept: &Arc<Kept>) -> Option<Reply<R>> {
        let age = kept.slot.meta().age(self.cache.clock().now());
        let value = self.fresh_enough(age)?.shape.restore(&*kept.slot)?;
        Some(self.reply_from(Layer::L1, &*kept.slot, value))
    }

    fn hit_alone(&self, kept: &Kept) -> Option<Reply<R>> {
        let age = kept.slot.meta().age(self.cache.clock().now());
        let value = self.fresh_enough(age)?.shape.restore(&*kept.slot)?;
        kept.function.add(Count::ServedAlone);
        Some(self.reply_from(Layer::L1, &*kept.slot, value))
    }

    /// What a load stands on that is for this process only.
    fn own_claim(&self) -> Claim {
        self.cache.own_claim(&self.entry)
    }

    /// Ends a flight with a value of the shared tier.
    pub(crate) fn land_found(&self, leader: Leader, found: Found) {
        let Found { slot, claim, stamp, .. } = found;
        let (l1, key) = (self.cache.l1(), &self.entry.key);
        leader.land_on(claim, slot.clone(), |claim| l1.insert(&self.site, key, slot, claim, stamp));
        l1.tell_evicted();
    }

    /// Ends a flight with an error of another process.
    pub(crate) fn land_failed(&self, leader: Leader, settled: Settled<R>) -> Landed<R> {
        self.note(Count::Joined);
        match settled.slot {
            Some(slot) => _ = leader.land(slot, || ()),
            None => _ = leader.hand_on(),
        }
        Landed { out: settled.out, is_error: true, may_spare: false }
    }

    pub(crate) fn note(&self, count: Count) {
        self.cache.note(count, &self.site, self.entry.key.as_ref());
    }

    pub(crate) fn fresh_enough(&self, age: Duration) -> Option<&Self> {
        self.terms.max_age.is_none_or(|max| age <= max).then_some(self)
    }

    /// Loads for this caller only.
    async fn load_alone<F: Future<Output = R>>(&self, load: Load<R, F>) -> Reply<R> {
        self.note(Count::Miss);
        let mut loading = Loading::new(self.cache.clock(), self.cache.function(&self.site));
        let limit = self.shape.load_timeout();
        let clock = self.cache.clock();
        let mut turn = self.cache.places().turn(&self.site, clock, flight::is_inside(), pending(), limit);
        let load = loading.around(load.here());
        let value = self.in_turn(&mut turn, &mut loading, load).await;
        loading.returned();
        Reply::new(value, CacheOutcome::Miss)
    }

    /// What a load returns when its turn has come, or what its callers are told if that or the load takes too long.
    pub(crate) async fn in_turn(
        &self,
        turn: &mut Turn,
        loading: &mut Loading,
        load: impl Future<Output = R>,
    ) -> R {
        if turn.come().await == Came::TooLate
            && let Some(out) = self.too_late()
        {
            return out;
        }
        self.note(Count::Load);
        loading.begin();
        self.in_time(load).await
    }

    /// What a caller is told that has waited for too long.
    pub(crate) fn too_late(&self) -> Option<R> {
        let out = self.shape.too_late()?;
        self.cache.count_of(&self.site, Count::LoadTimeout);
        Some(out)
    }
}
