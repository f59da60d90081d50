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
        lease::{Lease, Verdict, claim_tags, revalidate},
        lookup::Stub,
        shared::{Fill, Life, Shared, own_epoch_name},
    },
    spec::FunctionSpec,
    telemetry::stats::Count,
    tier::{Lookup, Tier, feed::ChangeFeed},
    value::erased::ErasedValue,
};

use futures_timer::Delay;

/// Longest wait of followers for the verdict of L2, or longer if loads of the function cost more.
const VERDICT_TIMEOUT: Duration = Duration::from_millis(50);

/// Largest number of jobs in the background. Beyond it, values are neither stored in L2 nor checked there,
/// because L2 cannot keep up.
const MAX_BACKGROUND_JOBS: usize = 4096;

/// A loaded value, with its flight and all that is needed to store it.
pub(crate) struct Publication {
    pub(crate) cache: Cache,
    pub(crate) spec: FunctionSpec,
    pub(crate) entry_key: EntryKey,
    pub(crate) leader: Leader,
    pub(crate) slot: Arc<dyn ErasedValue>,
    pub(crate) value_tags: ValueTags,
    /// The value is newer than the one in L2, which must be removed if this one is not stored there.
    pub(crate) is_newer: bool,
}

/// Tags that were derived from the value, and so are known only after the load.
pub(crate) struct ValueTags {
    tags: Vec<String>,
    /// Position in the log of invalidated tags, at the start of the load.
    log_position: LogPosition,
    /// Time at which the validity of the load was taken, before the load began.
    checked_at: Nanos,
    /// Epoch that ends when this process is notified of the invalidation of any tag.
    ///
    /// Taken before the load; `None` if the load has no use for it.
    journal_epoch: Option<Arc<Epoch>>,
}

impl ValueTags {
    pub(crate) fn new(
        shared: &Shared,
        tags: &[String],
        log_position: LogPosition,
        fill_right: &FillRight,
    ) -> Self {
        let tags = tags.iter().map(|tag| shared.tag_key(tag)).collect();
        let journal_epoch = match fill_right {
            FillRight::Everywhere(lease) => lease.journal_epoch(),
            FillRight::Stub(stub) => stub.journal.as_ref().map(|(_, journal_epoch)| journal_epoch.clone()),
            FillRight::IfUnchanged(_) | FillRight::LocalOnly(_) => None,
        };
        Self { tags, log_position, checked_at: fill_right.validity().checked_at, journal_epoch }
    }

    /// Returns whether one of these tags may have been invalidated during the load.
    fn may_be_outdated(&self) -> bool {
        !self.tags.is_empty() && self.journal_epoch.as_ref().is_some_and(|any| !any.is_alive())
    }

    /// Adds these tags to a validity for this process only.
    ///
    /// Returns `None` if this process has invalidated one of them during the load.
    fn added_to(&self, validity: Validity, shared: &Arc<Shared>, is_shared: bool) -> Option<Validity> {
        if self.tags.is_empty() {
            return Some(validity);
        }
        let epochs: Vec<_> = self.tags.iter().map(|tag| (shared.epoch(tag), 0)).collect();
        // The log is read after the epochs are taken: a later invalidation ends the epochs.
        if shared.tag_log.has_any_since(&self.tags, self.log_position) {
            return None;
        }
        let tags = validity.tags.into_vec().into_iter().chain(epochs).collect();
        if !is_shared {
            return Some(Validity { tags, ..validity });
        }
        // L2 reports no invalidation of tags that it was not asked for, and has not done so since the load
        // began. So the value counts as checked at that time, without a change feed.
        Some(Validity { tags, feed: ChangeFeed::none(), checked_at: self.checked_at, ..validity })
    }
}

/// Reply of L2 to the question whether anything changed during the load.
enum ChangeCheck {
    /// Nothing was invalidated until the reply.
    Unchanged,
    /// Something was invalidated.
    Changed,
    /// The tier does not report changes over the feed of the load, or took too long.
    Unknown,
    /// The tier cannot be queried.
    Outage,
}

impl Publication {
    /// Stores the value in L1 under `validity`, and ends the flight.
    ///
    /// The value is not stored if an invalidation has ended `validity` or superseded the flight.
    pub(crate) fn store_in_l1(self, validity: Validity, revision: u64) {
        let Self { cache, spec, entry_key, leader, slot, .. } = self;
        let fill = |validity| cache.l1().insert(&spec, &entry_key.key, slot.clone(), validity, revision);
        let stored = leader.land_if_valid(validity, slot.clone(), fill);
        cache.l1().report_evictions();
        cache.report(if stored { Count::Fill } else { Count::RejectedFill }, &spec, entry_key.key.as_ref());
    }

