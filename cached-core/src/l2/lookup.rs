//! The dialog of a miss with the shared tier: a value, or the right to load it.

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
    flight::permits::{Came, LoadTurn},
    key::entry_key::EntryKey,
    l1::entry::Entry,
    l2::{
        ask::{look, look_at},
        lease::{Lease, Pledge},
        note,
        shared::{Opened, OpenedValue, Shared},
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

/// How long a call waits for the load of another process, however often that is renewed, if its function has no `load_timeout`.
const PATIENCE: Duration = Duration::from_secs(300);

/// A lease that was not renewed for so many times its length has lost its holder, however far ahead its end is: the server's
/// clock may have been set back since it was taken. Holders renew each third of it.
const SILENT_LEASES: u32 = 3;

/// How long after the end of a lease one looks again.
const MARGIN: Duration = Duration::from_millis(5);

/// How long a call waits for a lease that its own process gives back, where its loads cost little.
const RETURN: Duration = Duration::from_millis(50);

/// How often one looks where no word comes.
const POLL: Duration = Duration::from_millis(100);

/// A call that finds something else each time it looks gives up.
const ROUNDS: usize = 32;

/// A value of another version of the program is left to that one for so long, or two would load in turns for ever.
const OTHERS_TURN: Duration = Duration::from_secs(60);

/// The generations of tags are kept so much longer than a value is wanted, because the value is yet to be loaded. A load
/// that takes longer renews them.
const LOADS: Duration = Duration::from_secs(60);

/// How long they are kept for a value that only tells itself how long it is fresh, where no fill can prolong them.
const UNKNOWN: Duration = Duration::from_secs(24 * 60 * 60);

/// A miss.
pub(crate) struct SharedLookup<'a, R> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) entry: &'a EntryKey,
    pub(crate) shape: &'a dyn ValuePolicy<R>,
    pub(crate) function: &'a FunctionMetrics,
    pub(crate) budget: Budget,
    pub(crate) max_age: Option<Duration>,
    /// How long a value is to be fresh, instead of what the function says.
    pub(crate) ttl: Option<Duration>,
    /// Whether to wait for the loads of other processes.
    pub(crate) coalesce: bool,
    pub(crate) staleness: Staleness,
    pub(crate) site: &'a FunctionSpec,
    pub(crate) wants: Acceptable,
}

/// Which values will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptable {
    /// What is fresh.
    Fresh,
    /// What may be served, fresh or not.
    Usable,
    /// What is not to be loaded again yet: there is an older one to serve meanwhile.
    Newer,
    /// The same, and not the one with this stamp, although that is not to be loaded again yet either.
    Another(Revision),
}

