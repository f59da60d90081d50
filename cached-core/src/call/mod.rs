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
//! 5. Load (`lead`, `run`, `pending`): the body runs in its turn under `max_loads`, in a task or in the caller.
//! 6. Fill (`publish`): the value goes to L2, L1 and the followers, unless an invalidation overtook the load.
//!
//! Two orders matter. The epochs of all names are taken before L2 is asked, so that an invalidation which
//! overtakes the reply still ends them. The turn comes before the lease, because a lease that waits for a
//! permit of this process would keep all other processes from loading the key.
//!
//! `hit` has steps 1 and 2 of a plain call, `PreparedCall` has the rest. `keep_warm` renews the most used keys
//! without a call.
//!
//! Steps 3 to 6 know neither the body nor the return type, so they are compiled once, and not for each
//! function. They end in a [`Decision`](decision::Decision). `load` has the two types behind traits, and
//! `drive` acts on the decision where the types are known.

pub(crate) mod context;
pub(crate) mod control;
pub(crate) mod decision;
pub(crate) mod drive;
pub(crate) mod fallback;
pub(crate) mod fill_right;
pub(crate) mod join;
pub(crate) mod keep_warm;
pub(crate) mod lead;
pub(crate) mod load;
pub(crate) mod pending;
pub(crate) mod publish;
pub(crate) mod renew;
pub(crate) mod run;

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use tokio::runtime::Handle;

use crate::{
    cache::{
        Absent, Cache, Mode as CacheMode,
        invalidation::{Invalidation, InvalidationTarget},
    },
    call::{
        context::{CallContext, ErasedReply, Local},
        control::{Reason, Terms},
        decision::{Decision, DecisionStep},
        drive::run_task_here,
        load::TaskBody,
    },
    error::Error,
    key::{WriteKey, entry_key::EntryKey, with_identity},
    l1::entry::Entry,
    l2::{lookup::Acceptable, tags::Tags},
    spec::FunctionSpec,
    telemetry::stats::Count,
    value::policy::{ResultPolicy, ValuePolicy},
};

/// Description of a cached function, known to generated code before any call.
pub struct CallSpec<R> {
    /// Static description of the function.
    pub spec: &'static FunctionSpec,
    /// Creates the policies of the return type. Called on a miss.
    pub new_policy: NewPolicy<R>,
}

/// Constructor of the policies of a return type.
pub(crate) type NewPolicy<R> = fn() -> Arc<dyn ResultPolicy<R>>;

impl<R> Clone for CallSpec<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for CallSpec<R> {}

/// A call that goes beyond the hit path, with its key encoded.
///
/// It has missed L1, or has not looked there, such as the call of a companion.
pub(crate) struct PreparedCall(Box<CallContext>);

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
fn schema<R>(call_spec: CallSpec<R>) -> u64 {
    // Constructors at one address run the same code, and so create equal policies.
    let schema_key = (call_spec.new_policy as usize, call_spec.spec.fingerprint());
    // Policies run user code, so they are not called under a borrow.
    cached_schema(schema_key, &|| (call_spec.new_policy)().schema(call_spec.spec))
}

fn cached_schema(schema_key: (usize, u64), compute: &dyn Fn() -> u64) -> u64 {
    type Schemas = HashMap<(usize, u64), u64, foldhash::fast::RandomState>;
    thread_local!(static SCHEMAS: RefCell<Schemas> = RefCell::default());
    let cached_schema = || SCHEMAS.try_with(|schemas| schemas.borrow().get(&schema_key).copied());
    cached_schema().ok().flatten().unwrap_or_else(|| {
        let schema = compute();
        let _ = SCHEMAS.try_with(|schemas| schemas.borrow_mut().insert(schema_key, schema));
        schema
    })
}

impl PreparedCall {
    /// Takes step 1 alone, for a call of a function that goes beyond the hit path.
    ///
    /// Kept out of the code of a hit, of which each function has a copy.
    #[cold]
    pub(crate) fn of_function<R>(
        call_spec: CallSpec<R>,
        cache: &Cache,
        parts: &dyn WriteKey,
        needs_name: bool,
        Absent(is_absent): Absent,
    ) -> Self {
        Self::new(cache, call_spec.spec, parts, needs_name, &|| schema(call_spec), is_absent)
    }

    /// Takes step 1 alone, for a call of a keyspace.
    pub(crate) fn of_keyspace(
        cache: &Cache,
        spec: &FunctionSpec,
        parts: &dyn WriteKey,
        policy: Arc<dyn ValuePolicy>,
        needs_name: bool,
    ) -> Self {
        let mut prepared = Self::new(cache, spec, parts, needs_name, &|| policy.schema(spec), false);
        prepared.set_policy(policy);
        prepared
    }

