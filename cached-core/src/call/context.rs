//! State of one call beyond the hit path, and its queries to each tier.
//!
//! The files `join`, `lead`, `renew`, `run` and `publish` add the steps of the call as methods of
//! `CallContext`. It does not know the return type of the function: values and errors are erased.

use std::{pin::pin, sync::Arc, time::Duration};

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
    coherence::{tag_log::LogPosition, validity::Validity},
    error::Error,
    flight::{Leader, Panic, permits::LoadTurn},
    key::entry_key::EntryKey,
    l1::{entry::Entry, hot_keys::Renewer},
    l2::lookup::{Acceptable, FoundValue, LookupOutcome, SharedLookup},
    spec::FunctionSpec,
    telemetry::stats::Count,
    value::{erased::ErasedValue, policy::ValuePolicy},
};

/// Shortest and longest pause after a failed renewal.
///
/// The pause is a tenth of the time for which a stale value may be served, within these limits. The older
/// value is served meanwhile, for as long as it may be.
const RENEWAL_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// State of one call beyond the hit path.
#[derive(Clone)]
pub(crate) struct CallContext {
    pub(crate) cache: Cache,
    pub(crate) spec: FunctionSpec,
    pub(crate) entry_key: EntryKey,
    pub(crate) terms: Terms,
    /// Policies of the return type; `None` until the call is made.
    pub(crate) policy: Option<Arc<dyn ValuePolicy>>,
    /// Reason why the arguments cannot be a key. Then the call bypasses the cache.
    pub(crate) refusal: Option<Error>,
    /// Condition on values of L2: which of them are acceptable.
    pub(crate) acceptable: Acceptable,
    /// Renewer of the key, which is registered if a hit makes the key one of the most used.
    pub(crate) renewer: Option<Arc<dyn Renewer>>,
    /// L1 was found to have no entry, and is not asked again.
    pub(crate) is_absent: bool,
}

/// A value or an error of this function, with its origin. The code at the end of the call restores it.
pub(crate) type ErasedReply = Reply<Arc<dyn ErasedValue>>;

/// Result of a look into L1.
pub(crate) enum Local {
    Hit(Arc<Entry>, ErasedReply),
    /// An entry that is due, and may be served until it has been loaded again.
    Due(Arc<Entry>),
    /// An entry that must be checked with L2 before it is served, because its validity is not proven.
    Suspect(Arc<Entry>),
    Nothing,
}

/// Result of a query to L2.
pub(crate) enum SharedAnswer {
    Hit(FoundValue, ErasedReply),
    /// An entry of L1 that may be served because L2 cannot be queried.
    Entry(Arc<Entry>, ErasedReply),
    /// No value: the call loads, with this right to store the result.
    FillRight(FillRight),
    /// No value: the load of another process, for which this call waited, has failed with this error.
    Failed(Arc<dyn ErasedValue>),
}

impl CallContext {
    /// Returns the policies of the return type.
    ///
    /// # Panics
    /// Panics if the call was not made: each way to make one sets them.
    pub(crate) fn policy(&self) -> &Arc<dyn ValuePolicy> {
        self.policy.as_ref().expect("a call that is made has policies")
    }

    /// Returns the turn of the leader's load under `max_loads`.
    pub(crate) fn turn(&self, leader: &Leader) -> LoadTurn {
        if self.spec.own_max_loads().is_none() {
            return LoadTurn::unlimited();
        }
        let limit = self.policy().load_timeout();
        let clock = self.cache.clock();
        self.cache.permits().turn(&self.spec, clock, leader.is_nested(), leader.awaited_by_load(), limit)
    }

    /// Queries L2, if it takes part. Otherwise the value may be kept in this process only.
    ///
    /// A load that is to store its value in L2 has its turn when this returns.
    pub(crate) async fn query_l2(
        &self,
        leader: &Leader,
        suspect: Option<Arc<Entry>>,
        turn: &mut LoadTurn,
    ) -> Result<SharedAnswer, Panic> {
        // Resend invalidations that were queued outside of a runtime.
        self.cache.resend();
        if self.uses_l2() {
            // Pinned here, so that the future of the caller has one copy of this one. That future is in a box.
            let query = pin!(self.find_value_or_fill_right(suspect, turn));
            leader.run(query).await
        } else {
            Ok(SharedAnswer::FillRight(FillRight::LocalOnly(self.local_validity())))
        }
    }

