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
//! finds something else, the call gives up after [`MAX_ROUNDS`] and loads for its caller only. If the tier
//! cannot be asked, an entry of this process is served within the grace, or the call loads alone.
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
        lease::{Lease, LeaseAttempt},
        note,
        read::{timed_get, timed_lookup},
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
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Number of lease lengths without a renewal after which the holder of a lease is presumed lost.
///
/// The end of the lease is not decisive: the server's clock may have been set back since it was taken.
/// Holders renew after each third of the length.
const LOST_AFTER_LEASES: u32 = 3;

/// Delay after the end of a lease before the next read.
const MARGIN: Duration = Duration::from_millis(5);

/// Longest wait of a call for a lease that its own process releases, if loads of its function cost little.
const MAX_RELEASE_WAIT: Duration = Duration::from_millis(50);

/// Interval between reads if changes of the key are not reported.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Number of short rounds after which a call gives up, because each read finds something else.
const MAX_ROUNDS: usize = 32;

/// Age below which a value of another program version is left alone.
///
/// Otherwise two versions would load and overwrite each other's values in turns for ever.
const FOREIGN_VALUE_PROTECTION: Duration = Duration::from_secs(60);

/// Additional time for which generations of tags are kept, because the value has yet to be loaded.
///
/// A load that takes longer renews them.
const LOAD_ALLOWANCE: Duration = Duration::from_secs(60);

/// Time for which generations are kept if only the value determines its ttl, and no fill can extend them.
const UNKNOWN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A lookup of one missed key in the shared tier.
pub(crate) struct SharedLookup<'a, R> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) entry_key: &'a EntryKey,
    pub(crate) policy: &'a dyn ValuePolicy<R>,
    pub(crate) function: &'a FunctionMetrics,
    pub(crate) budget: Budget,
    pub(crate) max_age: Option<Duration>,
    /// Ttl of the value as requested by the caller, instead of the function's own.
    pub(crate) ttl: Option<Duration>,
    /// Set if the call waits for loads of other processes.
    pub(crate) coalesce: bool,
    pub(crate) staleness: Staleness,
    pub(crate) spec: &'a FunctionSpec,
    pub(crate) acceptable: Acceptable,
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
        entry_keys: &[&EntryKey],
        policy: &dyn ValuePolicy<R>,
        function: &FunctionMetrics,
        budget: Budget,
    ) -> Vec<Option<FoundValue>> {
        let nothing = || entry_keys.iter().map(|_| None).collect();
        if !shared.tier.ready() {
            function.add(Count::SharedSkipped);
            return nothing();
        }
        let validity_of = |entry_key: &EntryKey| shared.detached_validity(&entry_key.shared_key.text, &[]);
        let validities: Vec<_> = entry_keys.iter().map(|entry_key| validity_of(entry_key)).collect();
        // The outbox is checked before the read. An item that is delivered during the read leaves the outbox,
        // but the value read may be from before it.
        let is_pending =
            |entry_key: &&EntryKey| shared.outbox.may_match([entry_key.shared_key.text.as_str()].into_iter());
        let pending: Vec<_> = entry_keys.iter().map(is_pending).collect();
        let lookups: Vec<_> = entry_keys
            .iter()
            .map(|entry_key| Lookup {
                size: function.expected_value_size(),
                ..Lookup::new(&entry_key.shared_key.text)
            })
            .collect();
        let reply: Result<Found, _> = timed_lookup(shared, function, &lookups, &[], budget).await;
        let Ok(Found { records, feed, .. }) = reply else {
            function.add(Count::SharedReadError);
            return nothing();
        };
        let found =
            |(((entry_key, validity), is_pending), record): (((&&EntryKey, Validity), bool), Record)| {
                let Record::Value(stored) = record else { return None };
                function.record_value_size(stored.bytes.len());
                if is_pending {
                    return None;
                }
                let opened = shared
                    .open(&entry_key.shared_key, &stored, policy, shared.clock.now())
                    .inspect_err(|_| function.add(Count::Unreadable));
                let OpenedRecord::Value(OpenedValue { slot, tags }) = opened.ok()?? else { return None };
                if !tags.is_empty() {
                    // This call does not know the tags, and cannot check whether they are current.
                    return None;
                }
                let now = shared.clock.now();
                if !slot.freshness().is_fresh(now) {
                    return None;
                }
                let validity = Validity { feed: feed.clone(), ..validity };
                Some(FoundValue {
                    slot,
                    validity,
                    revision: stored.revision,
                    read_at: now,
                    was_awaited: false,
                })
            };
        entry_keys.iter().zip(validities).zip(pending).zip(records).map(found).collect()
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
    pub(crate) validity: Validity,
    pub(crate) revision: Revision,
    /// Time of the tier's reply.
    pub(crate) read_at: Nanos,
    /// The value was still being loaded when the call began, and the call waited for it.
    pub(crate) was_awaited: bool,
}

