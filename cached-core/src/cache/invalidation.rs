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

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

use crate::{
    base::planted::planted,
    cache::Cache,
    coherence::outbox::OutboxItem,
    error::{Error, tier::TierError},
    key::{KeyPart, NameWriter, Parts, entry_key::EntryKey, flaw},
    l2::shared::own_epoch_name,
    spec::FunctionSpec,
    telemetry::{span::Span, stats::Count, step::TimedSpan},
    tier::Tier,
};

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
/// holds in this process, and is sent again as soon as possible.
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

/// Target of an invalidation.
#[derive(Clone)]
pub(crate) enum InvalidationTarget {
    Entry(FunctionSpec, Box<EntryKey>),
    /// A tag, by its key.
    Tag(String),
    /// A counter, by its name.
    Counter(String),
    /// All names that match this pattern.
    Matching(String),
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

/// Returns the template of the function if the only target is one entry, otherwise an empty string.
fn function_of(targets: &[InvalidationTarget]) -> &'static str {
    match targets {
        [InvalidationTarget::Entry(spec, _)] => spec.template(),
        _ => "",
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

impl Cache {
    /// Invalidates every entry with this tag, in one round trip, independent of their number.
    ///
    /// `template` is the tag as in `tags = [".."]`, with a `{}` for each of `parts`, which are written as
    /// placeholders are. A string has the same form in all string types, and a number in all number types. A
    /// number and a string with the same digits, `7` and `"7"`, are different parts.
    ///
    /// It ends in [`is_key`](Error::is_key) if the template is not valid, or has another number of `{}`.
    pub fn invalidate_tag(&self, template: &str, parts: &[&(dyn KeyPart + Sync)]) -> Invalidation {
        self.tag_invalidation(self.fill_template(template, parts, false))
    }

    /// Invalidates every entry with a name that matches a pattern.
    ///
    /// A `*` in the template stands for any characters, and a `*` in a part is no wildcard.
    /// `"analytics:{}:*"` matches all names with that beginning. For a function with a prefix instead of a
    /// template, a keyspace and a counter, the name is the prefix and a digest. So `"syllabus:*"` matches all
    /// of their names, and no pattern selects a single one.
    ///
    /// The shared tier examines all of its keys, in steps: prefer a tag where there are many keys. Calls with
    /// an equal pattern that arrive during a scan share the next one. [Counters](Self::incr) with a matching
    /// name are reset as well.
    pub fn invalidate_pattern(&self, template: &str, parts: &[&(dyn KeyPart + Sync)]) -> Invalidation {
        self.pattern_invalidation(self.fill_template(template, parts, true))
    }

    /// Invalidates everything in the namespace of this cache, in every tier and process.
    ///
    /// The shared tier examines all of its keys, in steps. Counters of [`incr`](Self::incr) are reset as
    /// well. The in-process tier is empty when the invalidation completes.
    pub fn clear(&self) -> Invalidation {
        Invalidation::new(self.clone(), Ok(InvalidationTarget::Matching(self.shared().all_names_pattern())))
    }

    fn fill_template(
        &self,
        template: &str,
        parts: &[&(dyn KeyPart + Sync)],
        allows_wildcard: bool,
    ) -> Result<String, Error> {
        if let Some(flaw) = flaw(template, parts.len(), allows_wildcard) {
            return Err(Error::key(flaw));
        }
        let parts = parts.iter().map(|part| *part as &dyn KeyPart);
        Ok(NameWriter::text(&*self.shared().hasher, |writer| writer.write_template(template, parts))?)
    }

    pub(crate) fn invalidate_tag_of(&self, parts: &impl Parts) -> Invalidation {
        self.tag_invalidation(self.write_name(parts))
    }

    pub(crate) fn invalidate_pattern_of(&self, parts: &impl Parts) -> Invalidation {
        self.pattern_invalidation(self.write_name(parts))
    }

    fn write_name(&self, parts: &impl Parts) -> Result<String, Error> {
        Ok(NameWriter::text(&*self.shared().hasher, |writer| parts.write(writer))?)
    }

    fn tag_invalidation(&self, tag: Result<String, Error>) -> Invalidation {
        Invalidation::new(self.clone(), tag.map(|tag| InvalidationTarget::Tag(self.shared().tag_key(&tag))))
    }

    fn pattern_invalidation(&self, pattern: Result<String, Error>) -> Invalidation {
        let target = pattern.and_then(|pattern| {
            // Redis would interpret these characters.
            match pattern.find(['?', '[', ']', '\\']) {
                Some(_) => {
                    Err(Error::key("a pattern must not contain any of `? [ ] \\`: its only wildcard is `*`"))
                }
                None => Ok(InvalidationTarget::Matching(format!("{}:{pattern}", self.shared().namespace))),
            }
        });
        Invalidation::new(self.clone(), target)
    }

    /// Invalidates the targets in this process.
    ///
    /// From now on, none of their entries is served, and no load under way is kept.
    fn invalidate_local(&self, targets: &[InvalidationTarget]) {
        if planted!("own-entry-kept") {
            return;
        }
        let epochs = &self.shared().epochs;
        for target in targets {
            match target {
                InvalidationTarget::Entry(_, entry_key) => {
                    // The epochs end first: an entry that is read from L1 after that is not valid. Loads of
                    // other functions may depend on these epochs as well.
                    epochs.end(&entry_key.shared_key.text);
                    epochs.end(&own_epoch_name(&entry_key.shared_key.text));
                    self.flights().supersede(&entry_key.key, || self.l1().remove(&entry_key.key));
                }
                InvalidationTarget::Tag(key) => {
                    self.shared().tag_log.record(key);
                    epochs.end_tag(key);
                }
                InvalidationTarget::Counter(name) => self.local_counters().remove(name),
                InvalidationTarget::Matching(pattern) => {
                    epochs.end_matching(pattern);
                    self.local_counters().remove_matching(pattern);
                    if *pattern == self.shared().all_names_pattern() {
                        // No entry is valid any more, so L1 can be freed without checking each of them.
                        self.clear_local();
                    }
                }
            }
        }
        if targets
            .iter()
            .any(|target| matches!(target, InvalidationTarget::Tag(_) | InvalidationTarget::Matching(_)))
        {
            self.reap();
        }
    }

    /// Runs the steps for one cache to their end, in a task of its own if there is a runtime.
    ///
    /// Otherwise a caller that goes away would stop them half-way.
    fn run_to_completion(self, targets: Vec<InvalidationTarget>, is_confirmed: bool) -> Work {
        // An invalidation of this process alone completes at its first poll, so that a function which is not
        // async may wait for it.
        let needs_tier = is_confirmed || !self.outbox_items(&targets).is_empty();
        let (sender, lost_targets) = (self.clone(), targets.clone());
        // The span is created here, so that it is a child of the caller's span.
        let mut step = TimedSpan::begin(Span::invalidate(function_of(&targets)), self.clock());
        let work = async move {
            let done = step.instrument(sender.clone().send_and_confirm(targets, is_confirmed)).await;
            step.end(match &done {
                Ok(()) => "ok",
                Err(error) if error.is_not_confirmed() => "not_confirmed",
                Err(_) => "not_propagated",
            });
            done
        };
        match Handle::try_current() {
            Ok(runtime) if needs_tier => {
                let job = self.shared().background.begin();
                let task = runtime.spawn(async move {
                    let _job = job;
                    work.await
                });
                let cache = self.clone();
                Box::pin(async move {
                    task.await.unwrap_or_else(|_| {
                        // The runtime of the task was shut down.
                        cache.enqueue(&lost_targets);
                        cache.invalidate_local(&lost_targets);
                        Err(Error::not_propagated(TierError::Unavailable))
                    })
                })
            }
            _ => Box::pin(work),
        }
    }

    async fn send_and_confirm(
        self,
        targets: Vec<InvalidationTarget>,
        is_confirmed: bool,
    ) -> Result<(), Error> {
        let sent = self.send_or_enqueue(&targets).await.map_err(Error::not_propagated);
        if !planted!("not-propagated-as-ok") {
            sent?;
        }
        if is_confirmed {
            self.shared().tier.confirm().await.map_err(Error::not_confirmed)?;
        }
        Ok(())
    }

    /// Sends the invalidation to the shared tier, and queues it for another attempt if that fails.
    async fn send_or_enqueue(&self, targets: &[InvalidationTarget]) -> Result<(), TierError> {
        self.report_invalidations(targets);
        let sent = self.send(targets).await;
        if sent.is_err() {
            self.count_not_propagated(targets);
            self.enqueue(targets);
        }
        // Values that were read from the tier before it had the invalidation must not stay, and a tier sends
        // no push for the process's own changes.
        self.invalidate_local(targets);
        sent
    }

    fn count_not_propagated(&self, targets: &[InvalidationTarget]) {
        match targets {
            [InvalidationTarget::Entry(spec, _)] => self.count_of(spec, Count::NotPropagated),
            _ => self.count(Count::NotPropagated),
        }
    }

    fn report_invalidations(&self, targets: &[InvalidationTarget]) {
        for target in targets {
            match target {
                InvalidationTarget::Entry(spec, entry_key) => {
                    self.report(Count::Invalidate, spec, entry_key.key.as_ref());
                }
                _ => self.report_many(Count::Invalidate),
            }
        }
    }

    async fn send(&self, targets: &[InvalidationTarget]) -> Result<(), TierError> {
        let items = self.outbox_items(targets);
        let (mut keys, mut patterns) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                OutboxItem::Key(key) => keys.push(key),
                OutboxItem::Matching(pattern) => patterns.push(pattern),
            }
        }
        self.shared().delete(keys).await?;
        for pattern in patterns {
            self.shared().sweep(&pattern).await?;
        }
        Ok(())
    }

