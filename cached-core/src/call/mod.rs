//! The path of one call: key, L1, single-flight, L2, load, fill.
//!
//! This is the first file to read. A call takes these steps, and most calls end early:
//!
//! 1. Key: the arguments are encoded. An argument that cannot be part of a key makes the call bypass the
//!    cache.
//! 2. L1: a fresh entry ends the call. A due entry is served while it is renewed (`renew`). An entry that is
//!    not proven valid is checked with L2 first.
//! 3. Single-flight (`join`): of the callers that miss a key in this process, one leads and the others
//!    follow.
//! 4. L2 (`context`): the leader asks for the value, or for the right to load and store it (`fill_right`).
//! 5. Load (`lead`, `run`): the body runs in its turn under `max_loads`, in a task (`load`) or in the caller.
//! 6. Fill (`publish`): the value goes to L2, L1 and the followers, unless an invalidation overtook the load.
//!
//! Two orders matter. The epochs of all names are taken before L2 is asked, so that an invalidation which
//! overtakes the reply still ends them. The turn comes before the lease, because a lease that waits for a
//! permit of this process would keep all other processes from loading the key.
//!
//! `hit` has steps 1 and 2 of a plain call, `PreparedCall` has the rest. `aside` runs bodies that are not
//! async, and `keep_warm` renews the most used keys without a call.

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
        invalidation::{Invalidation, InvalidationTarget},
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

/// Description of a cached function, known to generated code before any call.
pub struct CallSpec<R> {
    /// Static description of the function.
    pub site: &'static FunctionSpec,
    /// Creates the policies of the return type. Called on a miss.
    pub shape: fn() -> Arc<dyn ValuePolicy<R>>,
}

impl<R> Clone for CallSpec<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for CallSpec<R> {}

/// A call that goes beyond the hit path, with its key encoded.
///
/// It has missed L1, or has not looked there, such as the call of a companion.
pub(crate) struct PreparedCall {
    pub(crate) cache: Cache,
    pub(crate) site: FunctionSpec,
    pub(crate) entry: Result<EntryKey, Error>,
    /// Renewer of the key, which is registered if a hit makes the key one of the most used.
    pub(crate) keeper: Option<Arc<dyn Renewer>>,
    /// L1 was found to have no entry, and is not asked again.
    pub(crate) is_absent: bool,
}

/// Takes steps 1 and 2 of a plain call: writes the key, and looks into L1.
///
/// The key is written into a buffer of this thread. If `take` returns a value for the entry, the call ends
/// with it, without an allocation.
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

/// Returns the fingerprint of the function, the type and the version of the value.
///
/// Each thread computes it once, instead of once per miss.
pub(crate) fn schema<R>(plan: CallSpec<R>) -> u64 {
    type Known = HashMap<(usize, u64), u64, foldhash::fast::RandomState>;
    thread_local!(static KNOWN: RefCell<Known> = RefCell::default());
    // Constructors at one address run the same code, and so create equal policies.
    let known_as = (plan.shape as usize, plan.site.print());
    let known = || KNOWN.try_with(|known| known.borrow().get(&known_as).copied());
    known().ok().flatten().unwrap_or_else(|| {
        // Policies run user code, so they are not called under the borrow.
        let schema = (plan.shape)().schema(plan.site);
        let _ = KNOWN.try_with(|known| known.borrow_mut().insert(known_as, schema));
        schema
    })
}

impl PreparedCall {
    /// Takes step 1 alone, for a call that goes beyond the hit path.
    ///
    /// Kept out of the code of a hit, which must be small enough to be inlined into its caller.
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

    /// Adds the tags of the call. If one cannot be written, the key counts as refused.
    pub(crate) fn add_tags(&mut self, write: impl FnOnce(&mut Tags<'_>) -> Result<(), Error>) {
        let Ok(entry) = &mut self.entry else { return };
        if let Err(error) = write(&mut Tags::new(self.cache.shared(), &mut entry.tags)) {
            self.entry = Err(error);
        }
    }

    /// Takes the remaining steps of a call.
    ///
    /// The context is built before the future is created, so that its parts take no space in the future.
    pub(crate) fn run<R, F: Future<Output = R>>(
        self,
        terms: Terms,
        shape: Arc<dyn ValuePolicy<R>>,
        load: Load<R, F>,
    ) -> impl Future<Output = Result<Reply<R>, Panicked>> {
        let Self { cache, site, entry, keeper, is_absent } = self;
        // Boxed, so that nested loads do not add up on the stack.
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

    /// Ensures that the value is cached, and discards it. Calls `shape` twice.
    pub(crate) async fn warm<R, F: Future<Output = R>>(
        self,
        terms: Terms,
        shape: impl Fn() -> Arc<dyn ValuePolicy<R>>,
        load: Load<R, F>,
    ) -> Warmed {
        if self.cache.mode() == CacheMode::Off || self.entry.is_err() {
            // The value could not be stored, so a load would be useless.
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

    /// Returns the value if a tier has it, without a load and without a fill.
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

    /// Returns the invalidation of the entry, which has not begun.
    pub(crate) fn invalidate(self) -> Invalidation {
        let target = self.entry.map(|entry| InvalidationTarget::Entry(self.site, Box::new(entry)));
        Invalidation::new(self.cache, target)
    }
}
