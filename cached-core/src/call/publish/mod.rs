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
//! between the check and the fill.
//!
//! This file chooses the way of a result, and these files have the ways:
//!
//! * `leased`: a value of a load that holds the lease.
//! * `unleased`: a value of any other load.
//! * `deliver`: a result that is not stored.
//! * `change_check`: the question to L2 whether anything changed during the load.
//! * `publication`: the value with its flight, and the ends of the flight.
//! * `value_tags`: the tags that only the value determines.
//!
//! `l2::lease` has the protocol with the tier, `flight::leader` has the landing.

mod change_check;
mod deliver;
mod leased;
mod publication;
mod unleased;
mod value_tags;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use self::{deliver::deliver_only, publication::Publication, value_tags::ValueTags};
use crate::{
    base::background::Job,
    cache::{Cache, Mode},
    call::{
        context::CallContext,
        fill_right::{Ended, FillRight},
    },
    coherence::{tag_log::LogPosition, validity::Validity},
    error::shared::SharedLoadError,
    flight::Leader,
    l2::shared::{Fill, Life},
    value::erased::ErasedValue,
};

/// Largest number of jobs in the background. Beyond it, values are neither stored in L2 nor checked there,
/// because L2 cannot keep up.
const MAX_BACKGROUND_JOBS: usize = 4096;

/// Result of a load: a value, or an error that can be shared.
pub(super) struct LoadResult {
    pub(super) erased: Arc<dyn ErasedValue>,
    /// Time for which the result may be stored; `None` if it must not be.
    pub(super) ttl: Option<Duration>,
    pub(super) is_error: bool,
    /// The load was to replace an older value.
    pub(super) had_fallback: bool,
    /// Position in the log of invalidated tags, at the start of the load; `None` if values have no tags.
    pub(super) log_position: Option<LogPosition>,
}

/// Remaining work of a publication. No caller waits for it if there is a runtime to run it.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Publishes the result of a load, which ends its flight.
///
/// The remaining work runs in the background. Without a runtime, it is returned instead.
pub(super) fn publish(
    context: Box<CallContext>,
    leader: Leader,
    fill_right: FillRight,
    loaded: LoadResult,
) -> Option<Rest> {
    let LoadResult { erased, ttl, is_error, had_fallback, log_position } = loaded;
    let ended =
        if is_error { Ended::Error(context.shared_error(&*erased, &fill_right)) } else { Ended::Value };
    let hasher = &*context.cache.shared().hasher;
    // The tags of a value that is not stored matter only to followers.
    let needs_tags = ttl.is_some() || (!is_error && leader.is_followed());
    let tags = if needs_tags || !context.policy().has_value_tags() {
        context.policy().value_tags(&*erased, hasher)
    } else {
        None
    };
    let (shared, terms) = (context.cache.shared(), context.terms);
    let (is_shared, is_on) = (context.entry_key.is_shared, context.cache.mode() == Mode::On);
    let uses_l2 = terms.shared && is_on;
    // The flight may end here before the rest has begun. A close waits for the one or the other.
    let job = (is_shared && uses_l2).then(|| shared.background.begin());
    let value_tags = ValueTags::new(shared, tags.as_deref(), log_position, &fill_right);
    // The call asked for a new load, so the value in L2 is older.
    let is_newer = !terms.read && !is_error && uses_l2;
    let skips_l2 = is_shared && !terms.shared && is_on;
    let publication = Publication { context, leader, erased, value_tags, is_newer, skips_l2 };

    let (Some(ttl), Some(_)) = (ttl, tags) else {
        // Not to be stored. That includes a value with unknown tags, which could not be invalidated.
        let invalidates_tiers = !is_error && (had_fallback || !terms.read || terms.max_age.is_some());
        return deliver_only(publication, fill_right, ended, invalidates_tiers, job);
    };
    if publication.skips_l2 {
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
    let shared = publication.context.cache.shared().clone();
    let policy = publication.context.policy().clone();
    let encoder = if is_error { None } else { policy.encoder(&publication.erased) };
    let stale = policy.stale();
    let is_renewed = policy.has_early_renewal() || publication.context.spec.warm_keys() > 0;
    let is_overloaded = shared.background.len() > MAX_BACKGROUND_JOBS;
    // L2 holds a value longer by the length of a lease, so that it does not expire under the lease of its
    // renewal.
    let function = publication.context.cache.function(&publication.context.spec);
    let lease = shared.lease_length(publication.context.spec.coalesces_locally(), function);
    let spare = if is_renewed { lease } else { Duration::ZERO };
    let life = Life { start: shared.clock.now(), ttl, stale, spare };
    let fill = encoder.map(|encoder| Fill { encoder, created_ms: shared.clock.wall_ms(), life });
    publication.leader.begin_landing();
    run_in_background(&publication.context.cache.clone(), job, async move {
        let (fill_right, fill) = match (fill_right, fill) {
            (FillRight::Everywhere(lease), Some(fill)) if !is_overloaded => {
                return Box::pin(publication.publish_with_lease(*lease, fill)).await;
            }
            others => others,
        };
        let (cache, outdated) = (publication.context.cache.clone(), publication.outdated_entry_key());
        match (fill_right, fill) {
            (FillRight::Everywhere(lease), Some(_)) => publication.publish_without_fill(*lease),
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
                let own_epoch = shared.own_epoch(&publication.context.entry_key.shared_key.text);
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
        cache.enqueue_removal(outdated);
    })
}

impl CallContext {
    /// Returns the text of an error for other processes, if callers there can have waited for this load.
    fn shared_error(&self, erased: &dyn ErasedValue, fill_right: &FillRight) -> Option<SharedLoadError> {
        let is_awaited = matches!(fill_right, FillRight::Everywhere(_)) && !self.spec.coalesces_locally();
        if is_awaited { self.policy().shared_error(erased) } else { None }
    }
}

/// Runs `rest` in the background, as a job that has begun or begins now. Without a runtime, returns it instead.
fn run_in_background(
    cache: &Cache,
    job: Option<Job>,
    rest: impl Future<Output = ()> + Send + 'static,
) -> Option<Rest> {
    let job = job.unwrap_or_else(|| cache.shared().background.begin());
    let rest: Rest = Box::pin(async move {
        let _job = job;
        rest.await;
    });
    let Ok(runtime) = Handle::try_current() else { return Some(rest) };
    runtime.spawn(rest);
    None
}
