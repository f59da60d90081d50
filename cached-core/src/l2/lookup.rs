//! The protocol of a miss with L2, which yields a value or the right to load one.
//!
//! [`SharedLookup::run`] repeats the following steps until one of them decides:
//!
//! 1. Take the epoch of the name and listen to it. This precedes the read, so that no change is missed.
//! 2. Read the key and the generations of the tags, and classify the reply as `Observed`.
//! 3. An acceptable value is the result. So is the error of another load, if this call has waited for a load
//!    of the key.
//! 4. If another process loads, wait until the key changes, the lease ends or the change feed ends. Then
//!    repeat. A lease is taken by force if its holder is presumed lost.
//! 5. Otherwise wait for the turn of the load (`max_loads`). If it does not come at once, repeat afterwards,
//!    since another process may have loaded meanwhile. The turn precedes the lease: a lease that waits in a
//!    queue of this process would keep all other processes from loading.
//! 6. Request the lease. If it is granted, it is the result. If another process holds it, wait as in step 4.
//!
//! A call that does not coalesce, or has no patience left, loads beside the holder of the lease. If each read
//! finds something else, the call gives up after [`ROUNDS`] and loads for its caller only. If the tier cannot
//! be asked, an entry of this process is served within the grace, or the call loads alone.
//!
//! `call::context` calls this module, `lease` holds the right, and `call::publish` uses it after the load.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    base::{
        clock::{Nanos, nanos},
        planted::planted,
        race::{either, within},
    },
    coherence::{
        epoch::{Epoch, Listener},
        staleness::Staleness,
        validity::Validity,
    },
    error::{shared::SharedLoadError, tier::TierError},
    flight::permits::{LoadTurn, TurnResult},
    key::entry_key::EntryKey,
    l1::entry::Entry,
    l2::{
        ask::{look, look_at},
        lease::{Lease, LeaseAttempt},
        note,
        shared::{OpenedRecord, OpenedValue, Shared},
    },
    spec::FunctionSpec,
    sync::Instant,
    telemetry::{functions::FunctionMetrics, stats::Count},
    tier::{
        Found, JournalPosition, LeaseMode, LeaseReply, LeaseRequest, Lookup, Note, Record, Revision, Stored,
        TagRequest, Tier, budget::Budget, feed::ChangeFeed,
    },
    value::{
        envelope::{TagGeneration, Unreadable, created_ms},
        erased::{ErasedValue, Freshness},
        policy::ValuePolicy,
    },
};

/// Longest wait of a call for the load of another process, however often its lease is renewed.
///
/// A `load_timeout` of the function may end the wait earlier.
const PATIENCE: Duration = Duration::from_secs(300);

/// Number of lease lengths without a renewal after which the holder of a lease is presumed lost.
///
/// The end of the lease is not decisive: the server's clock may have been set back since it was taken.
/// Holders renew after each third of the length.
const SILENT_LEASES: u32 = 3;

/// Delay after the end of a lease before the next read.
const MARGIN: Duration = Duration::from_millis(5);

/// Longest wait of a call for a lease that its own process releases, if loads of its function cost little.
const RETURN: Duration = Duration::from_millis(50);

/// Interval between reads if changes of the key are not reported.
const POLL: Duration = Duration::from_millis(100);

/// Number of short rounds after which a call gives up, because each read finds something else.
const ROUNDS: usize = 32;

/// Age below which a value of another program version is left alone.
///
/// Otherwise two versions would load and overwrite each other's values in turns for ever.
const OTHERS_TURN: Duration = Duration::from_secs(60);

/// Additional time for which generations of tags are kept, because the value has yet to be loaded.
///
/// A load that takes longer renews them.
const LOADS: Duration = Duration::from_secs(60);

/// Time for which generations are kept if only the value determines its ttl, and no fill can extend them.
const UNKNOWN: Duration = Duration::from_secs(24 * 60 * 60);