impl<R> SharedLookup<'_, R> {
    /// The values that the tier has, in one round trip. Functions with tags are not asked for like this.
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
        // Asked before the tier is: an invalidation that it is told of meanwhile has not been heard of by what is read now.
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
            let Opened::Value(OpenedValue { slot, tags }) = opened.ok()?? else { return None };
            if !tags.is_empty() {
                // This call does not know them, and cannot tell whether they are current.
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

/// What came of it.
pub(crate) enum LookupOutcome {
    /// The shared tier has the value.
    Hit(FoundValue),
    /// It cannot be asked, and what this process has may be served.
    Entry(Arc<Entry>),
    /// Load, and store it.
    Lease(Lease),
    /// Load beside somebody who may store it; this is what the load stands on.
    Beside(Validity),
    /// Load, for this process: the tier cannot hold the value.
    Stub(Stub),
    /// Load, as the tier cannot be asked; this is what the load stands on.
    Alone(Validity),
    /// The load of another process, for which this call waited, has failed with this.
    Failed(SharedLoadError),
}

/// A value of the shared tier, and what an entry of it stands on.
pub(crate) struct FoundValue {
    pub(crate) slot: Arc<dyn ErasedValue>,
    pub(crate) claim: Validity,
    pub(crate) stamp: Revision,
    /// When it was answered.
    pub(crate) at: Nanos,
    /// It was being loaded when it was asked for.
    pub(crate) was_awaited: bool,
}

/// What a load stands on whose value the shared tier cannot hold: the stub that it has instead.
pub(crate) struct Stub {
    pub(crate) claim: Validity,
    /// Of the stub.
    pub(crate) stamp: Revision,
    /// When it was found, for tags that only the value tells; and whether this process has heard of any tag since.
    pub(crate) since: Option<(JournalPosition, Arc<Epoch>)>,
}

/// What the tier has, and who may replace it.
enum Observed {
    FoundValue(FoundValue),
    /// Nobody loads it, and there is no value, or not one that will do.
    Takeable(LeaseMode),
    /// The same, because a load came to nothing that could be shared.
    Failed,
    /// The same, because a load has failed; the text of its error, if this function can make one of it.
    Error(Option<SharedLoadError>),
    /// Somebody loads it.
    Busy {
        left: Duration,
        is_retry: bool,
        claim: Validity,
    },
    /// The value is another version's, or cannot be judged.
    Others(Validity),
    /// The tier cannot hold the value.
    Stub(Validity, Revision),
    /// The tier cannot be asked, or not about this.
    Unknown,
    /// There is another value than the one that was known.
    Moved,
}

/// What a load needs before it begins, and has its turn for.
enum Right {
    /// A lease, and whether not to wait for another one.
    Lease(LeaseMode, bool),
    /// None, as nothing is stored.
    Stub(Validity, Revision),
}

impl<R> SharedLookup<'_, R> {
    /// The value if the tier has it, without a word to anybody.
    pub(crate) async fn find(&self, mut suspect: Option<&Arc<Entry>>) -> Option<LookupOutcome> {
        let mut known = suspect;
        for _ in 0..2 {
            match self.look(self.shared.mark(&self.entry.name.text), known).await {
                Observed::FoundValue(found) => return Some(LookupOutcome::Hit(found)),
                // It was said that what this process has is outdated.
                Observed::Moved => (known, suspect) = (None, None),
                Observed::Unknown => return self.serve_alone(suspect).map(LookupOutcome::Entry),
                _ => return None,
            }
        }
        None
    }

    /// The value, or the right to load it; waits while another process does. The right is taken in its turn: a lease that
    /// waits in a queue of this process would keep all others from loading.
    pub(crate) async fn run(&self, mut suspect: Option<Arc<Entry>>, turn: &mut LoadTurn) -> LookupOutcome {
        // From when it first had to wait.
        let mut patience = None;
        let mut holder = Holder::new(self.shared.lease);
        let mut known = suspect.clone();
        let mut has_waited = false;
        let mut rounds = 0;
        let (returning, name) = (&self.shared.returning, &self.entry.name.text);
        // As a rule it is not, and then this is one load of an atomic: a hit in the tier comes by here.
        if returning.is_under_way(name) && self.shared.tier.ready() {
            let limit = self.budget.of_read(RETURN);
            Box::pin(returning.wait(name, &self.shared.marks, limit)).await;
        }
        while rounds < ROUNDS {
            let mark = self.shared.mark(&self.entry.name.text);
            let listener = mark.listen();
            let state = self.look(mark.clone(), known.as_ref()).await;
            if !matches!(state, Observed::Unknown) {
                // Whatever was said: the entry is confirmed by now, or it is outdated.
                suspect = None;
            }
            let right = match state {
                Observed::FoundValue(found) => {
                    return LookupOutcome::Hit(FoundValue { was_awaited: has_waited, ..found });
                }
                Observed::Takeable(take) => Right::Lease(take, false),
                Observed::Failed => Right::Lease(LeaseMode::IfAbsent, has_waited),
                Observed::Error(Some(error)) if has_waited => return LookupOutcome::Failed(error),
                // Processes whose callers need an error of their own load one after the other: the backend is failing.
                Observed::Error(_) => {
                    // Each of these is a load that has ended, and not the same thing again.
                    rounds = 0;
                    Right::Lease(LeaseMode::IfAbsent, false)
                }
                Observed::Busy { left, .. }
                    if self.coalesce && holder.is_lost(left, self.shared.clock.now()) =>
                {
                    Right::Lease(LeaseMode::Always, false)
                }
                // Processes that waited for a value that is not kept do not wait for each other as well.
                Observed::Busy { left, is_retry, claim }
                    if self.coalesce && !(is_retry && has_waited) && self.is_patient(&mut patience) =>
                {
                    turn.pass();
                    rounds += Box::pin(self.wait(listener, &claim.line, left, patience)).await;
                    has_waited = true;
                    known = None;
                    continue;
                }
                // A tag has no number, so nobody would tell of it: whoever asks for the lease gives it one.
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
                Some(Came::TooLate) => return LookupOutcome::Beside(self.silent_claim()),
                Some(Came::InTime) => {}
                None => {
                    // Another process may load it meanwhile.
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
        // The tier is there, and is never twice the same: what is loaded now is for the caller.
        LookupOutcome::Beside(self.silent_claim())
    }

    /// The right to load, whatever the tier has and whoever loads.
    pub(crate) async fn force(&self, turn: &mut LoadTurn) -> LookupOutcome {
        if turn.come().await == Came::TooLate {
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

    /// What a load stands on that has no lease, as the tier did not answer or refused. It cannot be recalled from elsewhere;
    /// and the word of a lease that may have been granted, and is given back, is not about it.
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

    /// One round trip, and another one if the value has tags that only it could tell.
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
        // The marks come first: whatever is said from now on counts.
        let claim = shared.silent_claim_on(mark, &tags);
        if self.is_pending(&tags) {
            return Observed::Unknown;
        }
        let ask = Lookup { key: name, known: known.map(|kept| kept.stamp), size: self.function.size() };
        let asked = if known.is_none() && tags.is_empty() && !ask.is_large() {
            let (asked, now) = look_at(shared, self.function, name, self.budget, claim.checked).await;
            asked.map(|(record, line)| (Some(record), Vec::new(), line, now))
        } else {
            // Boxed, as everything that a plain hit has no need of: its future is to be small.
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
        // Nobody tells of the removal of a tag that is not there.
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
                    Ok(Some(Opened::Value(opened))) => opened,
                    Ok(Some(Opened::Stub(meta))) if self.is_good(&meta, stamp, now) => {
                        return Observed::Stub(claim, stamp);
                    }
                    Ok(Some(Opened::Stub(_)) | None) => {
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

    /// What to make of a value.
    async fn read(
        &self,
        opened: OpenedValue,
        stamp: Revision,
        claim: Validity,
        generations: &[Option<u64>],
    ) -> Observed {
        let OpenedValue { slot, tags } = opened;
        match self.check_tags(&*slot, &tags, claim, generations).await {
            // The tags may have taken another round trip, in which the value has ended.
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

    /// Whether what was stored under this stamp, with these dates, is wanted.
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

    /// The claim with the generations of the value, if those are the current ones.
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
        // A tag is hashed once, however many there are.
        let digest = |(tag, now): &(Arc<Epoch>, u64)| (self.shared.tag_digest(tag.name()), *now);
        let current: HashMap<u64, u64> = now.iter().map(digest).collect();
        let stood_on: HashSet<u64> = then.iter().map(|then| then.tag).collect();
        // Of a tag that this call does not know, as it is another function's, it cannot be told whether it is current.
        let is_current = then.iter().all(|then| current.get(&then.tag) == Some(&then.generation));
        let is_tagged = current.keys().all(|tag| stood_on.contains(tag));
        (is_current && is_tagged).then(|| Validity { tags: now.into(), line, ..claim })
    }

    fn unreadable(&self, unreadable: Unreadable, stored: &Stored, claim: Validity) -> Observed {
        self.function.add(Count::Unreadable);
        if unreadable == Unreadable::Undecodable {
            // Its own fill is not to be the next one that cannot be read.
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

    /// The right to load is not needed where nothing is stored, but tags are to be known before the load.
    async fn beside_stub(&self, claim: Validity, stamp: Revision) -> LookupOutcome {
        let (shared, keys) = (self.shared, &self.entry.tags);
        // Also before the tier is asked.
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

    /// How long the generations of tags are to be kept that a load stands on; `unknown` where only the value tells how long it
    /// is fresh.
    fn keep_tags(&self, unknown: Duration) -> Duration {
        if planted!("tag-kept-for-load") {
            return self.shared.lease;
        }
        // That of a load which is for one process is not renewed.
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
        // Also before the tier is asked.
        let any_tag = self.shape.has_value_tags().then(|| shared.mark(&shared.journal()));
        let pledge = Pledge::new(shared, &name.text);
        let token = pledge.token();
        let wanted = LeaseRequest {
            key: &name.text,
            token,
            lease: shared.lease_length(!self.coalesce, self.function),
            take,
        };
        // The fill prolongs them.
        let keep = self.keep_tags(Duration::ZERO);
        let ask = TagRequest { keys: tags, keep, more: any_tag.is_some() };
        let leased = match shared.tier.lease_within(&[wanted], ask, self.budget).await {
            Ok(leased) => leased,
            Err(error) => {
                self.function.add(Count::SharedReadError);
                if matches!(error, TierError::Refused(_)) {
                    // The load that comes now is not to be overtaken by the word of a lease that is given back.
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
    /// Whether there is time left to wait for the load of another process.
    fn is_patient(&self, patience: &mut Option<Patience>) -> bool {
        let clock = &self.shared.clock;
        let limit = |limit| clock.now().saturating_add(nanos(limit));
        let begin = || Patience { began: Instant::now(), until: self.shape.load_timeout().map(limit) };
        let patience = patience.get_or_insert_with(begin);
        patience.began.elapsed() < PATIENCE && patience.until.is_none_or(|until| clock.now() < until)
    }

    /// Waits until something happens to the key, its lease ends, or the line is gone; no longer than for a lease, and not beyond the
    /// patience. Returns how many rounds that counts for: one that took its time counts for none, as it is the patience that bounds
    /// those.
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

/// Since when a call waits for other processes, and until when it does at most, by the clock of the cache.
#[derive(Clone, Copy)]
struct Patience {
    began: Instant,
    until: Option<Nanos>,
}

/// The holder of a lease that is waited for, as far as it shows that it lives: the end of its lease moves on.
struct Holder {
    lease: Duration,
    /// How much was left of the lease, and when.
    last: Option<(Nanos, Duration)>,
    renewed: Nanos,
}

impl Holder {
    fn new(lease: Duration) -> Self {
        Self { lease, last: None, renewed: 0 }
    }

    /// Whether the lease, of which so much is left, has stood still for too long.
    fn is_lost(&mut self, left: Duration, now: Nanos) -> bool {
        /// Of a lease: what the end seems to move by although it stands still, as the server's clock is known up to a round trip.
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

/// Waits until the turn has come, or something happens to the key. Returns how many rounds that counts for, as for a lease.
async fn wait_for_turn(turn: &mut LoadTurn, listener: Listener<'_>) -> usize {
    let began = Instant::now();
    either(turn.come(), listener.moved()).await;
    usize::from(began.elapsed() < 2 * MARGIN)
}

enum Leasing {
    Held(Lease),
    Busy(Duration, Validity),
    /// There is a value now.
    Moved,
    Unknown,
}
