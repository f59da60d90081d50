//! State of one call beyond the hit path, and its queries to each tier.
//!
//! The files `join`, `lead`, `renew`, `run` and `publish` add the steps of the call as methods of
//! `CallContext`.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use crate::{
    base::{
        clock::{Nanos, nanos},
        planted::planted,
    },
    cache::{Cache, L1Lookup, Mode as CacheMode},
    call::{
        control::{CacheOutcome, Layer, Reply, Terms},
        fill_right::FillRight,
    },
    coherence::validity::Validity,
    flight::{
        Leader, Panic,
        permits::{LoadTurn, TurnResult},
    },
    key::entry_key::EntryKey,
    l1::entry::Entry,
    l2::lookup::{Acceptable, FoundValue, LookupOutcome, SharedLookup},
    spec::FunctionSpec,
    telemetry::{stats::Count, step::LoadSpan},
    value::{
        erased::ErasedValue,
        policy::{LoadedValue, ValuePolicy},
    },
};

/// Shortest and longest pause after a failed renewal.
///
/// The pause is a tenth of the time for which a stale value may be served, within these limits. The older
/// value is served meanwhile, for as long as it may be.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// State of one call beyond the hit path.
pub(crate) struct CallContext<R> {
    pub(crate) cache: Cache,
    pub(crate) site: FunctionSpec,
    pub(crate) entry: EntryKey,
    pub(crate) terms: Terms,
    pub(crate) shape: Arc<dyn ValuePolicy<R>>,
    /// Condition on values of L2: which of them are acceptable.
    pub(crate) wants: Acceptable,
}

impl<R> Clone for CallContext<R> {
    fn clone(&self) -> Self {
        let (cache, entry, shape) = (self.cache.clone(), self.entry.clone(), self.shape.clone());
        Self { cache, entry, shape, ..*self }
    }
}

/// Result of a look into L1.
pub(crate) enum Local<R> {
    Hit(Arc<Entry>, Reply<R>),
    /// An entry that is due, and may be served until it has been loaded again.
    Due(Arc<Entry>),
    /// An entry that must be checked with L2 before it is served, because its validity is not proven.
    Suspect(Arc<Entry>),
    Nothing,
}

/// Result of a query to L2.
pub(crate) enum SharedAnswer<R> {
    Hit(FoundValue, Reply<R>),
    /// An entry of L1 that may be served because L2 cannot be queried.
    Entry(Arc<Entry>, Reply<R>),
    /// No value: the call loads, with this right to store the result.
    FillRight(FillRight),
    /// No value: the load of another process, for which this call waited, has failed with this error.
    Failed(Box<LoadedValue<R>>),
}

impl<R> CallContext<R> {
    /// Returns the turn of the leader's load under `max_loads`.
    pub(crate) fn turn(&self, leader: &Leader) -> LoadTurn {
        if self.site.load_cap().is_none() {
            return LoadTurn::at_once();
        }
        let limit = self.shape.load_timeout();
        let clock = self.cache.clock();
        self.cache.places().turn(&self.site, clock, leader.is_nested(), leader.wanted(), limit)
    }

    /// Queries L2, if it takes part. Otherwise the value may be kept in this process only.
    ///
    /// A load that is to store its value in L2 has its turn when this returns.
    pub(crate) async fn ask(
        &self,
        leader: &Leader,
        suspect: Option<Arc<Entry>>,
        turn: &mut LoadTurn,
    ) -> Result<SharedAnswer<R>, Panic> {
        // Resend invalidations that were queued outside of a runtime.
        self.cache.tell_again();
        if self.asks_l2() {
            leader.watch(self.ask_l2(suspect, turn)).await
        } else {
            Ok(SharedAnswer::FillRight(FillRight::LocalOnly(self.own_claim())))
        }
    }

    /// Looks into L1. A fresh entry that is older than the `max_age` of the call counts as absent.
    pub(crate) fn ask_l1(&self) -> Local<R> {
        if !self.terms.read {
            return Local::Nothing;
        }
        match self.cache.look(&self.site, self.entry.key.as_ref()) {
            L1Lookup::Fresh(kept, age) => {
                match self.fresh_enough(age).and_then(|_| self.shape.restore(&*kept.slot)) {
                    Some(value) => {
                        self.note(Count::HitL1);
                        let outcome = CacheOutcome::Hit { tier: Layer::L1, age };
                        Local::Hit(kept, Reply::new(value, outcome))
                    }
                    None => Local::Nothing,
                }
            }
            L1Lookup::Due(kept) => Local::Due(kept),
            L1Lookup::Suspect(kept) => Local::Suspect(kept),
            L1Lookup::Nothing => Local::Nothing,
        }
    }