/// A lookup of one missed key in the shared tier.
pub(crate) struct SharedLookup<'a, R> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) entry: &'a EntryKey,
    pub(crate) shape: &'a dyn ValuePolicy<R>,
    pub(crate) function: &'a FunctionMetrics,
    pub(crate) budget: Budget,
    pub(crate) max_age: Option<Duration>,
    /// Ttl of the value as requested by the caller, instead of the function's own.
    pub(crate) ttl: Option<Duration>,
    /// Set if the call waits for loads of other processes.
    pub(crate) coalesce: bool,
    pub(crate) staleness: Staleness,
    pub(crate) site: &'a FunctionSpec,
    pub(crate) wants: Acceptable,
}

/// Values that a lookup accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptable {
    /// Fresh values.
    Fresh,
    /// Values that may be served, fresh or stale.
    Usable,
    /// Values that are not due: the caller has an older one to serve meanwhile.
    Newer,
    /// Values that are not due and have another revision, although the value of this one is not due either.
    Another(Revision),
}

impl<R> SharedLookup<'_, R> {
    /// Returns the values that the tier has, in one round trip. Only for functions without tags.
    pub(crate) async fn find_many(
        shared: &Arc<Shared>,
        entries: &[&EntryKey],
        shape: &dyn ValuePolicy<R>,
        function: &FunctionMetrics,
        budget: Budget,
    ) -> Vec<Option<FoundValue>> {
        let nothing = || entries.iter().map(|_| None).collect();
        if !shared.tier.ready() {
            function.add(Count::SharedSkipped);
            return nothing();
        }
        let name = |entry: &EntryKey| shared.silent_claim(&entry.name.text, &[]);
        let claims: Vec<_> = entries.iter().map(|entry| name(entry)).collect();
        // The outbox is checked before the read. An item that is delivered during the read leaves the outbox,
        // but the value read may be from before it.
        let is_untold = |entry: &&EntryKey| shared.pending.is_about([entry.name.text.as_str()].into_iter());
        let untold: Vec<_> = entries.iter().map(is_untold).collect();
        let asks: Vec<_> = entries
            .iter()
            .map(|entry| Lookup { size: function.size(), ..Lookup::new(&entry.name.text) })
            .collect();
        let asked: Result<Found, _> = look(shared, function, &asks, &[], budget).await;
        let Ok(Found { records, line, .. }) = asked else {
            function.add(Count::SharedReadError);
            return nothing();
        };
        let found = |(((entry, claim), is_untold), record): (((&&EntryKey, Validity), bool), Record)| {
            let Record::Value(stored) = record else { return None };
            function.measures(stored.bytes.len());
            if is_untold {
                return None;
            }
            let opened = shared
                .open(&entry.name, &stored, shape, shared.clock.now())
                .inspect_err(|_| function.add(Count::Unreadable));
            let OpenedRecord::Value(OpenedValue { slot, tags }) = opened.ok()?? else { return None };
            if !tags.is_empty() {
                // This call does not know the tags, and cannot check whether they are current.
                return None;
            }
            let now = shared.clock.now();
            if !slot.meta().is_fresh(now) {
                return None;
            }
            let claim = Validity { line: line.clone(), ..claim };
            Some(FoundValue { slot, claim, stamp: stored.stamp, at: now, was_awaited: false })
        };
        entries.iter().zip(claims).zip(untold).zip(records).map(found).collect()
    }
}

/// Result of a lookup.
pub(crate) enum LookupOutcome {
    /// The shared tier has the value.
    Hit(FoundValue),
    /// The tier cannot be asked, and the entry of this process may be served.
    Entry(Arc<Entry>),
    /// Load, and store the value with this lease.
    Lease(Lease),
    /// Load without a lease, while another load may store the value. Carries the validity of this load.
    Beside(Validity),
    /// Load for this process only: the tier cannot hold the value.
    Stub(Stub),
    /// Load without the tier, which cannot be asked. Carries the validity of this load.
    Alone(Validity),
    /// The load of another process, for which this call waited, has failed with this error.
    Failed(SharedLoadError),
}

/// A value of the shared tier, with the validity of an entry made from it.
pub(crate) struct FoundValue {
    pub(crate) slot: Arc<dyn ErasedValue>,
    pub(crate) claim: Validity,
    pub(crate) stamp: Revision,
    /// Time of the tier's reply.
    pub(crate) at: Nanos,
    /// The value was still being loaded when the call began, and the call waited for it.
    pub(crate) was_awaited: bool,
}