    /// Looks into L1. A fresh entry that is older than the `max_age` of the call counts as absent.
    ///
    /// So does a fresh error that cannot be restored. The call then leads a load, or follows one, as after any miss, and
    /// the result replaces the error.
    pub(crate) fn lookup_l1(&self) -> Local {
        if !self.terms.read {
            return Local::Nothing;
        }
        match self.cache.lookup(&self.spec, self.entry_key.key.as_ref()) {
            L1Lookup::Fresh(entry, age) => {
                if self.fresh_enough(age).is_none() || !self.policy().can_restore(&*entry.erased) {
                    return Local::Nothing;
                }
                self.report(Count::HitL1);
                let reply = Reply::new(entry.erased.clone(), CacheOutcome::Hit { tier: Layer::L1, age });
                Local::Hit(entry, reply)
            }
            L1Lookup::Due(entry) => Local::Due(entry),
            L1Lookup::Suspect(entry) => Local::Suspect(entry),
            L1Lookup::Nothing => Local::Nothing,
        }
    }

    /// Returns the position in the log of invalidated tags, if values may have tags.
    pub(crate) fn log_position(&self) -> Option<LogPosition> {
        self.policy().has_value_tags().then(|| self.cache.shared().tag_log.position())
    }

    /// Returns whether L2 takes part in this call.
    pub(crate) fn uses_l2(&self) -> bool {
        self.entry_key.is_shared && self.terms.shared && self.cache.mode() == CacheMode::On
    }

    /// Returns the value, or the fill right of a load.
    async fn find_value_or_fill_right(
        &self,
        suspect: Option<Arc<Entry>>,
        turn: &mut LoadTurn,
    ) -> SharedAnswer {
        let lookup = self.shared_lookup();
        let answer = if self.terms.read {
            lookup.run(suspect, turn).await
        } else {
            Box::pin(lookup.force(turn)).await
        };
        match answer {
            LookupOutcome::Hit(found) => match self.reply_from_l2(&found) {
                Some(reply) => SharedAnswer::Hit(found, reply),
                None => SharedAnswer::FillRight(FillRight::IfUnchanged(found.validity)),
            },
            LookupOutcome::Entry(entry) => match self.outage_reply(&entry) {
                Some(reply) => SharedAnswer::Entry(entry, reply),
                None => SharedAnswer::FillRight(FillRight::LocalOnly(self.local_validity())),
            },
            LookupOutcome::Lease(lease) => SharedAnswer::FillRight(FillRight::Everywhere(Box::new(lease))),
            LookupOutcome::Beside(validity) => SharedAnswer::FillRight(FillRight::IfUnchanged(validity)),
            LookupOutcome::Stub(stub) => SharedAnswer::FillRight(FillRight::Stub(stub)),
            LookupOutcome::Alone(validity) => SharedAnswer::FillRight(FillRight::LocalOnly(validity)),
            LookupOutcome::Failed(error) => {
                match self.policy().rebuild_error(error, self.cache.clock().now()) {
                    Some(erased) => SharedAnswer::Failed(erased),
                    None => SharedAnswer::FillRight(FillRight::LocalOnly(self.local_validity())),
                }
            }
        }
    }

    /// Looks for the value without a load: in a flight that is about to end, and in L2.
    pub(crate) async fn find(&self, suspect: Option<&Arc<Entry>>) -> Option<ErasedReply> {
        match self.find_landing().await {
            None => self.find_l2(suspect).await,
            found => found,
        }
    }

    /// Looks for the value in L2, without a load and without a wait for one.
    pub(crate) async fn find_l2(&self, suspect: Option<&Arc<Entry>>) -> Option<ErasedReply> {
        if !self.terms.read || !self.uses_l2() {
            return None;
        }
        match self.shared_lookup().find(suspect).await? {
            LookupOutcome::Hit(found) => self.reply_from_l2(&found),
            LookupOutcome::Entry(entry) => self.outage_reply(&entry),
            LookupOutcome::Lease(_)
            | LookupOutcome::Beside(_)
            | LookupOutcome::Stub(_)
            | LookupOutcome::Alone(_)
            | LookupOutcome::Failed(_) => None,
        }
    }