/// Right to keep a loaded value in this process, because the shared tier has a stub instead.
pub(crate) struct Stub {
    pub(crate) validity: Validity,
    /// Revision of the stub.
    pub(crate) revision: Revision,
    /// Position of the journal before the load, and the journal's epoch, which any invalidation of a tag
    /// ends.
    ///
    /// Present if the value may add tags and the tier has a journal.
    pub(crate) journal: Option<(JournalPosition, Arc<Epoch>)>,
}

/// Reply of the tier to a read, classified by the next step.
enum Observed {
    FoundValue(FoundValue),
    /// No acceptable value, and no known load. A lease may be requested in this mode.
    Leasable(LeaseMode),
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
        validity: Validity,
    },
    /// A young value of another function, version, key or codec, which is left alone.
    Foreign(Validity),
    /// The tier cannot hold the value, and has a stub.
    Stub(Validity, Revision),
    /// The tier cannot be asked, or not about this name.
    Unknown,
    /// The tier has another value than the known one, or none.
    Changed,
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
    pub(crate) async fn find(&self, mut fallback: Option<&Arc<Entry>>) -> Option<LookupOutcome> {
        let mut known = fallback;
        for _ in 0..2 {
            match self.observe(self.shared.epoch(&self.entry_key.shared_key.text), known).await {
                Observed::FoundValue(found) => return Some(LookupOutcome::Hit(found)),
                // The tier reports that the entry of this process is outdated.
                Observed::Changed => (known, fallback) = (None, None),
                Observed::Unknown => return self.serve_in_outage(fallback).map(LookupOutcome::Entry),
                _ => return None,
            }
        }
        None
    }

    /// Returns the value, or the right to load it. Waits while another process loads.
    ///
    /// The right is acquired in the load's turn: a lease that waits in a queue of this process would keep all
    /// other processes from loading.
    pub(crate) async fn run(&self, mut fallback: Option<Arc<Entry>>, turn: &mut LoadTurn) -> LookupOutcome {
        // Set when the call first has to wait.
        let mut patience = None;
        let mut holder = Holder::new(self.shared.lease);
        let mut known = fallback.clone();
        let mut has_waited = false;
        let mut rounds = 0;
        let (pending_releases, name) = (&self.shared.pending_releases, &self.entry_key.shared_key.text);
        // Usually no lease is being released, and this is one atomic load: every hit of the tier passes here.
        if pending_releases.is_pending(name) && self.shared.tier.ready() {
            let limit = self.budget.read_limit(MAX_RELEASE_WAIT);
            Box::pin(pending_releases.wait(name, &self.shared.epochs, limit)).await;
        }
        while rounds < MAX_ROUNDS {
            let epoch = self.shared.epoch(&self.entry_key.shared_key.text);
            let listener = epoch.listen();
            let observed = self.observe(epoch.clone(), known.as_ref()).await;
            if !matches!(observed, Observed::Unknown) {
                // The tier has answered. The entry is either confirmed or outdated by now, and no fallback
                // any more.
                fallback = None;
            }
            let right = match observed {
                Observed::FoundValue(found) => {
                    return LookupOutcome::Hit(FoundValue { was_awaited: has_waited, ..found });
                }
                Observed::Leasable(mode) => Right::Lease(mode, false),
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
                Observed::Busy { left, is_retry, validity }
                    if self.coalesce && !(is_retry && has_waited) && self.may_wait(&mut patience) =>
                {
                    turn.release();
                    rounds += Box::pin(self.wait(listener, &validity.feed, left, patience)).await;
                    has_waited = true;
                    known = None;
                    continue;
                }
                // A tag has no generation, so its invalidation would not be reported. The lease request
                // creates it.
                Observed::Busy { validity, .. }
                    if !validity.feed.is_tracked() && !self.entry_key.tags.is_empty() =>
                {
                    Right::Lease(LeaseMode::IfAbsent, true)
                }
                Observed::Busy { validity, .. } | Observed::Foreign(validity) => {
                    return LookupOutcome::Beside(validity);
                }
                Observed::Stub(validity, revision) => Right::Stub(validity, revision),
                Observed::Changed => {
                    known = None;
                    rounds += 1;
                    continue;
                }
                Observed::Unknown => return self.without_tier(fallback.as_ref()),
            };
            match turn.try_acquire().await {
                Some(TurnResult::TooLate) => return LookupOutcome::Beside(self.detached_validity()),
                Some(TurnResult::InTime) => {}
                None => {
                    // Meanwhile another process may have loaded the value.
                    rounds += Box::pin(wait_for_turn(turn, listener)).await;
                    known = None;
                    continue;
                }
            }
            let (mode, skips_wait) = match right {
                Right::Lease(mode, skips_wait) => (mode, skips_wait),
                Right::Stub(validity, revision) => {
                    return Box::pin(self.beside_stub(validity, revision)).await;
                }
            };
            match Box::pin(self.request_lease(mode)).await {
                Leasing::Held(lease) => return LookupOutcome::Lease(lease),
                Leasing::Busy(left, _) if self.coalesce && holder.is_lost(left, self.shared.clock.now()) => {
                    match Box::pin(self.request_lease(LeaseMode::Always)).await {
                        Leasing::Held(lease) => return LookupOutcome::Lease(lease),
                        _ => rounds += 1,
                    }
                }
                Leasing::Busy(left, validity)
                    if self.coalesce && !skips_wait && self.may_wait(&mut patience) =>
                {
                    turn.release();
                    rounds += Box::pin(self.wait(listener, &validity.feed, left, patience)).await;
                    has_waited = true;
                }
                Leasing::Busy(_, validity) => return LookupOutcome::Beside(validity),
                Leasing::ValueChanged => rounds += 1,
                Leasing::Unknown => return self.without_tier(fallback.as_ref()),
            }
            known = None;
        }
        // The tier answers, but differently each time. The value loaded now is for the caller only.
        LookupOutcome::Beside(self.detached_validity())
    }

    /// Acquires the right to load, regardless of any value or lease in the tier.
    pub(crate) async fn force(&self, turn: &mut LoadTurn) -> LookupOutcome {
        if turn.acquire().await == TurnResult::TooLate {
            return LookupOutcome::Beside(self.detached_validity());
        }
        match self.request_lease(LeaseMode::Always).await {
            Leasing::Held(lease) => LookupOutcome::Lease(lease),
            Leasing::Busy(..) | Leasing::ValueChanged | Leasing::Unknown => self.without_tier(None),
        }
    }

    fn without_tier(&self, fallback: Option<&Arc<Entry>>) -> LookupOutcome {
        match self.serve_in_outage(fallback) {
            Some(entry) => LookupOutcome::Entry(entry),
            None => LookupOutcome::Alone(self.unleased_validity()),
        }
    }

    /// Returns the validity of a load without a lease, after the tier did not answer or refused.
    ///
    /// Other processes cannot revoke such a load. It depends on the own epoch of the name: a lease may have
    /// been granted all the same and is then released, and that release must not invalidate the load.
    fn unleased_validity(&self) -> Validity {
        let epoch = self.shared.own_epoch(&self.entry_key.shared_key.text);
        self.shared.detached_validity_on(epoch, &self.entry_key.tags)
    }

    fn detached_validity(&self) -> Validity {
        self.shared.detached_validity(&self.entry_key.shared_key.text, &self.entry_key.tags)
    }

    fn serve_in_outage(&self, fallback: Option<&Arc<Entry>>) -> Option<Arc<Entry>> {
        let now = self.shared.clock.now();
        let may_serve = |entry: &&Arc<Entry>| {
            let (bound, grace) = self.staleness.limits(self.spec, &entry.validity);
            let wants_other = matches!(self.acceptable, Acceptable::Another(_));
            !wants_other
                && self.is_fresh_enough(entry.slot.freshness(), now)
                && entry.validity.is_valid_in_outage(now, bound, grace)
        };
        fallback.filter(may_serve).cloned()
    }

    /// Reads the key in one round trip. A second one follows if the value has tags that were not known
    /// before.
    async fn observe(&self, epoch: Arc<Epoch>, known: Option<&Arc<Entry>>) -> Observed {
        let (shared, name) = (self.shared, &self.entry_key.shared_key.text);
        if !shared.tier.ready() {
            self.function.add(Count::SharedSkipped);
            return Observed::Unknown;
        }
        let known = known.filter(|entry| entry.revision != 0);
        let tags: Vec<String> = match known {
            Some(entry) => entry.validity.tag_keys(),
            None => self.entry_key.tags.clone(),
        };
        // Epochs are taken first: any invalidation from here on ends them.
        let validity = shared.detached_validity_on(epoch, &tags);
        if self.is_pending(&tags) {
            return Observed::Unknown;
        }
        let lookup = Lookup {
            key: name,
            known_revision: known.map(|entry| entry.revision),
            size: self.function.expected_value_size(),
        };
        let reply = if known.is_none() && tags.is_empty() && !lookup.is_large() {
            let (reply, now) = timed_get(shared, self.function, name, self.budget, validity.checked_at).await;
            reply.map(|(record, feed)| (Some(record), Vec::new(), feed, now))
        } else {
            // Boxed, like everything that a plain hit does not need: the future of a hit should be small.
            let reply = Box::pin(timed_lookup(shared, self.function, &[lookup], &tags, self.budget)).await;
            reply.map(|Found { mut records, generations, feed }| {
                (records.pop(), generations, feed, shared.clock.now())
            })
        };
        let Ok((record, generations, feed, now)) = reply else {
            self.function.add(Count::SharedReadError);
            return Observed::Unknown;
        };
        let validity =
            if planted!("register-after-read") { shared.detached_validity(name, &tags) } else { validity };
        // The tier does not report the removal of a tag that is not there.
        let feed = if generations.contains(&None) { ChangeFeed::none() } else { feed };
        let validity = Validity { feed, ..validity };
        match record {
            Some(Record::Absent) => Observed::Leasable(LeaseMode::IfAbsent),
            Some(Record::Failed) => Observed::Failed,
            Some(Record::Error(note)) => Observed::Error(self.read_note(&note)),
            Some(Record::Leased { left, is_retry }) => Observed::Busy { left, is_retry, validity },
            Some(Record::Unchanged) => match known {
                Some(entry) if entry.validity.generations().map(Some).eq(generations) => {
                    self.function.add(Count::Revalidate);
                    let validity = validity.with_generations(entry.validity.generations());
                    self.classify(entry.slot.clone(), validity, entry.revision, now)
                }
                Some(entry) => Observed::Leasable(LeaseMode::IfRevision(entry.revision)),
                None => Observed::Unknown,
            },
            Some(Record::Changed) => Observed::Changed,
            Some(Record::Value(stored)) => {
                let revision = stored.revision;
                self.function.record_value_size(stored.bytes.len());
                let opened = match shared.open(&self.entry_key.shared_key, &stored, self.policy, now) {
                    Ok(Some(OpenedRecord::Value(opened))) => opened,
                    Ok(Some(OpenedRecord::Stub(freshness)))
                        if self.is_acceptable(&freshness, revision, now) =>
                    {
                        return Observed::Stub(validity, revision);
                    }
                    Ok(Some(OpenedRecord::Stub(_)) | None) => {
                        return Observed::Leasable(LeaseMode::IfRevision(revision));
                    }
                    Err(unreadable) => return self.classify_unreadable(unreadable, &stored, validity),
                };
                drop(stored);
                if opened.tags.is_empty() && tags.is_empty() && !self.policy.has_value_tags() {
                    return self.classify(opened.slot, validity, revision, now);
                }
                Box::pin(self.classify_tagged(opened, revision, validity, &generations)).await
            }
            None => Observed::Unknown,
        }
    }

    fn read_note(&self, note: &Note) -> Option<SharedLoadError> {
        note::open(&note.0, &self.entry_key.shared_key).filter(|_| self.policy.can_rebuild_errors())
    }

    fn is_pending(&self, tags: &[String]) -> bool {
        let names =
            std::iter::once(self.entry_key.shared_key.text.as_str()).chain(tags.iter().map(String::as_str));
        self.shared.outbox.may_match(names)
    }

    /// Classifies a value after a check of its tags.
    async fn classify_tagged(
        &self,
        opened: OpenedValue,
        revision: Revision,
        validity: Validity,
        generations: &[Option<u64>],
    ) -> Observed {
        let OpenedValue { slot, tags } = opened;
        match self.check_tags(&*slot, &tags, validity, generations).await {
            // The check may have taken another round trip, during which the value may have expired.
            Some(validity) => self.classify(slot, validity, revision, self.shared.clock.now()),
            None => Observed::Leasable(LeaseMode::IfRevision(revision)),
        }
    }

    fn classify(
        &self,
        slot: Arc<dyn ErasedValue>,
        validity: Validity,
        revision: Revision,
        now: Nanos,
    ) -> Observed {
        if !self.is_acceptable(slot.freshness(), revision, now) {
            return Observed::Leasable(LeaseMode::IfRevision(revision));
        }
        Observed::FoundValue(FoundValue { slot, validity, revision, read_at: now, was_awaited: false })
    }

    /// Returns whether a value with this revision and these dates is acceptable.
    fn is_acceptable(&self, freshness: &Freshness, revision: Revision, now: Nanos) -> bool {
        let is_known_revision = self.acceptable == Acceptable::Another(revision);
        !is_known_revision
            && self.is_fresh_enough(freshness, now)
            && self.max_age.is_none_or(|max| freshness.age(now) <= max)
    }

    fn is_fresh_enough(&self, freshness: &Freshness, now: Nanos) -> bool {
        match self.acceptable {
            Acceptable::Fresh => freshness.is_fresh(now),
            Acceptable::Usable => freshness.is_usable(now),
            Acceptable::Newer | Acceptable::Another(_) => !freshness.is_due(now),
        }
    }

    /// Returns `validity` with the current generations of all tags, if the value was stored under the same ones.
    async fn check_tags(
        &self,
        slot: &dyn ErasedValue,
        stored_tags: &[TagGeneration],
        validity: Validity,
        generations: &[Option<u64>],
    ) -> Option<Validity> {
        let value_tags = self.policy.value_tags(slot, &*self.shared.hasher)?;
        if stored_tags.is_empty() && validity.tags.is_empty() && value_tags.is_empty() {
            return Some(validity);
        }
        let known = validity.tags.iter().zip(generations);
        let mut current_tags: Vec<_> =
            known.map(|((tag, _), generation)| Some((tag.clone(), (*generation)?))).collect::<Option<_>>()?;
        let mut feed = validity.feed.clone();
        let unknown_tags: Vec<String> = {
            let known: HashSet<&str> = current_tags.iter().map(|(tag, _)| &**tag.name()).collect();
            let keys = value_tags.iter().map(|tag| self.shared.tag_key(tag));
            keys.filter(|tag| !known.contains(tag.as_str())).collect()
        };
        if !unknown_tags.is_empty() {
            let epochs: Vec<_> = unknown_tags.iter().map(|tag| self.shared.epoch(tag)).collect();
            if self.is_pending(&unknown_tags) {
                return None;
            }
            let found =
                timed_lookup(self.shared, self.function, &[], &unknown_tags, self.budget).await.ok()?;
            feed = ChangeFeed::merge([feed, found.feed]);
            for (tag, generation) in epochs.into_iter().zip(found.generations) {
                current_tags.push((tag, generation?));
            }
        }
        // Each tag is hashed once, however many there are.
        let digest =
            |(tag, generation): &(Arc<Epoch>, u64)| (self.shared.tag_digest(tag.name()), *generation);
        let current_generations: HashMap<u64, u64> = current_tags.iter().map(digest).collect();
        let stored_digests: HashSet<u64> = stored_tags.iter().map(|stored| stored.tag).collect();
        // This call cannot check a tag that it does not know, such as that of another function: the value is
        // rejected.
        let is_current =
            stored_tags.iter().all(|stored| current_generations.get(&stored.tag) == Some(&stored.generation));
        let is_tagged = current_generations.keys().all(|tag| stored_digests.contains(tag));
        (is_current && is_tagged).then(|| Validity { tags: current_tags.into(), feed, ..validity })
    }

    fn classify_unreadable(&self, unreadable: Unreadable, stored: &Stored, validity: Validity) -> Observed {
        self.function.add(Count::Unreadable);
        if unreadable == Unreadable::Undecodable {
            // The next value of this process is read back before its fill, so that it is not unreadable as
            // well.
            self.function.require_codec_check();
        }
        let is_foreign =
            matches!(unreadable, Unreadable::OtherSchema | Unreadable::OtherKey | Unreadable::OtherCodec);
        let age =
            created_ms(&stored.bytes).map(|created| self.shared.clock.wall_ms().saturating_sub(created));
        let is_young = age.is_some_and(|age| Duration::from_millis(age) < FOREIGN_VALUE_PROTECTION);
        if is_foreign && is_young {
            Observed::Foreign(validity)
        } else {
            Observed::Leasable(LeaseMode::IfRevision(stored.revision))
        }
    }

    /// Prepares a load beside a stub. It needs no lease, as nothing is stored, but its tags must be known
    /// before it begins.
    async fn beside_stub(&self, validity: Validity, revision: Revision) -> LookupOutcome {
        let (shared, keys) = (self.shared, &self.entry_key.tags);
        // This epoch, too, is taken before the tier is asked.
        let journal_epoch = self.policy.has_value_tags().then(|| shared.epoch(&shared.journal_key()));
        if keys.is_empty() && journal_epoch.is_none() {
            return LookupOutcome::Stub(Stub { validity, revision, journal: None });
        }
        let request = TagRequest {
            keys,
            keep: self.tag_retention(UNKNOWN_TTL),
            needs_position: journal_epoch.is_some(),
        };
        let Ok(leased) = shared.tier.lease_within(&[], request, self.budget).await else {
            self.function.add(Count::SharedReadError);
            return self.without_tier(None);
        };
        let validity = validity.with_generations(leased.generations);
        LookupOutcome::Stub(Stub { validity, revision, journal: leased.position.zip(journal_epoch) })
    }

    /// Returns how long the generations of a load's tags are kept.
    ///
    /// `unknown_ttl` stands for the ttl if only the value determines it.
    fn tag_retention(&self, unknown_ttl: Duration) -> Duration {
        if planted!("tag-kept-for-load") {
            return self.shared.lease;
        }
        // The lease of a load for one process is not renewed, and is longer for that reason.
        let load_time = self.shared.lease_length(!self.coalesce, self.function).max(LOAD_ALLOWANCE);
        let ttl = self.ttl.or_else(|| self.policy.ttl_hint()).unwrap_or(unknown_ttl);
        ttl.saturating_add(self.policy.stale()).saturating_add(load_time)
    }

    async fn request_lease(&self, mode: LeaseMode) -> Leasing {
        let (shared, name) = (self.shared, &self.entry_key.shared_key);
        let validity = shared.detached_validity(&name.text, &self.entry_key.tags);
        let tags = &self.entry_key.tags;
        if !shared.tier.ready() || self.is_pending(tags) {
            return Leasing::Unknown;
        }
        // This epoch, too, is taken before the tier is asked.
        let journal_epoch = self.policy.has_value_tags().then(|| shared.epoch(&shared.journal_key()));
        let attempt = LeaseAttempt::new(shared, &name.text);
        let token = attempt.token();
        let request = LeaseRequest {
            key: &name.text,
            token,
            lease: shared.lease_length(!self.coalesce, self.function),
            mode,
        };
        // If only the value determines the ttl, the fill extends the generations.
        let keep = self.tag_retention(Duration::ZERO);
        let tag_request = TagRequest { keys: tags, keep, needs_position: journal_epoch.is_some() };
        let leased = match shared.tier.lease_within(&[request], tag_request, self.budget).await {
            Ok(leased) => leased,
            Err(error) => {
                self.function.add(Count::SharedReadError);
                if matches!(error, TierError::Refused(_)) {
                    // A load without a lease follows, and a later release of this lease must not invalidate
                    // it. If only the lease was requested, the refusal means that it was not granted.
                    // Otherwise it is released now.
                    match tag_request {
                        TagRequest { keys: [], needs_position: false, .. } => attempt.set_refused(),
                        _ => attempt.withdraw().await,
                    }
                }
                return Leasing::Unknown;
            }
        };
        let validity = Validity { feed: leased.feed, ..validity }.with_generations(leased.generations);
        match leased.replies.first() {
            Some(LeaseReply::Granted) => Leasing::Held(attempt.into_lease(
                name.clone(),
                validity,
                keep,
                leased.position.zip(journal_epoch),
            )),
            Some(LeaseReply::HeldElsewhere(left)) => {
                attempt.set_refused();
                Leasing::Busy(*left, validity)
            }
            Some(LeaseReply::ValueChanged) => {
                attempt.set_refused();
                Leasing::ValueChanged
            }
            None => Leasing::Unknown,
        }
    }
}