/// Right to keep a loaded value in this process, because the shared tier has a stub instead.
pub(crate) struct Stub {
    pub(crate) claim: Validity,
    /// Revision of the stub.
    pub(crate) stamp: Revision,
    /// Position of the journal before the load, and the journal's epoch, which any invalidation of a tag
    /// ends.
    ///
    /// Present if the value may add tags and the tier has a journal.
    pub(crate) since: Option<(JournalPosition, Arc<Epoch>)>,
}

/// Reply of the tier to a read, classified by the next step.
enum Observed {
    FoundValue(FoundValue),
    /// No acceptable value, and no known load. A lease may be requested in this mode.
    Takeable(LeaseMode),
    /// No value, because a load had nothing to share. A lease may be requested.
    Failed,
    /// No value, because a load has failed. A lease may be requested.
    ///
    /// Carries the text of the error, if this function can make an error from it.
    Error(Option<SharedLoadError>),
    /// Another load is in progress.
    Busy {
        left: Duration,
        is_retry: bool,
        claim: Validity,
    },
    /// A young value of another function, version, key or codec, which is left alone.
    Others(Validity),
    /// The tier cannot hold the value, and has a stub.
    Stub(Validity, Revision),
    /// The tier cannot be asked, or not about this name.
    Unknown,
    /// The tier has another value than the known one, or none.
    Moved,
}

/// The right that a load acquires when its turn has come.
enum Right {
    /// A lease. The flag is set if the call does not wait for a lease held elsewhere.
    Lease(LeaseMode, bool),
    /// No right is needed, as nothing is stored.
    Stub(Validity, Revision),
}