    /// Returns the changes that the shared tier must receive.
    fn outbox_items(&self, targets: &[InvalidationTarget]) -> Vec<OutboxItem> {
        if !self.shared().has_tier {
            return Vec::new();
        }
        let mut items = Vec::new();
        for target in targets {
            match target {
                InvalidationTarget::Entry(_, entry_key) if entry_key.is_shared => {
                    items.push(OutboxItem::Key(entry_key.shared_key.text.clone()));
                }
                InvalidationTarget::Entry(..) => {}
                InvalidationTarget::Tag(key) | InvalidationTarget::Counter(key) => {
                    items.push(OutboxItem::Key(key.clone()));
                }
                InvalidationTarget::Matching(pattern) => items.push(OutboxItem::Matching(pattern.clone())),
            }
        }
        items
    }

    /// Adds the targets to the outbox, and starts to send it.
    ///
    /// Until the tier has the invalidation, the names are not read from it.
    fn enqueue(&self, targets: &[InvalidationTarget]) {
        for item in self.outbox_items(targets) {
            self.shared().outbox.add(item, &self.shared().all_names_pattern());
        }
        self.resend();
    }

    /// Queues the removal of a value that may be outdated in the shared tier, and is not read until then.
    pub(crate) fn enqueue_removal(&self, entry_key: Option<EntryKey>) {
        if let Some(entry_key) = entry_key.filter(|entry_key| entry_key.is_shared && self.shared().has_tier) {
            self.shared()
                .outbox
                .add(OutboxItem::Key(entry_key.shared_key.text.clone()), &self.shared().all_names_pattern());
            self.resend();
        }
    }
}