    /// Returns whether L2 takes part in this call.
    pub(crate) fn asks_l2(&self) -> bool {
        self.entry.is_shared && self.terms.shared && self.cache.mode() == CacheMode::On
    }

    /// Queries L2. The future is boxed, so that nested loads do not add up on the stack.
    fn ask_l2(
        &self,
        suspect: Option<Arc<Entry>>,
        turn: &mut LoadTurn,
    ) -> Pin<Box<impl Future<Output = SharedAnswer<R>>>> {
        Box::pin(self.seek_value_or_ground(suspect, turn))
    }

    /// Returns the value, or the fill right of a load.
    async fn seek_value_or_ground(
        &self,
        suspect: Option<Arc<Entry>>,
        turn: &mut LoadTurn,
    ) -> SharedAnswer<R> {
        let seek = self.seek();
        let answer = if self.terms.read { seek.run(suspect, turn).await } else { seek.force(turn).await };
        match answer {
            LookupOutcome::Hit(found) => match self.hit_l2(&found) {
                Some(reply) => SharedAnswer::Hit(found, reply),
                None => SharedAnswer::FillRight(FillRight::IfUnchanged(found.claim)),
            },
            LookupOutcome::Entry(kept) => match self.hit_alone(&kept) {
                Some(reply) => SharedAnswer::Entry(kept, reply),
                None => SharedAnswer::FillRight(FillRight::LocalOnly(self.own_claim())),
            },
            LookupOutcome::Lease(lease) => SharedAnswer::FillRight(FillRight::Everywhere(lease)),
            LookupOutcome::Beside(claim) => SharedAnswer::FillRight(FillRight::IfUnchanged(claim)),
            LookupOutcome::Stub(stub) => SharedAnswer::FillRight(FillRight::Stub(stub)),
            LookupOutcome::Alone(claim) => SharedAnswer::FillRight(FillRight::LocalOnly(claim)),
            LookupOutcome::Failed(error) => match self.shape.revive(error, self.cache.clock().now()) {
                Some(settled) => SharedAnswer::Failed(Box::new(settled)),
                None => SharedAnswer::FillRight(FillRight::LocalOnly(self.own_claim())),
            },
        }
    }

    /// Looks for the value without a load: in a flight that is about to end, and in L2.
    pub(crate) async fn find(&self, suspect: Option<&Arc<Entry>>) -> Option<Reply<R>> {
        match self.find_landing().await {
            None => self.find_l2(suspect).await,
            found => found,
        }
    }

    /// Looks for the value in L2, without a load and without a wait for one.
    pub(crate) async fn find_l2(&self, suspect: Option<&Arc<Entry>>) -> Option<Reply<R>> {
        if !self.terms.read || !self.asks_l2() {
            return None;
        }
        match self.seek().find(suspect).await? {
            LookupOutcome::Hit(found) => self.hit_l2(&found),
            LookupOutcome::Entry(kept) => self.hit_alone(&kept),
            LookupOutcome::Lease(_)
            | LookupOutcome::Beside(_)
            | LookupOutcome::Stub(_)
            | LookupOutcome::Alone(_)
            | LookupOutcome::Failed(_) => None,
        }
    }