impl<R> SharedLookup<'_, R> {
    /// Returns the value if the tier has it. This takes no lease and notifies no other process.
    pub(crate) async fn find(&self, mut suspect: Option<&Arc<Entry>>) -> Option<LookupOutcome> {
        let mut known = suspect;
        for _ in 0..2 {
            match self.look(self.shared.mark(&self.entry.name.text), known).await {
                Observed::FoundValue(found) => return Some(LookupOutcome::Hit(found)),
                // The tier reports that the entry of this process is outdated.
                Observed::Moved => (known, suspect) = (None, None),
                Observed::Unknown => return self.serve_alone(suspect).map(LookupOutcome::Entry),
                _ => return None,
            }
        }
        None
    }

    /// Returns the value, or the right to load it. Waits while another process loads.
    ///
    /// The right is acquired in the load's turn: a lease that waits in a queue of this process would keep all
    /// other processes from loading.
    pub(crate) async fn run(&self, mut suspect: Option<Arc<Entry>>, turn: &mut LoadTurn) -> LookupOutcome {
        // Set when the call first has to wait.
        let mut patience = None;
        let mut holder = Holder::new(self.shared.lease);
        let mut known = suspect.clone();
        let mut has_waited = false;
        let mut rounds = 0;
        let (returning, name) = (&self.shared.returning, &self.entry.name.text);
        // Usually no lease is being released, and this is one atomic load: every hit of the tier passes here.
        if returning.is_under_way(name) && self.shared.tier.ready() {
            let limit = self.budget.of_read(RETURN);
            Box::pin(returning.wait(name, &self.shared.marks, limit)).await;
        }
        while rounds < ROUNDS {
            let mark = self.shared.mark(&self.entry.name.text);
            let listener = mark.listen();
            let state = self.look(mark.clone(), known.as_ref()).await;
            if !matches!(state, Observed::Unknown) {
                // The tier has answered. The entry is either confirmed or outdated by now, and no fallback
                // any more.
                suspect = None;
            }
            let right = match state {
                Observed::FoundValue(found) => {
                    return LookupOutcome::Hit(FoundValue { was_awaited: has_waited, ..found });
                }
                Observed::Takeable(take) => Right::Lease(take, false),
                Observed::Failed => Right::Lease(LeaseMode::IfAbsent, has_waited),
                Observed::Error(Some(error)) if has_waited => return LookupOutcome::Failed(error),
                // If callers need an error of their own, their processes load one after the other: the
                // backend is failing.
                Observed::Error(_) => {
                    // Each such error is the end of a further load: progress, and no repetition.
                    rounds = 0;
                    Right::Lease(LeaseMode::IfAbsent, false)
                }
                Observed::Busy { left, .. }
                    if self.coalesce && holder.is_lost(left, self.shared.clock.now()) =>
                {
                    Right::Lease(LeaseMode::Always, false)
                }
                // After a wait for a value that was not kept, processes do not wait for each other again.
                Observed::Busy { left, is_retry, claim }
                    if self.coalesce && !(is_retry && has_waited) && self.is_patient(&mut patience) =>
                {
                    turn.pass();
                    rounds += Box::pin(self.wait(listener, &claim.line, left, patience)).await;
                    has_waited = true;
                    known = None;
                    continue;
                }
                // A tag has no generation, so its invalidation would not be reported. The lease request
                // creates it.
                Observed::Busy { claim, .. } if !claim.line.watches() && !self.entry.tags.is_empty() => {
                    Right::Lease(LeaseMode::IfAbsent, true)
                }
                Observed::Busy { claim, .. } | Observed::Others(claim) => {
                    return LookupOutcome::Beside(claim);
                }
                Observed::Stub(claim, stamp) => Right::Stub(claim, stamp),
                Observed::Moved => {
                    known = None;
                    rounds += 1;
                    continue;
                }
                Observed::Unknown => return self.without_tier(suspect.as_ref()),
            };
            match turn.come_now().await {
                Some(TurnResult::TooLate) => return LookupOutcome::Beside(self.silent_claim()),
                Some(TurnResult::InTime) => {}
                None => {
                    // Meanwhile another process may have loaded the value.
                    rounds += Box::pin(wait_for_turn(turn, listener)).await;
                    known = None;
                    continue;
                }
            }
            let (take, is_impatient) = match right {
                Right::Lease(take, is_impatient) => (take, is_impatient),
                Right::Stub(claim, stamp) => return Box::pin(self.beside_stub(claim, stamp)).await,
            };
            match Box::pin(self.lease(take)).await {
                Leasing::Held(lease) => return LookupOutcome::Lease(lease),
                Leasing::Busy(left, _) if self.coalesce && holder.is_lost(left, self.shared.clock.now()) => {
                    match Box::pin(self.lease(LeaseMode::Always)).await {
                        Leasing::Held(lease) => return LookupOutcome::Lease(lease),
                        _ => rounds += 1,
                    }
                }
                Leasing::Busy(left, claim)
                    if self.coalesce && !is_impatient && self.is_patient(&mut patience) =>
                {
                    turn.pass();
                    rounds += Box::pin(self.wait(listener, &claim.line, left, patience)).await;
                    has_waited = true;
                }
                Leasing::Busy(_, claim) => return LookupOutcome::Beside(claim),
                Leasing::Moved => rounds += 1,
                Leasing::Unknown => return self.without_tier(suspect.as_ref()),
            }
            known = None;
        }
        // The tier answers, but differently each time. The value loaded now is for the caller only.
        LookupOutcome::Beside(self.silent_claim())
    }

    /// Acquires the right to load, regardless of any value or lease in the tier.
    pub(crate) async fn force(&self, turn: &mut LoadTurn) -> LookupOutcome {
        if turn.come().await == TurnResult::TooLate {
            return LookupOutcome::Beside(self.silent_claim());
        }
        match self.lease(LeaseMode::Always).await {
            Leasing::Held(lease) => LookupOutcome::Lease(lease),
            Leasing::Busy(..) | Leasing::Moved | Leasing::Unknown => self.without_tier(None),
        }
    }

    fn without_tier(&self, suspect: Option<&Arc<Entry>>) -> LookupOutcome {
        match self.serve_alone(suspect) {
            Some(kept) => LookupOutcome::Entry(kept),
            None => LookupOutcome::Alone(self.lonely_claim()),
        }
    }

    /// Returns the validity of a load without a lease, after the tier did not answer or refused.
    ///
    /// Other processes cannot revoke such a load. It depends on the own epoch of the name: a lease may have
    /// been granted all the same and is then released, and that release must not invalidate the load.
    fn lonely_claim(&self) -> Validity {
        let mark = self.shared.own_mark(&self.entry.name.text);
        self.shared.silent_claim_on(mark, &self.entry.tags)
    }

    fn silent_claim(&self) -> Validity {
        self.shared.silent_claim(&self.entry.name.text, &self.entry.tags)
    }

    fn serve_alone(&self, suspect: Option<&Arc<Entry>>) -> Option<Arc<Entry>> {
        let now = self.shared.clock.now();
        let may_serve = |kept: &&Arc<Entry>| {
            let (bound, grace) = self.staleness.limits(self.site, &kept.claim);
            let is_known = matches!(self.wants, Acceptable::Another(_));
            !is_known && self.will_do(kept.slot.meta(), now) && kept.claim.stands_alone(now, bound, grace)
        };
        suspect.filter(may_serve).cloned()
    }

    /// Reads the key in one round trip. A second one follows if the value has tags that were not known
    /// before.
    async fn look(&self, mark: Arc<Epoch>, known: Option<&Arc<Entry>>) -> Observed {
        let (shared, name) = (self.shared, &self.entry.name.text);
        if !shared.tier.ready() {
            self.function.add(Count::SharedSkipped);
            return Observed::Unknown;
        }
        let known = known.filter(|kept| kept.stamp != 0);
        let tags: Vec<String> = match known {
            Some(kept) => kept.claim.tag_keys(),
            None => self.entry.tags.clone(),
        };
        // Epochs are taken first: any invalidation from here on ends them.
        let claim = shared.silent_claim_on(mark, &tags);
        if self.is_pending(&tags) {
            return Observed::Unknown;
        }
        let ask = Lookup { key: name, known: known.map(|kept| kept.stamp), size: self.function.size() };
        let asked = if known.is_none() && tags.is_empty() && !ask.is_large() {
            let (asked, now) = look_at(shared, self.function, name, self.budget, claim.checked).await;
            asked.map(|(record, line)| (Some(record), Vec::new(), line, now))
        } else {
            // Boxed, like everything that a plain hit does not need: the future of a hit should be small.
            let asked = Box::pin(look(shared, self.function, &[ask], &tags, self.budget)).await;
            asked.map(|Found { mut records, generations, line }| {
                (records.pop(), generations, line, shared.clock.now())
            })
        };
        let Ok((record, generations, line, now)) = asked else {
            self.function.add(Count::SharedReadError);
            return Observed::Unknown;
        };
        let claim = if planted!("register-after-read") { shared.silent_claim(name, &tags) } else { claim };
        // The tier does not report the removal of a tag that is not there.
        let line = if generations.contains(&None) { ChangeFeed::silent() } else { line };
        let claim = Validity { line, ..claim };
        match record {
            Some(Record::Absent) => Observed::Takeable(LeaseMode::IfAbsent),
            Some(Record::Failed) => Observed::Failed,
            Some(Record::Error(note)) => Observed::Error(self.read_note(&note)),
            Some(Record::Leased { left, is_retry }) => Observed::Busy { left, is_retry, claim },
            Some(Record::Unchanged) => match known {
                Some(kept) if kept.claim.generations().map(Some).eq(generations) => {
                    self.function.add(Count::Revalidate);
                    let claim = claim.with_generations(kept.claim.generations());
                    self.judge(kept.slot.clone(), claim, kept.stamp, now)
                }
                Some(kept) => Observed::Takeable(LeaseMode::IfRevision(kept.stamp)),
                None => Observed::Unknown,
            },
            Some(Record::Changed) => Observed::Moved,
            Some(Record::Value(stored)) => {
                let stamp = stored.stamp;
                self.function.measures(stored.bytes.len());
                let opened = match shared.open(&self.entry.name, &stored, self.shape, now) {
                    Ok(Some(OpenedRecord::Value(opened))) => opened,
                    Ok(Some(OpenedRecord::Stub(meta))) if self.is_good(&meta, stamp, now) => {
                        return Observed::Stub(claim, stamp);
                    }
                    Ok(Some(OpenedRecord::Stub(_)) | None) => {
                        return Observed::Takeable(LeaseMode::IfRevision(stamp));
                    }
                    Err(unreadable) => return self.unreadable(unreadable, &stored, claim),
                };
                drop(stored);
                if opened.tags.is_empty() && tags.is_empty() && !self.shape.has_value_tags() {
                    return self.judge(opened.slot, claim, stamp, now);
                }
                Box::pin(self.read(opened, stamp, claim, &generations)).await
            }
            None => Observed::Unknown,
        }
    }

    fn read_note(&self, note: &Note) -> Option<SharedLoadError> {
        note::open(&note.0, &self.entry.name).filter(|_| self.shape.can_revive())
    }

    fn is_pending(&self, tags: &[String]) -> bool {
        let names = std::iter::once(self.entry.name.text.as_str()).chain(tags.iter().map(String::as_str));
        self.shared.pending.is_about(names)
    }

    /// Classifies a value after a check of its tags.
    async fn read(
        &self,
        opened: OpenedValue,
        stamp: Revision,
        claim: Validity,
        generations: &[Option<u64>],
    ) -> Observed {
        let OpenedValue { slot, tags } = opened;
        match self.check_tags(&*slot, &tags, claim, generations).await {
            // The check may have taken another round trip, during which the value may have expired.
            Some(claim) => self.judge(slot, claim, stamp, self.shared.clock.now()),
            None => Observed::Takeable(LeaseMode::IfRevision(stamp)),
        }
    }

    fn judge(&self, slot: Arc<dyn ErasedValue>, claim: Validity, stamp: Revision, now: Nanos) -> Observed {
        if !self.is_good(slot.meta(), stamp, now) {
            return Observed::Takeable(LeaseMode::IfRevision(stamp));
        }
        Observed::FoundValue(FoundValue { slot, claim, stamp, at: now, was_awaited: false })
    }

    /// Returns whether a value with this revision and these dates is acceptable.
    fn is_good(&self, meta: &Freshness, stamp: Revision, now: Nanos) -> bool {
        let is_known = self.wants == Acceptable::Another(stamp);
        !is_known && self.will_do(meta, now) && self.max_age.is_none_or(|most| meta.age(now) <= most)
    }

    fn will_do(&self, meta: &Freshness, now: Nanos) -> bool {
        match self.wants {
            Acceptable::Fresh => meta.is_fresh(now),
            Acceptable::Usable => meta.is_usable(now),
            Acceptable::Newer | Acceptable::Another(_) => !meta.is_due(now),
        }
    }

    /// Returns `claim` with the current generations of all tags, if the value was stored under the same ones.
    async fn check_tags(
        &self,
        slot: &dyn ErasedValue,
        then: &[TagGeneration],
        claim: Validity,
        generations: &[Option<u64>],
    ) -> Option<Validity> {
        let told = self.shape.value_tags(slot, &*self.shared.hasher)?;
        if then.is_empty() && claim.tags.is_empty() && told.is_empty() {
            return Some(claim);
        }
        let known = claim.tags.iter().zip(generations);
        let mut now: Vec<_> =
            known.map(|((tag, _), now)| Some((tag.clone(), (*now)?))).collect::<Option<_>>()?;
        let mut line = claim.line.clone();
        let told: Vec<String> = {
            let known: HashSet<&str> = now.iter().map(|(tag, _)| &**tag.name()).collect();
            let told = told.iter().map(|tag| self.shared.tag_key(tag));
            told.filter(|tag| !known.contains(tag.as_str())).collect()
        };
        if !told.is_empty() {
            let marks: Vec<_> = told.iter().map(|tag| self.shared.mark(tag)).collect();
            if self.is_pending(&told) {
                return None;
            }
            let seen = look(self.shared, self.function, &[], &told, self.budget).await.ok()?;
            line = ChangeFeed::joined([line, seen.line]);
            for (tag, generation) in marks.into_iter().zip(seen.generations) {
                now.push((tag, generation?));
            }
        }
        // Each tag is hashed once, however many there are.
        let digest = |(tag, now): &(Arc<Epoch>, u64)| (self.shared.tag_digest(tag.name()), *now);
        let current: HashMap<u64, u64> = now.iter().map(digest).collect();
        let stood_on: HashSet<u64> = then.iter().map(|then| then.tag).collect();
        // This call cannot check a tag that it does not know, such as that of another function: the value is
        // rejected.
        let is_current = then.iter().all(|then| current.get(&then.tag) == Some(&then.generation));
        let is_tagged = current.keys().all(|tag| stood_on.contains(tag));
        (is_current && is_tagged).then(|| Validity { tags: now.into(), line, ..claim })
    }

    fn unreadable(&self, unreadable: Unreadable, stored: &Stored, claim: Validity) -> Observed {
        self.function.add(Count::Unreadable);
        if unreadable == Unreadable::Undecodable {
            // The next value of this process is read back before its fill, so that it is not unreadable as
            // well.
            self.function.distrust_codec();
        }
        let is_anothers =
            matches!(unreadable, Unreadable::OtherSchema | Unreadable::OtherKey | Unreadable::OtherCodec);
        let age =
            created_ms(&stored.bytes).map(|created| self.shared.clock.wall_ms().saturating_sub(created));
        let is_young = age.is_some_and(|age| Duration::from_millis(age) < OTHERS_TURN);
        if is_anothers && is_young {
            Observed::Others(claim)
        } else {
            Observed::Takeable(LeaseMode::IfRevision(stored.stamp))
        }
    }

    /// Prepares a load beside a stub. It needs no lease, as nothing is stored, but its tags must be known
    /// before it begins.
    async fn beside_stub(&self, claim: Validity, stamp: Revision) -> LookupOutcome {
        let (shared, keys) = (self.shared, &self.entry.tags);
        // This epoch, too, is taken before the tier is asked.
        let any_tag = self.shape.has_value_tags().then(|| shared.mark(&shared.journal()));
        if keys.is_empty() && any_tag.is_none() {
            return LookupOutcome::Stub(Stub { claim, stamp, since: None });
        }
        let ask = TagRequest { keys, keep: self.keep_tags(UNKNOWN), more: any_tag.is_some() };
        let Ok(leased) = shared.tier.lease_within(&[], ask, self.budget).await else {
            self.function.add(Count::SharedReadError);
            return self.without_tier(None);
        };
        let claim = claim.with_generations(leased.generations);
        LookupOutcome::Stub(Stub { claim, stamp, since: leased.moment.zip(any_tag) })
    }

    /// Returns how long the generations of a load's tags are kept.
    ///
    /// `unknown` stands for the ttl if only the value determines it.
    fn keep_tags(&self, unknown: Duration) -> Duration {
        if planted!("tag-kept-for-load") {
            return self.shared.lease;
        }
        // The lease of a load for one process is not renewed, and is longer for that reason.
        let load = self.shared.lease_length(!self.coalesce, self.function).max(LOADS);
        let ttl = self.ttl.or_else(|| self.shape.ttl_hint()).unwrap_or(unknown);
        ttl.saturating_add(self.shape.stale()).saturating_add(load)
    }

    async fn lease(&self, take: LeaseMode) -> Leasing {
        let (shared, name) = (self.shared, &self.entry.name);
        let claim = shared.silent_claim(&name.text, &self.entry.tags);
        let tags = &self.entry.tags;
        if !shared.tier.ready() || self.is_pending(tags) {
            return Leasing::Unknown;
        }
        // This epoch, too, is taken before the tier is asked.
        let any_tag = self.shape.has_value_tags().then(|| shared.mark(&shared.journal()));
        let pledge = LeaseAttempt::new(shared, &name.text);
        let token = pledge.token();
        let wanted = LeaseRequest {
            key: &name.text,
            token,
            lease: shared.lease_length(!self.coalesce, self.function),
            take,
        };
        // If only the value determines the ttl, the fill extends the generations.
        let keep = self.keep_tags(Duration::ZERO);
        let ask = TagRequest { keys: tags, keep, more: any_tag.is_some() };
        let leased = match shared.tier.lease_within(&[wanted], ask, self.budget).await {
            Ok(leased) => leased,
            Err(error) => {
                self.function.add(Count::SharedReadError);
                if matches!(error, TierError::Refused(_)) {
                    // A load without a lease follows, and a later release of this lease must not invalidate
                    // it. If only the lease was requested, the refusal means that it was not granted.
                    // Otherwise it is released now.
                    match ask {
                        TagRequest { keys: [], more: false, .. } => pledge.refused(),
                        _ => pledge.withdraw().await,
                    }
                }
                return Leasing::Unknown;
            }
        };
        let claim = Validity { line: leased.line, ..claim }.with_generations(leased.generations);
        match leased.grants.first() {
            Some(LeaseReply::Granted) => {
                Leasing::Held(pledge.granted(name.clone(), claim, keep, leased.moment.zip(any_tag)))
            }
            Some(LeaseReply::HeldElsewhere(left)) => {
                pledge.refused();
                Leasing::Busy(*left, claim)
            }
            Some(LeaseReply::ValueChanged) => {
                pledge.refused();
                Leasing::Moved
            }
            None => Leasing::Unknown,
        }
    }
}

