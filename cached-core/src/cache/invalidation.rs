//! Invalidations: of an entry, of a tag, of what matches a pattern, of everything.

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
    l2::shared::own_mark_name,
    spec::FunctionSpec,
    telemetry::{span::Span, stats::Count, step::TimedSpan},
    tier::Tier,
};

/// An invalidation, not made yet: await it.
///
/// When it is done, no load that began before it is kept by any tier of any process. Other processes stop to serve what
/// they have in memory within one network hop as a rule, and within the
/// [bound](crate::CacheBuilder::staleness_bound) in any case.
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
/// [`is_key`](Error::is_key) if an argument cannot be part of a key (then nothing was ever cached for it).
/// [`is_not_propagated`](Error::is_not_propagated) if the shared tier could not be told: it holds in this process, and the
/// tier is told as soon as it can be. [`is_not_confirmed`](Error::is_not_confirmed), after
/// [`confirmed`](Self::confirmed), if that could not be found out.
///
/// It goes on to its end in the background when it is dropped after its first poll.
#[must_use = "an invalidation does nothing until it is awaited"]
pub struct Invalidation {
    plan: Plan,
    /// From the first poll on.
    work: Option<Work>,
}

type Work = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

#[derive(Default)]
struct Plan {
    /// By cache.
    groups: Vec<(Cache, Vec<Target>)>,
    error: Option<Error>,
    is_confirmed: bool,
}

/// What is invalid.
#[derive(Clone)]
pub(crate) enum Target {
    Entry(FunctionSpec, Box<EntryKey>),
    /// The key of a tag.
    Tag(String),
    /// The name of a counter.
    Counter(String),
    /// Names that match.
    Matching(String),
}

impl Invalidation {
    pub(crate) fn new(cache: Cache, target: Result<Target, Error>) -> Self {
        let (groups, error) = match target {
            Ok(target) => (vec![(cache, vec![target])], None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Self { plan: Plan { groups, error, is_confirmed: false }, work: None }
    }

    pub(crate) fn nothing() -> Self {
        Self { plan: Plan::default(), work: None }
    }

    /// Ends only when every process that is alive has dropped what it had in memory, or has lost the right to serve it.
    ///
    /// That takes a few round trips as a rule. A process that vanished without a word is waited for until its right to
    /// serve has ended: the bound and the [grace](crate::CacheBuilder::outage_grace) after it was last heard of.
    pub fn confirmed(mut self) -> Self {
        self.plan.is_confirmed = true;
        self
    }

    /// Both, in one go if they are of one cache.
    pub fn and(mut self, other: Self) -> Self {
        for (cache, targets) in other.plan.groups {
            match self.plan.groups.iter_mut().find(|(known, _)| known.is_same(&cache)) {
                Some((_, known)) => known.extend(targets),
                None => self.plan.groups.push((cache, targets)),
            }
        }
        self.plan.error = self.plan.error.or(other.plan.error);
        self.plan.is_confirmed |= other.plan.is_confirmed;
        self
    }

    /// Begins now, and goes on in the background, as one that could not be told at once: until it is told, this process
    /// does not read what it is about.
    pub fn spawn(self) {
        for (cache, targets) in self.plan.groups {
            cache.note_invalidations(&targets);
            cache.remember(&targets);
            cache.evict(&targets);
        }
    }
}

/// The function, if it is about one.
fn function_of(targets: &[Target]) -> &'static str {
    match targets {
        [Target::Entry(site, _)] => site.template(),
        _ => "",
    }
}

impl Plan {
    async fn carry_out(self) -> Result<(), Error> {
        let Self { groups, error, is_confirmed } = self;
        for (cache, targets) in &groups {
            cache.evict(targets);
        }
        let mut result = error.map_or(Ok(()), Err);
        // All begin now, so that none is forgotten when the caller goes away while another one is told.
        let telling: Vec<_> =
            groups.into_iter().map(|(cache, targets)| cache.tell_to_the_end(targets, is_confirmed)).collect();
        for told in telling {
            result = told.await.and(result);
        }
        result
    }
}

impl Future for Invalidation {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { plan, work } = &mut *self;
        work.get_or_insert_with(|| Box::pin(mem::take(plan).carry_out())).as_mut().poll(cx)
    }
}