    pub(crate) fn seek(&self) -> SharedLookup<'_, R> {
        let function = self.cache.function(&self.site);
        SharedLookup {
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

    fn hit_l2(&self, found: &FoundValue) -> Option<Reply<R>> {
        let value = self.shape.restore(&*found.slot)?;
        if found.was_awaited {
            self.note(Count::Joined);
            return Some(Reply::new(value, CacheOutcome::Joined));
        }
        Some(self.reply_at(found.at, Layer::L2, &*found.slot, value))
    }

    /// Counts a value of a tier as a hit, or as stale, and builds the reply.
    pub(crate) fn reply_from(&self, tier: Layer, slot: &dyn ErasedValue, value: R) -> Reply<R> {
        self.reply_at(self.cache.clock().now(), tier, slot, value)
    }

    fn reply_at(&self, now: Nanos, tier: Layer, slot: &dyn ErasedValue, value: R) -> Reply<R> {
        let meta = slot.meta();
        let age = meta.age(now);
        if !meta.is_fresh(now) {
            self.note(Count::Stale);
            return Reply::new(value, CacheOutcome::Stale { tier, age });
        }
        self.note(if tier == Layer::L1 { Count::HitL1 } else { Count::HitL2 });
        Reply::new(value, CacheOutcome::Hit { tier, age })
    }

    /// Returns the reply with a due entry, if the entry may still be served.
    pub(crate) fn spare(&self, kept: &Arc<Entry>) -> Option<Reply<R>> {
        if self.cache.may_serve(&self.site, kept) { self.reply_spare(kept) } else { None }
    }

    /// Returns the reply with a due entry that may be served, unless `max_age` excludes it.
    pub(crate) fn reply_spare(&self, kept: &Arc<Entry>) -> Option<Reply<R>> {
        let age = kept.slot.meta().age(self.cache.clock().now());
        let value = self.fresh_enough(age)?.shape.restore(&*kept.slot)?;
        Some(self.reply_from(Layer::L1, &*kept.slot, value))
    }

    /// Returns the reply with an entry that is served because L2 cannot be queried.
    fn hit_alone(&self, kept: &Entry) -> Option<Reply<R>> {
        let age = kept.slot.meta().age(self.cache.clock().now());
        let value = self.fresh_enough(age)?.shape.restore(&*kept.slot)?;
        kept.function.add(Count::ServedAlone);
        Some(self.reply_from(Layer::L1, &*kept.slot, value))
    }

    /// Returns the validity for a load that fills this process only.
    pub(crate) fn own_claim(&self) -> Validity {
        self.cache.own_claim(&self.entry)
    }

    /// Ends a flight with a value of L2, and stores it in L1 if its validity still holds.
    pub(crate) fn land_found(&self, leader: Leader, found: FoundValue) {
        let FoundValue { slot, claim, stamp, .. } = found;
        let (l1, key) = (self.cache.l1(), &self.entry.key);
        leader.land_on(claim, slot.clone(), |claim| l1.insert(&self.site, key, slot, claim, stamp));
        l1.tell_evicted();
    }

    pub(crate) fn note(&self, count: Count) {
        self.cache.note(count, &self.site, self.entry.key.as_ref());
    }

    /// Returns `self` if a value of this age satisfies the call's `max_age`.
    pub(crate) fn fresh_enough(&self, age: Duration) -> Option<&Self> {
        self.terms.max_age.is_none_or(|max| age <= max).then_some(self)
    }

    /// Waits for the turn, runs the load, and returns its result.
    ///
    /// If the turn or the load takes longer than `load_timeout`, the result is the timeout error instead.
    pub(crate) async fn in_turn(
        &self,
        turn: &mut LoadTurn,
        loading: &mut LoadSpan,
        load: impl Future<Output = R>,
    ) -> R {
        if turn.come().await == TurnResult::TooLate
            && let Some(out) = self.too_late()
        {
            return out;
        }
        self.note(Count::Load);
        loading.begin();
        self.in_time(load).await
    }

    /// Returns the timeout error of the function and counts it; `None` without a `load_timeout`.
    pub(crate) fn too_late(&self) -> Option<R> {
        let out = self.shape.too_late()?;
        self.cache.count_of(&self.site, Count::LoadTimeout);
        Some(out)
    }

    /// Runs the load and returns its result. After `load_timeout`, drops it and returns the timeout error.
    pub(crate) async fn in_time(&self, load: impl Future<Output = R>) -> R {
        let mut load = pin!(load);
        let Some(limit) = self.shape.load_timeout() else { return load.await };
        if let Some(out) = self.cache.clock().within(limit, &mut load).await {
            return out;
        }
        match self.too_late() {
            Some(out) => out,
            None => load.await,
        }
    }

    /// Postpones the next renewal of `kept`, after a load in its place has failed.
    pub(crate) fn let_rest(&self, kept: &Entry) {
        let (shortest, longest) = REST;
        let rest = (self.shape.stale() / 10).clamp(shortest, longest);
        kept.rest_until(self.cache.clock().now().saturating_add(nanos(rest)));
    }
}