impl<R> SharedLookup<'_, R> {
    /// Returns whether there is time left to wait for the load of another process.
    fn is_patient(&self, patience: &mut Option<Patience>) -> bool {
        let clock = &self.shared.clock;
        let limit = |limit| clock.now().saturating_add(nanos(limit));
        let begin = || Patience { began: Instant::now(), until: self.shape.load_timeout().map(limit) };
        let patience = patience.get_or_insert_with(begin);
        patience.began.elapsed() < PATIENCE && patience.until.is_none_or(|until| clock.now() < until)
    }

    /// Waits until the key changes, its lease ends, or the change feed ends.
    ///
    /// The wait is bounded by the length of a lease, by [`POLL`] if changes are not reported, and by the
    /// patience. Returns the number of rounds to count: 1 for a short wait, 0 for a longer one, since the
    /// patience bounds those.
    async fn wait(
        &self,
        listener: Listener<'_>,
        line: &ChangeFeed,
        left: Duration,
        patience: Option<Patience>,
    ) -> usize {
        let began = Instant::now();
        let longest =
            if line.watches() { left.min(self.shared.lease).saturating_add(MARGIN) } else { left.min(POLL) };
        let patience_left =
            patience.map_or(PATIENCE, |patience| PATIENCE.saturating_sub(patience.began.elapsed()));
        let changed = within(longest.min(patience_left), either(listener.moved(), line.ended()));
        match patience.and_then(|patience| patience.until) {
            Some(until) => _ = self.shared.clock.by(until, changed).await,
            None => _ = changed.await,
        }
        usize::from(began.elapsed() < 2 * MARGIN)
    }
}