impl fmt::Debug for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names hold arguments.
        let targets: usize = self.plan.groups.iter().map(|(_, targets)| targets.len()).sum();
        f.debug_struct("Invalidation")
            .field("targets", &targets)
            .field("is_confirmed", &self.plan.is_confirmed)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Invalidates every entry that has this tag, however many there are, in one round trip.
    ///
    /// `template` is the tag as in `tags = [".."]`, with a `{}` for each of `parts`, which are written as placeholders are. A
    /// string has one name whatever type it has, and so has a number; a number and a string that reads as one, `7` and
    /// `"7"`, are different parts.
    ///
    /// It ends in [`is_key`](Error::is_key) if the template is not one, or has another number of `{}`.
    pub fn invalidate_tag(&self, template: &str, parts: &[&(dyn KeyPart + Sync)]) -> Invalidation {
        self.tagged(self.filled_in(template, parts, false))
    }

    /// Invalidates every entry whose name matches: `*` in the template stands for any characters, and no part can bring
    /// one. `"analytics:{}:*"` is about all that begins so. Where a function has a prefix without arguments, and of a keyspace and a
    /// counter, a digest follows the prefix: `"syllabus:*"` is about all of them, and no pattern about one.
    ///
    /// It looks at every key that the shared tier has, in steps: prefer a tag where there are many. Equal patterns that are
    /// invalidated while one of them is looked for share the next look. [Counters](Self::incr) whose names match are reset as
    /// well.
    pub fn invalidate_pattern(&self, template: &str, parts: &[&(dyn KeyPart + Sync)]) -> Invalidation {
        self.matching(self.filled_in(template, parts, true))
    }

    /// Invalidates everything that has the namespace of this cache, in every tier and process. It looks at every key that
    /// the shared tier has, in steps. Counters of [`incr`](Self::incr) are reset as well, and the memory of the in-process tier
    /// is free when this returns.
    pub fn clear(&self) -> Invalidation {
        Invalidation::new(self.clone(), Ok(Target::Matching(self.shared().everything())))
    }

    fn filled_in(
        &self,
        template: &str,
        parts: &[&(dyn KeyPart + Sync)],
        may_star: bool,
    ) -> Result<String, Error> {
        if let Some(flaw) = flaw(template, parts.len(), may_star) {
            return Err(Error::key(flaw));
        }
        let parts = parts.iter().map(|part| *part as &dyn KeyPart);
        Ok(NameWriter::text(&*self.shared().hasher, |writer| writer.fill_in(template, parts))?)
    }

    pub(crate) fn invalidate_tag_of(&self, parts: &impl Parts) -> Invalidation {
        self.tagged(self.text_of(parts))
    }

    pub(crate) fn invalidate_pattern_of(&self, parts: &impl Parts) -> Invalidation {
        self.matching(self.text_of(parts))
    }

    fn text_of(&self, parts: &impl Parts) -> Result<String, Error> {
        Ok(NameWriter::text(&*self.shared().hasher, |writer| parts.write(writer))?)
    }

    fn tagged(&self, tag: Result<String, Error>) -> Invalidation {
        Invalidation::new(self.clone(), tag.map(|tag| Target::Tag(self.shared().tag_key(&tag))))
    }

    fn matching(&self, pattern: Result<String, Error>) -> Invalidation {
        let target = pattern.and_then(|pattern| {
            // Redis would read them as more than themselves.
            match pattern.find(['?', '[', ']', '\\']) {
                Some(_) => Err(Error::key("a pattern knows `*` only, and none of `? [ ] \\`")),
                None => Ok(Target::Matching(format!("{}:{pattern}", self.shared().namespace))),
            }
        });
        Invalidation::new(self.clone(), target)
    }

    /// In this process: from now on nothing of it is served, and no load that has begun is kept.
    fn evict(&self, targets: &[Target]) {
        if planted!("own-entry-kept") {
            return;
        }
        let marks = &self.shared().marks;
        for target in targets {
            match target {
                Target::Entry(_, entry) => {
                    // The mark first: who looks into L1 after that finds nothing to stand on. Loads of other functions may stand on
                    // the name as well.
                    marks.end(&entry.name.text);
                    marks.end(&own_mark_name(&entry.name.text));
                    self.flights().supersede(&entry.key, || self.l1().remove(&entry.key));
                }
                Target::Tag(key) => {
                    self.shared().said.say(key);
                    marks.end_tag(key);
                }
                Target::Counter(name) => self.local_counters().remove(name),
                Target::Matching(pattern) => {
                    marks.end_matching(pattern);
                    self.local_counters().remove_matching(pattern);
                    if *pattern == self.shared().everything() {
                        // Nothing of it is served any more, so nothing has to be looked at to free it.
                        self.clear_local();
                    }
                }
            }
        }
        if targets.iter().any(|target| matches!(target, Target::Tag(_) | Target::Matching(_))) {
            self.reap();
        }
    }

    /// In a task of its own where there is one: it must not end half-way because its caller goes away.
    fn tell_to_the_end(self, targets: Vec<Target>, is_confirmed: bool) -> Work {
        // What concerns this process only is over at once, so that a function which is not async may wait for it.
        let tells_others = is_confirmed || !self.words(&targets).is_empty();
        let (there, meant) = (self.clone(), targets.clone());
        // Begun here, so that its span is a child of the caller's.
        let mut step = TimedSpan::begin(Span::invalidate(function_of(&targets)), self.clock());
        let work = async move {
            let done = step.around(there.clone().carry_out(targets, is_confirmed)).await;
            step.end(match &done {
                Ok(()) => "ok",
                Err(error) if error.is_not_confirmed() => "not_confirmed",
                Err(_) => "not_propagated",
            });
            done
        };
        match Handle::try_current() {
            Ok(runtime) if tells_others => {
                let job = self.shared().background.begin();
                let task = runtime.spawn(async move {
                    let _job = job;
                    work.await
                });
                let cache = self.clone();
                Box::pin(async move {
                    task.await.unwrap_or_else(|_| {
                        // Its runtime was shut down.
                        cache.remember(&meant);
                        cache.evict(&meant);
                        Err(Error::not_propagated(TierError::Unavailable))
                    })
                })
            }
            _ => Box::pin(work),
        }
    }

    async fn carry_out(self, targets: Vec<Target>, is_confirmed: bool) -> Result<(), Error> {
        let told = self.tell(&targets).await.map_err(Error::not_propagated);
        if !planted!("not-propagated-as-ok") {
            told?;
        }
        if is_confirmed {
            self.shared().tier.confirm().await.map_err(Error::not_confirmed)?;
        }
        Ok(())
    }

    /// Tells the shared tier. What it could not be told is told again later.
    async fn tell(&self, targets: &[Target]) -> Result<(), TierError> {
        self.note_invalidations(targets);
        let told = self.tell_tier(targets).await;
        if told.is_err() {
            self.count_untold(targets);
            self.remember(targets);
        }
        // What was read of the tier before it knew must not stay, and one hears nothing of one's own words.
        self.evict(targets);
        told
    }

    fn count_untold(&self, targets: &[Target]) {
        match targets {
            [Target::Entry(site, _)] => self.count_of(site, Count::NotPropagated),
            _ => self.count(Count::NotPropagated),
        }
    }

    fn note_invalidations(&self, targets: &[Target]) {
        for target in targets {
            match target {
                Target::Entry(site, entry) => self.note(Count::Invalidate, site, entry.key.as_ref()),
                _ => self.note_many(Count::Invalidate),
            }
        }
    }

    async fn tell_tier(&self, targets: &[Target]) -> Result<(), TierError> {
        let words = self.words(targets);
        let (mut keys, mut patterns) = (Vec::new(), Vec::new());
        for word in words {
            match word {
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

    /// What the tier has to be told.
    fn words(&self, targets: &[Target]) -> Vec<OutboxItem> {
        if !self.shared().exists {
            return Vec::new();
        }
        let mut words = Vec::new();
        for target in targets {
            match target {
                Target::Entry(_, entry) if entry.is_shared => {
                    words.push(OutboxItem::Key(entry.name.text.clone()));
                }
                Target::Entry(..) => {}
                Target::Tag(key) | Target::Counter(key) => words.push(OutboxItem::Key(key.clone())),
                Target::Matching(pattern) => words.push(OutboxItem::Matching(pattern.clone())),
            }
        }
        words
    }

    /// Does not read from the tier what it does not know to be invalid, and tells it as soon as it can be told.
    fn remember(&self, targets: &[Target]) {
        for word in self.words(targets) {
            self.shared().pending.add(word, &self.shared().everything());
        }
        self.tell_again();
    }

    /// The shared tier may have an outdated value of this entry: it is not read, but removed.
    pub(crate) fn forget_shared(&self, entry: Option<EntryKey>) {
        if let Some(entry) = entry.filter(|entry| entry.is_shared && self.shared().exists) {
            self.shared().pending.add(OutboxItem::Key(entry.name.text.clone()), &self.shared().everything());
            self.tell_again();
        }
    }
}