impl<R> SharedLookup<'_, R> {
    /// Returns whether there is time left to wait for the load of another process.
    fn may_wait(&self, patience: &mut Option<Patience>) -> bool {
        let clock = &self.shared.clock;
        let limit = |limit| clock.now().saturating_add(nanos(limit));
        let start = || Patience { started: Instant::now(), until: self.policy.load_timeout().map(limit) };
        let patience = patience.get_or_insert_with(start);
        patience.started.elapsed() < MAX_WAIT && patience.until.is_none_or(|until| clock.now() < until)
    }

    /// Waits until the key changes, its lease ends, or the change feed ends.
    ///
    /// The wait is bounded by the length of a lease, by [`POLL_INTERVAL`] if changes are not reported, and by the
    /// patience. Returns the number of rounds to count: 1 for a short wait, 0 for a longer one, since the
    /// patience bounds those.
    async fn wait(
        &self,
        listener: Listener<'_>,
        feed: &ChangeFeed,
        left: Duration,
        patience: Option<Patience>,
    ) -> usize {
        let started = Instant::now();
        let max_wait = if feed.is_tracked() {
            left.min(self.shared.lease).saturating_add(MARGIN)
        } else {
            left.min(POLL_INTERVAL)
        };
        let patience_left =
            patience.map_or(MAX_WAIT, |patience| MAX_WAIT.saturating_sub(patience.started.elapsed()));
        let changed = within(max_wait.min(patience_left), either(listener.changed(), feed.ended()));
        match patience.and_then(|patience| patience.until) {
            Some(until) => _ = self.shared.clock.timeout_at(until, changed).await,
            None => _ = changed.await,
        }
        usize::from(started.elapsed() < 2 * MARGIN)
    }
}