/// Start of a call's wait for other processes, and its latest end by the clock of the cache.
#[derive(Clone, Copy)]
struct Patience {
    began: Instant,
    until: Option<Nanos>,
}

/// Liveness of the holder of a lease: while the holder is alive, the end of its lease moves on.
struct Holder {
    lease: Duration,
    /// Time of the last observation, and the remaining time of the lease then.
    last: Option<(Nanos, Duration)>,
    renewed: Nanos,
}

impl Holder {
    fn new(lease: Duration) -> Self {
        Self { lease, last: None, renewed: 0 }
    }

    /// Returns whether the end of the lease has not moved for too long. `left` is its remaining time.
    fn is_lost(&mut self, left: Duration, now: Nanos) -> bool {
        /// Divisor of a lease length. The end of a lease may seem to move by that part: the server's clock is
        /// known only up to a round trip.
        const UNCERTAIN: u32 = 10;

        let stood_still = self.last.is_some_and(|(then, before)| {
            let passed = Duration::from_nanos(now.saturating_sub(then));
            left.saturating_add(passed) <= before.saturating_add(self.lease / UNCERTAIN)
        });
        if !stood_still {
            self.renewed = now;
        }
        self.last = Some((now, left));
        Duration::from_nanos(now.saturating_sub(self.renewed)) >= SILENT_LEASES * self.lease
    }
}

/// Waits until the turn has come, or the key changes. Returns the rounds to count, as for a lease.
async fn wait_for_turn(turn: &mut LoadTurn, listener: Listener<'_>) -> usize {
    let began = Instant::now();
    either(turn.come(), listener.moved()).await;
    usize::from(began.elapsed() < 2 * MARGIN)
}

enum Leasing {
    Held(Lease),
    Busy(Duration, Validity),
    /// The tier has a value that this call has not read.
    Moved,
    Unknown,
}