    fn new(
        cache: &Cache,
        spec: &FunctionSpec,
        parts: &dyn WriteKey,
        needs_name: bool,
        schema: &dyn Fn() -> u64,
        is_absent: bool,
    ) -> Self {
        let key = with_identity(spec, parts, |key| key.owned());
        let entry_key = key.and_then(|key| cache.entry_key(spec, key, parts, needs_name, schema));
        let (entry_key, refusal) = match entry_key {
            Ok(entry_key) => (entry_key, None),
            Err(error) => (EntryKey::refused(spec.template()), Some(error)),
        };
        Self(Box::new(CallContext {
            cache: cache.clone(),
            spec: *spec,
            entry_key,
            terms: Terms::default(),
            policy: None,
            refusal,
            acceptable: Acceptable::Usable,
            renewer: None,
            is_absent,
        }))
    }

    /// Sets the policies of the return type, which the remaining steps need.
    pub(crate) fn set_policy(&mut self, policy: Arc<dyn ValuePolicy>) {
        self.0.policy = Some(policy);
    }

    /// Adds the tags of the call. If one cannot be written, the key counts as refused.
    pub(crate) fn add_tags(&mut self, write: impl FnOnce(&mut Tags<'_>) -> Result<(), Error>) {
        let CallContext { cache, entry_key, refusal, .. } = &mut *self.0;
        if refusal.is_none() {
            *refusal = write(&mut Tags::new(cache.shared(), &mut entry_key.tags)).err();
        }
    }

    /// Returns the key of the entry.
    pub(crate) fn into_key(self) -> Result<EntryKey, Error> {
        let CallContext { entry_key, refusal, .. } = *self.0;
        refusal.map_or(Ok(entry_key), Err)
    }

    /// Takes the remaining steps of a call, up to a load in the caller.
    ///
    /// The body of a `task` runs in a task of its own, or in the caller where there is no runtime. A call that
    /// leads a load in the caller, for this process only, waits for nothing, and is decided at once.
    pub(crate) fn decide(self, terms: Terms, mut task: Option<Box<dyn TaskBody>>) -> DecisionStep {
        let context = self.0;
        let bypass = |reason| Err(Decision::bypass(&context.cache, &context.spec, reason));
        let context = if !terms.enabled || context.cache.mode() == CacheMode::Off {
            bypass(Reason::Off)
        } else if context.refusal.is_some() {
            context.cache.count_of(&context.spec, Count::KeyRefused);
            bypass(Reason::Key)
        } else {
            Ok(context)
        };
        let mut role = None;
        let context = context.and_then(|mut context| {
            context.terms = terms;
            // A stale value is acceptable if a fresh one can be loaded in the background.
            if task.is_none() || Handle::try_current().is_err() {
                context.acceptable = Acceptable::Fresh;
            }
            if task.is_some() {
                return Ok(context);
            }
            context.try_lead_here().map_or_else(
                |(context, first_role)| {
                    role = first_role;
                    Ok(context)
                },
                Err,
            )
        });
        match (context, &task) {
            (Err(decision), None) => DecisionStep::Made(decision),
            (Err(decision), Some(_)) => {
                DecisionStep::Deciding(Box::pin(async move { run_task_here(decision, task).await }))
            }
            (Ok(context), _) => DecisionStep::Deciding(Box::pin(async move {
                let decision = context.run(role, &mut task).await?;
                run_task_here(decision, task).await
            })),
        }
    }

    /// Returns whether a value could be stored. Otherwise, a load to warm the cache would be useless.
    pub(crate) fn may_store(&self) -> bool {
        self.0.refusal.is_none() && self.0.cache.mode() != CacheMode::Off
    }

    /// Returns the value if a tier has it, without a load and without a fill.
    pub(crate) async fn find(self, terms: Terms) -> Option<ErasedReply> {
        let mut context = self.0;
        if !terms.enabled || context.refusal.is_some() || context.cache.mode() == CacheMode::Off {
            return None;
        }
        context.terms = terms;
        match context.lookup_l1() {
            Local::Hit(_, reply) => Some(reply),
            Local::Due(entry) => context.fallback_reply(&entry),
            Local::Suspect(entry) => context.find(Some(&entry)).await,
            Local::Nothing => context.find(None).await,
        }
    }

    /// Returns the invalidation of the entry, which has not begun.
    pub(crate) fn invalidate(self) -> Invalidation {
        let CallContext { cache, spec, entry_key, refusal, .. } = *self.0;
        let target = refusal.map_or_else(|| Ok(InvalidationTarget::Entry(spec, Box::new(entry_key))), Err);
        Invalidation::new(cache, target)
    }
}
