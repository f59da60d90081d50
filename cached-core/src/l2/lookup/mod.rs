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
//! This file has the order of the steps, and these files have the steps:
//!
//! * `observe`: one read, and the classification of the reply.
//! * `classify`: the decisions on a reply that need no request.
//! * `tag_check`: the comparison of a value's tags with their current generations.
//! * `acceptable`: the condition on a value.
//! * `wait`: the waits for another process and for the turn.
//! * `holder`: the decision that the holder of a lease is lost.
//! * `leasing`: requests for the right to load.
//! * `outage`: the outcome if the tier cannot be asked.
//! * `outcome`: the outcomes of a lookup.
//! * `batch`: the values of many keys, without these steps.
//!
//! `call::context` calls this module, `lease` holds the right, and `call::publish` uses it after the load.

mod acceptable;
mod batch;
mod classify;
mod holder;
mod leasing;
mod observe;
mod outage;
mod outcome;
mod tag_check;
mod wait;

use std::{sync::Arc, time::Duration};

pub(crate) use self::{
    acceptable::Acceptable,
    outcome::{FoundValue, LookupOutcome, Stub},
};
use self::{classify::Observed, holder::Holder, leasing::Leasing, wait::wait_for_turn};
use crate::{
    coherence::{epoch::Listener, staleness::Staleness, validity::Validity},
    flight::permits::{LoadTurn, TurnResult},
    key::entry_key::EntryKey,
    l1::entry::Entry,
    l2::shared::Shared,
    spec::FunctionSpec,
    telemetry::functions::FunctionMetrics,
    tier::{LeaseMode, Revision, Tier, budget::Budget},
    value::policy::ValuePolicy,
};

/// Longest wait of a call for a lease that its own process releases, if loads of its function cost little.
const MAX_RELEASE_WAIT: Duration = Duration::from_millis(50);

/// Number of short rounds after which a call gives up, because each read finds something else.
const MAX_ROUNDS: usize = 32;

/// A lookup of one missed key in the shared tier.
pub(crate) struct SharedLookup<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) entry_key: &'a EntryKey,
    pub(crate) policy: &'a dyn ValuePolicy,
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

/// The right that a load acquires when its turn has come.
enum Right {
    /// A lease. The flag is set if the call does not wait for a lease held elsewhere.
    Lease(LeaseMode, bool),
    /// No right is needed, as nothing is stored.
    Stub(Validity, Revision),
}

impl SharedLookup<'_> {
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
    pub(crate) async fn run(&self, fallback: Option<Arc<Entry>>, turn: &mut LoadTurn) -> LookupOutcome {
        let (pending_releases, name) = (&self.shared.pending_releases, &self.entry_key.shared_key.text);
        // Usually no lease is being released, and this is one atomic load: every hit of the tier passes here.
        if pending_releases.is_pending(name) && self.shared.tier.ready() {
            let limit = self.budget.read_limit(MAX_RELEASE_WAIT);
            Box::pin(pending_releases.wait(name, &self.shared.epochs, limit)).await;
        }
        let epoch = self.shared.epoch(name);
        let listener = epoch.listen();
        match self.observe(epoch, fallback.as_ref()).await {
            Observed::FoundValue(found) => LookupOutcome::Hit(found),
            // Boxed, like everything that a plain hit does not need: the future of a hit should be small.
            observed => Box::pin(self.run_rounds(observed, listener, fallback, turn)).await,
        }
    }

    /// Takes the steps after the first read, of which this is the reply, and repeats all steps until one decides.
    async fn run_rounds(
        &self,
        first_reply: Observed,
        first_listener: Listener,
        mut fallback: Option<Arc<Entry>>,
        turn: &mut LoadTurn,
    ) -> LookupOutcome {
        // Set when the call first has to wait.
        let mut patience = None;
        let mut holder = Holder::new(self.shared.lease);
        let mut known = fallback.clone();
        let mut has_waited = false;
        let mut rounds = 0;
        let mut first = Some((first_reply, first_listener));
        while rounds < MAX_ROUNDS {
            let (observed, listener) = match first.take() {
                Some(first) => first,
                None => {
                    let epoch = self.shared.epoch(&self.entry_key.shared_key.text);
                    let listener = epoch.listen();
                    (self.observe(epoch, known.as_ref()).await, listener)
                }
            };
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

    /// Returns a validity as of now, without a change feed, for a load without a lease.
    fn detached_validity(&self) -> Validity {
        self.shared.detached_validity(&self.entry_key.shared_key.text, &self.entry_key.tags)
    }

    /// Returns whether an invalidation of the name or of one of `tags` may be in the outbox.
    fn is_pending(&self, tags: &[String]) -> bool {
        let names =
            std::iter::once(self.entry_key.shared_key.text.as_str()).chain(tags.iter().map(String::as_str));
        self.shared.outbox.may_match(names)
    }
}