    /// Rejects the value: only the caller of the load gets it, and followers start over.
    pub(crate) fn reject(self) {
        self.cache.report(Count::RejectedFill, &self.spec, self.entry_key.key.as_ref());
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
    pub(crate) async fn deliver_unless_changed(self, validity: &Validity) {
        match self.check_for_changes(validity).await {
            ChangeCheck::Changed => self.leader.reject(self.slot),
            ChangeCheck::Unchanged | ChangeCheck::Unknown | ChangeCheck::Outage => _ = self.land(),
        }
    }

    /// Publishes the value of a load without L2: to L1, unless one of its tags was invalidated.
    pub(crate) fn publish_without_l2(self, validity: Validity) {
        let (cache, outdated) = (self.cache.clone(), self.outdated_entry_key());
        match self.value_tags.added_to(validity, cache.shared(), self.entry_key.is_shared) {
            Some(validity) => self.store_in_l1(validity, 0),
            None => self.reject(),
        }
        cache.enqueue_removal(outdated);
    }

    /// Publishes the value of a load without a lease: to L1, if nothing changed during the load.
    ///
    /// In an outage, the value is kept under the proof that was reached before.
    pub(crate) async fn publish_without_lease(self, validity: Validity) {
        if planted!("kept-beside-unasked") {
            return self.store_in_l1(validity, 0);
        }
        if !self.value_tags.tags.is_empty() {
            // L2 was not asked for these tags, and so has not reported their invalidation.
            return self.reject();
        }
        match self.check_for_changes(&validity).await {
            ChangeCheck::Unchanged => self.store_in_l1(validity, 0),
            ChangeCheck::Outage => {
                let validity = validity.detached(self.cache.clock().now());
                self.store_in_l1(validity, 0);
            }
            ChangeCheck::Changed | ChangeCheck::Unknown => self.reject(),
        }
    }

    /// Publishes a value that L2 cannot hold: to L1, if the stub in L2 is still the same.
    ///
    /// The stub has a revision of its own. If that is the revision from before the load, the key was not
    /// invalidated since, even if a notification would not have arrived.
    pub(crate) async fn publish_with_stub(self, stub: Stub, keep: Duration) {
        let Stub { mut validity, revision, journal } = stub;
        let shared = self.cache.shared();
        if !self.value_tags.tags.is_empty() {
            let Some((journal_position, _)) = journal else { return self.reject() };
            match claim_tags(shared, &validity, journal_position, &self.value_tags.tags, keep).await {
                Ok(Some(claimed)) => validity = claimed,
                // Only the tier knows whether these tags were invalidated.
                Ok(None) | Err(_) => return self.reject(),
            }
            self.leader.bind(&validity);
        }
        match revalidate(shared, &self.entry_key.shared_key.text, &validity, revision).await {
            Ok(Some(validity)) => self.store_unshared(validity, revision),
            Ok(None) => self.reject(),
            Err(_) => {
                let validity = validity.detached(self.cache.clock().now());
                self.store_in_l1(validity, 0);
            }
        }
    }

    /// Stores the value in L1 only, because L2 cannot hold it.
    fn store_unshared(self, validity: Validity, revision: u64) {
        self.cache.report(Count::Unshared, &self.spec, self.entry_key.key.as_ref());
        self.store_in_l1(validity, revision);
    }

    /// Stores the value in L2, and if L2 has accepted it, in L1.
    ///
    /// The lease is used up, and released if it is unknown whether L2 has the value.
    pub(crate) async fn publish_with_lease(self, mut lease: Lease, fill: Fill) {
        let (cache, outdated) = (self.cache.clone(), self.outdated_entry_key());
        let (function, binder) = (cache.function(&self.spec).clone(), self.leader.binder());
        let (revision, tags) = (lease.revision(), self.value_tags.tags.clone());
        let budget = function.budget(&self.spec);
        // The epoch of `detached_validity` is taken now, before `initial_validity` is found intact: no
        // invalidation is missed in between.
        let detached_validity = lease.detached_validity();
        let initial_validity = lease.validity.clone();
        let mut publication = Some(self);
        let mut land_undecided = || {
            let Some(publication) = publication.take() else { return false };
            let validity = if initial_validity.is_intact() {
                detached_validity.clone()
            } else {
                initial_validity.clone()
            };
            publication.publish_undecided(validity, revision);
            true
        };
        let mut was_undecided = planted!("l1-fill-before-verdict") && land_undecided();
        let verdict = {
            let mut filling = pin!(lease.fill(fill, &tags, &function, budget, binder));
            match either(&mut filling, Delay::new(budget.write_limit(VERDICT_TIMEOUT))).await {
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
            lease.abandon();
            return cache.enqueue_removal(outdated);
        }
        let Some(publication) = publication else {
            if was_undecided {
                // The verdict is known, so the value that was kept meanwhile must be checked with L2 before
                // it is served.
                cache.shared().epochs.end(&own_epoch_name(lease.name()));
            }
            return;
        };
        match verdict {
            Verdict::Stored(validity) => publication.store_in_l1(validity, revision),
            Verdict::Stubbed(validity) => publication.store_unshared(validity, revision),
            Verdict::Rejected if planted!("followers-take-rejected-value") => _ = publication.land(),
            Verdict::Rejected | Verdict::Undecided => publication.reject(),
        }
    }

    /// Releases the lease without a fill, because L2 is overloaded, and publishes to this process.
    pub(crate) fn publish_without_fill(self, lease: Lease) {
        let (revision, validity) = (lease.revision(), lease.abandon());
        self.publish_undecided(validity, revision);
    }

    /// Publishes the value to L1 while it is unknown whether L2 has it.
    ///
    /// The validity from before the load decides whether the value may be kept.
    fn publish_undecided(self, validity: Validity, revision: u64) {
        let cache = self.cache.clone();
        let Some(validity) = self.value_tags.added_to(validity, cache.shared(), true) else {
            return self.reject();
        };
        if self.value_tags.tags.is_empty() {
            return self.store_in_l1(validity, revision);
        }
        if self.value_tags.may_be_outdated() {
            return self.reject();
        }
        let (now, (bound, grace)) = (cache.clock().now(), cache.staleness().limits(&self.spec, &validity));
        let is_outage = !cache.shared().tier.ready();
        if validity.is_valid_at(now, bound) || (is_outage && validity.is_valid_in_outage(now, bound, grace)) {
            // With a revision, the entry could be confirmed later without a check of its tags.
            self.store_in_l1(validity, 0);
        } else if is_outage {
            // Too old to be stored. Followers still get the value, so that they need not load it again.
            self.leader.land_if_valid(validity, self.slot, |_| ());
        } else {
            self.reject();
        }
    }

    /// Asks L2 whether any name of `validity` was invalidated.
    ///
    /// Over one connection, the notification of a change arrives before the reply to a later query. Each name
    /// may have a connection of its own, so the query includes the key and all tags.
    async fn check_for_changes(&self, validity: &Validity) -> ChangeCheck {
        let lookup = Lookup::if_none_match(&self.entry_key.shared_key.text, 0);
        let reply = self.cache.shared().tier.lookup(&[lookup], &validity.tag_keys()).await;
        if !validity.is_intact() {
            return ChangeCheck::Changed;
        }
        match reply {
            Ok(reply) if validity.feed.is_tracked() && reply.feed.covers(&validity.feed) => {
                ChangeCheck::Unchanged
            }
            Ok(_) | Err(TierError::Timeout) => ChangeCheck::Unknown,
            Err(_) => ChangeCheck::Outage,
        }
    }

    /// Returns the entry that must be removed from L2 if this value is not stored there.
    fn outdated_entry_key(&self) -> Option<EntryKey> {
        self.is_newer.then(|| self.entry_key.clone())
    }
}

impl<R> CallContext<R> {
    /// Returns the text of an error for other processes, if callers there can have waited for this load.
    fn shared_error(&self, slot: &dyn ErasedValue, fill_right: &FillRight) -> Option<SharedLoadError> {
        let is_awaited = matches!(fill_right, FillRight::Everywhere(_)) && !self.spec.coalesces_locally();
        if is_awaited { self.policy.shared_error(slot) } else { None }
    }
}

/// Result of a load: a value, or an error that can be shared.
pub(crate) struct Loaded {
    pub(crate) slot: Arc<dyn ErasedValue>,
    /// Time for which the result may be stored; `None` if it must not be.
    pub(crate) ttl: Option<Duration>,
    pub(crate) is_error: bool,
    /// The load was to replace an older value.
    pub(crate) had_fallback: bool,
    /// Position in the log of invalidated tags, at the start of the load.
    pub(crate) log_position: LogPosition,
}

/// Remaining work of a publication. No caller waits for it if there is a runtime to run it.
pub(crate) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Publishes the result of a load, which ends its flight.
///
/// The remaining work runs in the background. Without a runtime, it is returned instead.
pub(crate) fn publish<R>(
    context: Box<CallContext<R>>,
    leader: Leader,
    fill_right: FillRight,
    loaded: Loaded,
) -> Option<Rest> {
    let Loaded { slot, ttl, is_error, had_fallback, log_position } = loaded;
    let ended = if is_error { Ended::Error(context.shared_error(&*slot, &fill_right)) } else { Ended::Value };
    let hasher = &*context.cache.shared().hasher;
    let tags = if ttl.is_some() { context.policy.value_tags(&*slot, hasher) } else { None };
    let encoder = if is_error { None } else { context.policy.encoder(&slot) };
    let stale = context.policy.stale();
    let is_renewed = context.policy.has_early_renewal() || context.spec.warm_keys() > 0;
    let CallContext { cache, spec, entry_key, terms, .. } = *context;
    let shared = cache.shared().clone();
    let uses_l2 = terms.shared && cache.mode() == Mode::On;
    let value_tags = ValueTags::new(&shared, tags.as_deref().unwrap_or_default(), log_position, &fill_right);
    // The call asked for a new load, so the value in L2 is older.
    let is_newer = !terms.read && !is_error && uses_l2;
    let publication = Publication { cache, spec, entry_key, leader, slot, value_tags, is_newer };

    let (Some(ttl), Some(_)) = (ttl, tags) else {
        // Not to be stored. That includes a value with unknown tags, which could not be invalidated.
        let invalidates_tiers = !is_error && (had_fallback || !terms.read || terms.max_age.is_some());
        return deliver_only(publication, fill_right, ended, invalidates_tiers);
    };
    if publication.entry_key.is_shared && !terms.shared && publication.cache.mode() == Mode::On {
        // L2 was not asked, so it would report no change of the entry, and a follower may have joined after
        // an invalidation.
        fill_right.end(&ended);
        publication.reject();
        return None;
    }
    if let FillRight::LocalOnly(validity) = fill_right {
        publication.publish_without_l2(validity);
        return None;
    }
    let is_overloaded = shared.background.len() > MAX_BACKGROUND_JOBS;
    // L2 holds a value longer by the length of a lease, so that it does not expire under the lease of its
    // renewal.
    let function = publication.cache.function(&publication.spec);
    let lease = shared.lease_length(publication.spec.coalesces_locally(), function);
    let spare = if is_renewed { lease } else { Duration::ZERO };
    let life = Life { start: shared.clock.now(), ttl, stale, spare };
    let fill = encoder.map(|encoder| Fill { encoder, created_ms: shared.clock.wall_ms(), life });
    publication.leader.begin_landing();
    run_in_background(&publication.cache.clone(), async move {
        match (fill_right, fill) {
            (FillRight::Everywhere(lease), Some(fill)) if !is_overloaded => {
                Box::pin(publication.publish_with_lease(lease, fill)).await;
            }
            (FillRight::Everywhere(lease), Some(_)) => publication.publish_without_fill(lease),
            (fill_right, Some(_)) if is_overloaded => {
                fill_right.fail();
                publication.reject();
            }
            (FillRight::Stub(stub), Some(fill)) => {
                Box::pin(publication.publish_with_stub(stub, fill.life.usable_for())).await;
            }
            (fill_right, Some(_)) => {
                Box::pin(publication.publish_without_lease(fill_right.validity().clone())).await;
            }
            // An error is for this process only, so its validity does not depend on a lease.
            (fill_right, None) => {
                let own_epoch = shared.own_epoch(&publication.entry_key.shared_key.text);
                let validity = Validity {
                    epoch: own_epoch,
                    feed: shared.local_feed.clone(),
                    ..fill_right.validity().clone()
                };
                // Callers that wait in other processes are notified that no value will come.
                fill_right.end(&ended);
                publication.store_in_l1(validity, 0);
            }
        }
    })
}

/// Delivers the result to the followers only, and releases the lease.
///
/// If `invalidates_tiers` is set, values in the tiers are older than the result, and are invalidated.
fn deliver_only(
    publication: Publication,
    mut fill_right: FillRight,
    ended: Ended,
    invalidates_tiers: bool,
) -> Option<Rest> {
    fill_right.announce_release();
    let (cache, target) = (
        publication.cache.clone(),
        InvalidationTarget::Entry(publication.spec, Box::new(publication.entry_key.clone())),
    );
    let is_error = matches!(ended, Ended::Error(_));
    let finish = move |fill_right: FillRight| {
        fill_right.end(&ended);
        if invalidates_tiers {
            // A newer value that is not stored must not leave an older one behind.
            Invalidation::new(cache, Ok(target)).spawn();
        }
    };
    let may_query = !is_error
        && fill_right.validity().feed.is_tracked()
        && !matches!(fill_right, FillRight::LocalOnly(_));
    let publication = if may_query { publication.land_unfollowed() } else { publication.land() };
    let Some(publication) = publication else {
        finish(fill_right);
        return None;
    };
    publication.leader.begin_landing();
    run_in_background(&publication.cache.clone(), async move {
        publication.deliver_unless_changed(fill_right.validity()).await;
        finish(fill_right);
    })
}

/// Runs `rest` in the background. Without a runtime, returns it instead.
fn run_in_background(cache: &Cache, rest: impl Future<Output = ()> + Send + 'static) -> Option<Rest> {
    let job = cache.shared().background.begin();
    let rest: Rest = Box::pin(async move {
        let _job = job;
        rest.await;
    });
    let Ok(runtime) = Handle::try_current() else { return Some(rest) };
    runtime.spawn(rest);
    None
}