    pub(crate) fn shared_lookup(&self) -> SharedLookup<'_> {
        let function = self.cache.function(&self.spec);
        SharedLookup {
            shared: self.cache.shared(),
            entry_key: &self.entry_key,
            policy: &**self.policy(),
            function,
            budget: function.budget(&self.spec),
            max_age: self.terms.max_age,
            ttl: self.terms.ttl,
            coalesce: !self.spec.coalesces_locally() && !planted!("lease-ignored"),
            staleness: self.cache.staleness(),
            spec: &self.spec,
            acceptable: self.acceptable,
        }
    }

    fn reply_from_l2(&self, found: &FoundValue) -> Option<ErasedReply> {
        let erased = self.result_in(&found.erased)?;
        if found.was_awaited {
            self.report(Count::Joined);
            return Some(Reply::new(erased, CacheOutcome::Joined));
        }
        Some(self.reply_at(found.read_at, Layer::L2, erased))
    }

    /// Returns `erased` if it is a value or an error of this function.
    pub(crate) fn result_in(&self, erased: &Arc<dyn ErasedValue>) -> Option<Arc<dyn ErasedValue>> {
        self.policy().is_result(&**erased).then(|| erased.clone())
    }

    /// Counts a value of a tier as a hit, or as stale, and builds the reply.
    fn reply_at(&self, now: Nanos, tier: Layer, erased: Arc<dyn ErasedValue>) -> ErasedReply {
        let freshness = erased.freshness();
        let age = freshness.age(now);
        if !freshness.is_fresh(now) {
            self.report(Count::Stale);
            return Reply::new(erased, CacheOutcome::Stale { tier, age });
        }
        self.report(if tier == Layer::L1 { Count::HitL1 } else { Count::HitL2 });
        Reply::new(erased, CacheOutcome::Hit { tier, age })
    }

    /// Returns the reply with a due entry, if the entry may still be served.
    pub(crate) fn fallback_reply(&self, entry: &Arc<Entry>) -> Option<ErasedReply> {
        if self.cache.may_serve(&self.spec, entry) { self.fallback_reply_unchecked(entry) } else { None }
    }

    /// Returns the reply with a due entry that may be served, unless `max_age` excludes it.
    pub(crate) fn fallback_reply_unchecked(&self, entry: &Arc<Entry>) -> Option<ErasedReply> {
        let now = self.cache.clock().now();
        let erased = self.fresh_enough(entry.erased.freshness().age(now))?.result_in(&entry.erased)?;
        Some(self.reply_at(now, Layer::L1, erased))
    }

    /// Returns the reply with an entry that is served because L2 cannot be queried.
    fn outage_reply(&self, entry: &Entry) -> Option<ErasedReply> {
        let now = self.cache.clock().now();
        let erased = self.fresh_enough(entry.erased.freshness().age(now))?.result_in(&entry.erased)?;
        entry.metrics().add(Count::ServedInOutage);
        Some(self.reply_at(now, Layer::L1, erased))
    }

    /// Returns the validity for a load that fills this process only.
    pub(crate) fn local_validity(&self) -> Validity {
        self.cache.local_validity(&self.spec, &self.entry_key)
    }

    /// Ends a flight with an entry of L1, if its validity still holds.
    ///
    /// The flight of a lookup depends on no epochs, so a caller may have joined after an invalidation of the
    /// entry. Then the followers start over.
    pub(crate) fn land_entry(leader: Leader, entry: &Entry) {
        leader.land_if_valid(entry.validity().clone(), entry.erased.clone(), |_, _| ());
    }

    /// Ends a flight with a value of L2, and stores it in L1 if its validity still holds.
    pub(crate) fn land_found(&self, leader: Leader, found: FoundValue) {
        let FoundValue { erased, validity, revision, .. } = found;
        let (l1, key) = (self.cache.l1(), &self.entry_key.key);
        leader.land_if_valid(validity, erased, |validity, erased| {
            l1.insert(&self.spec, key, erased, validity, revision);
        });
        l1.report_evictions();
    }

    pub(crate) fn report(&self, count: Count) {
        self.cache.report(count, &self.spec, self.entry_key.key.as_ref());
    }

    /// Returns `self` if a value of this age satisfies the call's `max_age`.
    pub(crate) fn fresh_enough(&self, age: Duration) -> Option<&Self> {
        self.terms.max_age.is_none_or(|max| age <= max).then_some(self)
    }

    /// Counts a load that has exceeded `load_timeout`. Returns false if the function has no such limit.
    pub(crate) fn count_timeout(&self) -> bool {
        let has_limit = self.policy().load_timeout().is_some();
        if has_limit {
            self.cache.count_of(&self.spec, Count::LoadTimeout);
        }
        has_limit
    }

    /// Postpones the next renewal of `entry`, after a load in its place has failed.
    pub(crate) fn back_off(&self, entry: &Entry) {
        let (shortest, longest) = RENEWAL_BACKOFF;
        let backoff = (self.policy().stale() / 10).clamp(shortest, longest);
        entry.start_backoff(self.cache.clock().now().saturating_add(nanos(backoff)));
    }
}
