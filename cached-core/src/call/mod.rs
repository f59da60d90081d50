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
    pub spec: &'static FunctionSpec,
    /// Creates the policies of the return type. Called on a miss.
    pub new_policy: fn() -> Arc<dyn ValuePolicy<R>>,
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
    pub(crate) spec: FunctionSpec,
    pub(crate) entry_key: Result<EntryKey, Error>,
    /// Renewer of the key, which is registered if a hit makes the key one of the most used.
    pub(crate) renewer: Option<Arc<dyn Renewer>>,
    /// L1 was found to have no entry, and is not asked again.
    pub(crate) is_absent: bool,
}

/// Takes steps 1 and 2 of a plain call: writes the key, and looks into L1.
///
/// The key is written into a buffer of this thread. If `take` returns a value for the entry, the call ends
/// with it, without an allocation.
#[allow(clippy::inline_always, reason = "the compiler then folds the constant fields of the `FunctionSpec`")]
#[inline(always)]
pub(crate) fn hit<T>(
    cache: &Cache,
    spec: &FunctionSpec,
    parts: &impl WriteKey,
    take: impl Fn(&Arc<Entry>) -> Option<T>,
) -> Result<T, Absent> {
    if cache.mode() == CacheMode::Off {
        return Err(Absent(false));
    }
    cache.hit(spec, parts, take)
}

/// Returns the fingerprint of the function, the type and the version of the value.
///
/// Each thread computes it once, instead of once per miss.
pub(crate) fn schema<R>(call_spec: CallSpec<R>) -> u64 {
    type Schemas = HashMap<(usize, u64), u64, foldhash::fast::RandomState>;
    thread_local!(static SCHEMAS: RefCell<Schemas> = RefCell::default());
    // Constructors at one address run the same code, and so create equal policies.
    let schema_key = (call_spec.new_policy as usize, call_spec.spec.fingerprint());
    let cached_schema = || SCHEMAS.try_with(|schemas| schemas.borrow().get(&schema_key).copied());
    cached_schema().ok().flatten().unwrap_or_else(|| {
        // Policies run user code, so they are not called under the borrow.
        let schema = (call_spec.new_policy)().schema(call_spec.spec);
        let _ = SCHEMAS.try_with(|schemas| schemas.borrow_mut().insert(schema_key, schema));
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
        spec: &FunctionSpec,
        parts: &dyn WriteKey,
        schema: impl FnOnce() -> u64,
    ) -> Self {
        let key = with_identity(spec, parts, |key| key.owned());
        let entry_key = key.and_then(|key| cache.entry_key(spec, key, parts, schema));
        Self { cache: cache.clone(), spec: *spec, entry_key, renewer: None, is_absent: false }
    }

    /// Adds the tags of the call. If one cannot be written, the key counts as refused.
    pub(crate) fn add_tags(&mut self, write: impl FnOnce(&mut Tags<'_>) -> Result<(), Error>) {
        let Ok(entry_key) = &mut self.entry_key else { return };
        if let Err(error) = write(&mut Tags::new(self.cache.shared(), &mut entry_key.tags)) {
            self.entry_key = Err(error);
        }
    }

    /// Takes the remaining steps of a call.
    ///
    /// The context is built before the future is created, so that its parts take no space in the future.
    pub(crate) fn run<R, F: Future<Output = R>>(
        self,
        terms: Terms,
        policy: Arc<dyn ValuePolicy<R>>,
        load: Load<R, F>,
    ) -> impl Future<Output = Result<Reply<R>, Panicked>> {
        let Self { cache, spec, entry_key, renewer, is_absent } = self;
        // Boxed, so that nested loads do not add up on the stack.
        let context = match entry_key {
            _ if !terms.enabled || cache.mode() == CacheMode::Off => {
                Err(Box::new((cache, spec, Reason::Off)))
            }
            Err(_) => {
                cache.count_of(&spec, Count::KeyRefused);
                Err(Box::new((cache, spec, Reason::Key)))
            }
            Ok(entry_key) => Ok(Box::new(CallContext {
                cache,
                spec,
                entry_key,
                terms,
                policy,
                acceptable: load.acceptable(),
            })),
        };
        async move {
            match context {
                Ok(context) => context.run(renewer, is_absent, load).await,
                Err(bypassed) => {
                    let (cache, spec, reason) = &*bypassed;
                    Ok(Box::pin(bypass(cache, spec, *reason, load)).await)
                }
            }
        }
    }

    /// Ensures that the value is cached, and discards it. Calls `new_policy` twice.
    pub(crate) async fn warm<R, F: Future<Output = R>>(
        self,
        terms: Terms,
        new_policy: impl Fn() -> Arc<dyn ValuePolicy<R>>,
        load: Load<R, F>,
    ) -> Warmed {
        if self.cache.mode() == CacheMode::Off || self.entry_key.is_err() {
            // The value could not be stored, so a load would be useless.
            return Warmed::Skipped;
        }
        let Ok(Reply { value, outcome }) = self.run(terms, new_policy(), load).await else {
            return Warmed::Panicked;
        };
        if new_policy().is_error_result(value) {
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
    pub(crate) async fn find<R>(self, terms: Terms, policy: Arc<dyn ValuePolicy<R>>) -> Option<Reply<R>> {
        let Self { cache, spec, entry_key, .. } = self;
        if !terms.enabled || cache.mode() == CacheMode::Off {
            return None;
        }
        let entry_key = entry_key.ok()?;
        let context = CallContext { cache, spec, entry_key, terms, policy, acceptable: Acceptable::Usable };
        match context.lookup_l1() {
            Local::Hit(_, reply) => Some(reply),
            Local::Due(entry) => context.fallback_reply(&entry),
            Local::Suspect(entry) => context.find(Some(&entry)).await,
            Local::Nothing => context.find(None).await,
        }
    }

    /// Returns the invalidation of the entry, which has not begun.
    pub(crate) fn invalidate(self) -> Invalidation {
        let target =
            self.entry_key.map(|entry_key| InvalidationTarget::Entry(self.spec, Box::new(entry_key)));
        Invalidation::new(self.cache, target)
    }
}