/// Start of a call's wait for other processes, and its latest end by the clock of the cache.
#[derive(Clone, Copy)]
struct Patience {
    started: Instant,
    until: Option<Nanos>,
}

/// Liveness of the holder of a lease: while the holder is alive, the end of its lease moves on.
struct Holder {
    lease: Duration,
    /// Time of the last observation, and the remaining time of the lease then.
    last: Option<(Nanos, Duration)>,
    renewed_at: Nanos,
}

impl Holder {
    fn new(lease: Duration) -> Self {
        Self { lease, last: None, renewed_at: 0 }
    }

    /// Returns whether the end of the lease has not moved for too long. `left` is its remaining time.
    fn is_lost(&mut self, left: Duration, now: Nanos) -> bool {
        /// Divisor of a lease length. The end of a lease may seem to move by that part: the server's clock is
        /// known only up to a round trip.
        const TOLERANCE_DIVISOR: u32 = 10;

        let has_not_moved = self.last.is_some_and(|(then, before)| {
            let passed = Duration::from_nanos(now.saturating_sub(then));
            left.saturating_add(passed) <= before.saturating_add(self.lease / TOLERANCE_DIVISOR)
        });
        if !has_not_moved {
            self.renewed_at = now;
        }
        self.last = Some((now, left));
        Duration::from_nanos(now.saturating_sub(self.renewed_at)) >= LOST_AFTER_LEASES * self.lease
    }
}

/// Waits until the turn has come, or the key changes. Returns the rounds to count, as for a lease.
async fn wait_for_turn(turn: &mut LoadTurn, listener: Listener<'_>) -> usize {
    let started = Instant::now();
    either(turn.acquire(), listener.changed()).await;
    usize::from(started.elapsed() < 2 * MARGIN)
}

enum Leasing {
    Held(Lease),
    Busy(Duration, Validity),
    /// The tier has a value that this call has not read.
    ValueChanged,
    Unknown,
}
