//! Invalidations: of an entry, a tag, a counter, all names that match a pattern, or everything.
//!
//! An invalidation takes these steps, in this order:
//!
//! 1. In this process, it ends the epochs of the names, so that no entry or load from before is valid any
//!    more. An entry that is invalidated by its key is also removed from L1, and its flight superseded.
//!    Entries of a tag or a pattern are freed later, by `reap`.
//! 2. It deletes the keys, and the generations of tags, in the shared tier. This rejects the fills of
//!    older loads there, and notifies other processes.
//! 3. If the shared tier fails, the invalidation goes to the outbox (`coherence::outbox`). From then on
//!    this process does not read the names from the tier, and `l2::replay` sends the invalidation again.
//! 4. It repeats step 1. Between the steps, another call may have read the old value, and a tier sends no
//!    push for a change by the process itself.
//! 5. With `confirmed`, and if step 2 succeeded, it waits at the barrier of the shared tier.
//!
//! Steps 2 to 5 run in a task of their own, so that a caller that goes away does not stop them half-way.
//!
//! * `templates`: makes the targets of tags and patterns from templates.
//! * `target`: the targets, and the changes that each is in the shared tier.
//! * `local`: steps 1 and 4.
//! * `send`: steps 2 to 5.
//! * `queue`: the way into the outbox.

mod local;
mod queue;
mod send;
mod target;
mod templates;

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

pub(crate) use self::target::InvalidationTarget;
use crate::{cache::Cache, error::Error};

/// An invalidation, which starts when it is awaited.
///
/// When it completes, no tier of any process keeps the value of a load that began before. Other processes
/// usually stop serving old values from memory within one network hop, and in any case within the
/// [staleness bound](crate::CacheBuilder::staleness_bound).
///
/// An invalidation that is dropped after its first poll goes on to its end in the background.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_core::Error> {
/// # let cache = cached_core::Cache::builder().build()?;
/// cache.invalidate_tag("note:{}", &[&12]).await?;
/// cache.invalidate_tag("note:{}", &[&13]).confirmed().await?; // when every process has heard of it
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`is_key`](Error::is_key) if an argument cannot be part of a key (then no value was ever cached for it).
/// [`is_not_propagated`](Error::is_not_propagated) if the shared tier could not be reached: the invalidation
/// holds in this process, and is sent again as soon as possible, as long as the process lives.
/// [`Cache::close`] waits for it up to a limit.
/// [`is_not_confirmed`](Error::is_not_confirmed), after [`confirmed`](Self::confirmed), if the confirmation
/// failed.
#[must_use = "an invalidation does nothing until it is awaited"]
pub struct Invalidation {
    request: Request,
    /// Future of the work; set at the first poll.
    work: Option<Work>,
}

type Work = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

#[derive(Default)]
struct Request {
    /// Targets, grouped by cache.
    groups: Vec<(Cache, Vec<InvalidationTarget>)>,
    error: Option<Error>,
    is_confirmed: bool,
}

impl Invalidation {
    pub(crate) fn new(cache: Cache, target: Result<InvalidationTarget, Error>) -> Self {
        let (groups, error) = match target {
            Ok(target) => (vec![(cache, vec![target])], None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Self { request: Request { groups, error, is_confirmed: false }, work: None }
    }

    pub(crate) fn nothing() -> Self {
        Self { request: Request::default(), work: None }
    }

    /// Waits until every live process has handled the invalidation.
    ///
    /// A process that may not serve from memory any more counts as one that has handled it. The wait usually
    /// takes a few round trips. A process that vanished without signing off is waited for until it may not
    /// serve any more: for the bound and the [grace](crate::CacheBuilder::outage_grace) after its last sign
    /// of life.
    pub fn confirmed(mut self) -> Self {
        self.request.is_confirmed = true;
        self
    }

    /// Combines two invalidations. Those of the same cache are sent together.
    pub fn and(mut self, other: Self) -> Self {
        for (cache, targets) in other.request.groups {
            match self.request.groups.iter_mut().find(|(known, _)| known.is_same(&cache)) {
                Some((_, group)) => group.extend(targets),
                None => self.request.groups.push((cache, targets)),
            }
        }
        self.request.error = self.request.error.or(other.request.error);
        self.request.is_confirmed |= other.request.is_confirmed;
        self
    }

    /// Invalidates in this process at once, and in the shared tier in the background.
    ///
    /// The shared tier is notified through the outbox, as after a failed attempt. Until it has the
    /// invalidation, this process does not read the names from it.
    pub fn spawn(self) {
        for (cache, targets) in self.request.groups {
            cache.report_invalidations(&targets);
            cache.enqueue(&targets);
            cache.invalidate_local(&targets);
        }
    }
}

impl Request {
    async fn run(self) -> Result<(), Error> {
        let Self { groups, error, is_confirmed } = self;
        for (cache, targets) in &groups {
            cache.invalidate_local(targets);
        }
        let mut result = error.map_or(Ok(()), Err);
        // All caches start now: if the caller goes away during one, the others are not forgotten.
        let runs: Vec<_> = groups
            .into_iter()
            .map(|(cache, targets)| cache.run_to_completion(targets, is_confirmed))
            .collect();
        for run in runs {
            result = run.await.and(result);
        }
        result
    }
}

impl Future for Invalidation {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { request, work } = &mut *self;
        work.get_or_insert_with(|| Box::pin(mem::take(request).run())).as_mut().poll(cx)
    }
}

impl fmt::Debug for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names hold arguments of calls.
        let targets: usize = self.request.groups.iter().map(|(_, targets)| targets.len()).sum();
        f.debug_struct("Invalidation")
            .field("targets", &targets)
            .field("is_confirmed", &self.request.is_confirmed)
            .finish_non_exhaustive()
    }
}
