//! The path of one call, top to bottom: key, L1, single-flight, L2, load, fill.

pub(crate) mod aside;
pub(crate) mod context;
pub(crate) mod control;
pub(crate) mod fill_right;
pub(crate) mod join;
pub(crate) mod keep_warm;
pub(crate) mod lead;
pub(crate) mod load;
pub(crate) mod publish;
pub(crate) mod renew;
pub(crate) mod run;

use std::{cell::RefCell, collections::HashMap, future::Future, sync::Arc};

use crate::{
    cache::{
        Absent, Cache, Mode as CacheMode,
        invalidation::{Invalidation, Target},
    },
    call::{
        context::{CallContext, Local},
        control::{CacheOutcome, Reason, Reply, Terms},
        lead::bypass,
        load::{Load, Panicked},
    },
    error::Error,
    key::{WriteKey, entry_key::EntryKey, with_identity},
    l1::{entry::Entry, hot_keys::Renewer},
    l2::{lookup::Acceptable, tags::Tags},
    spec::FunctionSpec,
    telemetry::stats::Count,
    value::policy::ValuePolicy,
    warm::report::Warmed,
};

/// What generated code knows of a function besides its arguments.
pub struct CallSpec<R> {
    /// Where the function stands.
    pub site: &'static FunctionSpec,
    /// The return type with the policies. Called on a miss.
    pub shape: fn() -> Arc<dyn ValuePolicy<R>>,
}

impl<R> Clone for CallSpec<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for CallSpec<R> {}

/// A call that has to go further than L1.
pub(crate) struct PreparedCall {
    pub(crate) cache: Cache,
    pub(crate) site: FunctionSpec,
    pub(crate) entry: Result<EntryKey, Error>,
    /// Keeps the key warm, if a hit makes it one of the most used.
    pub(crate) keeper: Option<Arc<dyn Renewer>>,
    /// L1 was found to have nothing.
    pub(crate) is_absent: bool,
}

/// Steps 1 and 2 of a plain call: encode the key into this thread's buffer, and look into L1. What `take` makes of an
/// entry ends the call, without an allocation.
#[allow(clippy::inline_always, reason = "what is known of the site then needs no look at it")]
#[inline(always)]
pub(crate) fn hit<T>(
    cache: &Cache,
    site: &FunctionSpec,
    parts: &impl WriteKey,
    take: impl Fn(&Arc<Entry>) -> Option<T>,
) -> Result<T, Absent> {
    if cache.mode() == CacheMode::Off {
        return Err(Absent(false));
    }
    cache.hit(site, parts, take)
}

/// Names the function, the type and the version of the value. The digest is made once in each thread, and not for each miss.
pub(crate) fn schema<R>(plan: CallSpec<R>) -> u64 {
    type Known = HashMap<(usize, u64), u64, foldhash::fast::RandomState>;
    thread_local!(static KNOWN: RefCell<Known> = RefCell::default());
    // Shapes that are made by the same code are the same.
    let known_as = (plan.shape as usize, plan.site.print());
    let known = || KNOWN.try_with(|known| known.borrow().get(&known_as).copied());
    known().ok().flatten().unwrap_or_else(|| {
        // Policies are the user's code: not under the borrow.
        let schema = (plan.shape)().schema(plan.site);
        let _ = KNOWN.try_with(|known| known.borrow_mut().insert(known_as, schema));
        schema
    })
}

impl PreparedCall {
    /// Step 1 alone, for what goes further than L1. Not a part of the hit's code, which has to be small to be inlined into
    /// its caller.
    #[cold]
    pub(crate) fn new(
        cache: &Cache,
        site: &FunctionSpec,
        parts: &dyn WriteKey,
        schema: impl FnOnce() -> u64,
    ) -> Self {
        let key = with_identity(site, parts, |key| key.owned());
        let entry = key.and_then(|key| cache.entry(site, key, parts, schema));
        Self { cache: cache.clone(), site: *site, entry, keeper: None, is_absent: false }
    }

    pub(crate) fn add_tags(&mut self, write: impl FnOnce(&mut Tags<'_>) -> Result<(), Error>) {
        let Ok(entry) = &mut self.entry else { return };
        if let Err(error) = write(&mut Tags::new(self.cache.shared(), &mut entry.tags)) {
            self.entry = Err(error);
        }
    }

    /// The rest of a call that missed L1. What this makes at once has no place in the future.
    pub(crate) fn run<R, F: Future<Output = R>>(
        self,
        terms: Terms,
        shape: Arc<dyn ValuePolicy<R>>,
        load: Load<R, F>,
    ) -> impl Future<Output = Result<Reply<R>, Panicked>> {
        let Self { cache, site, entry, keeper, is_absent } = self;
        // Boxed, so that loads inside of loads do not add up on the stack.
        let desk = match entry {
            _ if !terms.on || cache.mode() == CacheMode::Off => Err(Box::new((cache, site, Reason::Off))),
            Err(_) => {
                cache.count_of(&site, Count::KeyRefused);
                Err(Box::new((cache, site, Reason::Key)))
            }
            Ok(entry) => Ok(Box::new(CallContext { cache, site, entry, terms, shape, wants: load.wants() })),
        };
        async move {
            match desk {
                Ok(desk) => desk.run(keeper, is_absent, load).await,
                Err(off) => {
                    let (cache, site, reason) = &*off;
                    Ok(Box::pin(bypass(cache, site, *reason, load)).await)
                }
            }
        }
    }

    /// Sees to it that there is a value, and lets go of it. `shape` is called for twice.
    pub(crate) async fn warm<R, F: Future<Output = R>>(
        self,
        terms: Terms,
        shape: impl Fn() -> Arc<dyn ValuePolicy<R>>,
        load: Load<R, F>,
    ) -> Warmed {
        if self.cache.mode() == CacheMode::Off || self.entry.is_err() {
            // A load would be for nothing.
            return Warmed::Skipped;
        }
        let Ok(Reply { value, outcome }) = self.run(terms, shape(), load).await else {
            return Warmed::Panicked;
        };
        if shape().has_failed(value) {
            return Warmed::Failed;
        }
        match outcome {
            CacheOutcome::Hit { .. } | CacheOutcome::Stale { .. } => Warmed::Present,
            CacheOutcome::Miss => Warmed::Loaded,
            CacheOutcome::Joined => Warmed::Joined,
            CacheOutcome::Bypass(_) => Warmed::Skipped,
        }
    }

    /// What the tiers have, without a load and without a trace in them.
    pub(crate) async fn find<R>(self, terms: Terms, shape: Arc<dyn ValuePolicy<R>>) -> Option<Reply<R>> {
        let Self { cache, site, entry, .. } = self;
        if !terms.on || cache.mode() == CacheMode::Off {
            return None;
        }
        let entry = entry.ok()?;
        let desk = CallContext { cache, site, entry, terms, shape, wants: Acceptable::Usable };
        match desk.ask_l1() {
            Local::Hit(_, reply) => Some(reply),
            Local::Due(kept) => desk.spare(&kept),
            Local::Suspect(kept) => desk.find(Some(&kept)).await,
            Local::Nothing => desk.find(None).await,
        }
    }

    pub(crate) fn invalidate(self) -> Invalidation {
        let target = self.entry.map(|entry| Target::Entry(self.site, Box::new(entry)));
        Invalidation::new(self.cache, target)
    }
}
