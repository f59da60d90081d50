//! Renewal of a function's most used keys before they expire, without a call for them.
//!
//! One task for each cache and function renews the keys. It owns everything that it works with, copies of
//! arguments included, and holds the cache weakly. It ends with its runtime, when the cache is dropped, and
//! when no key is used any more.
//!
//! `l1::hot_keys` decides which keys are renewed, and when. A renewal is a load like any other: see `run`.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    base::{
        background::yield_now,
        clock::{Clock, nanos},
        race::either,
    },
    cache::{Cache, L1Lookup, Mode, WeakCache},
    call::{
        NewPolicy, PreparedCall,
        context::CallContext,
        control::Terms,
        load::{BoxedLoad, TaskBody, erase_body},
        run::LoadRun,
    },
    flight::{Leader, Role},
    key::{OwnedKey, entry_key::EntryKey},
    l1::{
        entry::Entry,
        hot_keys::{Candidate, Due, HotPool, LoadStart, Renewer},
    },
    l2::lookup::{Acceptable, LookupOutcome},
    spec::FunctionSpec,
    telemetry::stats::Count,
    value::{erased::ErasedValue, policy::ValuePolicy},
};

/// Pause before the next attempt to renew a key that is being loaded already.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Repeatable load of the value for certain arguments.
pub struct Recipe<R>(Box<dyn Fn() -> Option<BoxedLoad<R>> + Send + Sync>);

impl<R: Send + 'static> Recipe<R> {
    /// Creates a recipe. `make` returns a new load, or `None` if something that it needs is gone.
    pub fn new<F>(make: impl Fn() -> Option<F> + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
    {
        Self(Box::new(move || Some(Box::pin(make()?) as BoxedLoad<R>)))
    }
}

/// A key that is kept warm, and its load.
struct Keeping {
    cache: WeakCache,
    spec: FunctionSpec,
    entry_key: EntryKey,
    policy: Arc<dyn ValuePolicy>,
    make: Box<dyn Fn() -> Option<Box<dyn TaskBody>> + Send + Sync>,
}

impl Keeping {
    fn context(&self, cache: &Cache, acceptable: Acceptable) -> Box<CallContext> {
        let (cache, entry_key, policy) = (cache.clone(), self.entry_key.clone(), self.policy.clone());
        Box::new(CallContext {
            cache,
            spec: self.spec,
            entry_key,
            terms: Terms::default(),
            policy: Some(policy),
            refusal: None,
            acceptable,
            renewer: None,
            is_absent: false,
        })
    }

    /// Takes the lead of the key's flight, if L1 still has the value of `entry`.
    fn try_lead(&self, cache: &Cache, entry: &Entry) -> Option<Leader> {
        let Role::Lead(leader) = cache.flights().join(&self.entry_key.key, false) else { return None };
        // An earlier flight may have ended in between, with a newer value.
        match cache.lookup(&self.spec, self.entry_key.key.as_ref()) {
            L1Lookup::Fresh(current, _) | L1Lookup::Due(current) | L1Lookup::Suspect(current)
                if Arc::ptr_eq(&current.erased, &entry.erased) =>
            {
                Some(leader)
            }
            _ => None,
        }
    }
}

impl Renewer for Keeping {
    fn spec(&self) -> &FunctionSpec {
        &self.spec
    }

    fn is_value(&self, erased: &dyn ErasedValue) -> bool {
        self.policy.is_value(erased)
    }

    fn load(&self, entry: Arc<Entry>, runtime: &Handle) -> LoadStart {
        let Some(cache) = self.cache.upgrade() else { return LoadStart::Impossible };
        let Some(leader) = self.try_lead(&cache, &entry) else { return LoadStart::UnderWay };
        let Some(body) = (self.make)() else { return LoadStart::Impossible };
        // A value of another process is acceptable, unless it is the one that is to be replaced.
        let acceptable = Acceptable::Another(entry.revision());
        let load_run = LoadRun::replacing(self.context(&cache, acceptable), acceptable, leader, entry);
        drop(runtime.spawn(load_run.run(body)));
        LoadStart::Started
    }

    fn find_newer(&self, entry: Arc<Entry>) -> Option<Pin<Box<dyn Future<Output = bool> + Send>>> {
        let cache = self.cache.upgrade()?;
        let leader = self.try_lead(&cache, &entry)?;
        let context = self.context(&cache, Acceptable::Usable);
        Some(Box::pin(async move {
            if !context.uses_l2() {
                return false;
            }
            let answer = leader.run(Box::pin(context.shared_lookup().find(Some(&entry)))).await;
            let Ok(Some(LookupOutcome::Hit(found))) = answer else { return false };
            context.land_found(leader, found);
            true
        }))
    }
}

impl CallContext {
    fn renewer_by<R: Send + 'static>(&self, new_policy: NewPolicy<R>, recipe: Recipe<R>) -> Arc<dyn Renewer> {
        let policy = new_policy();
        let make = Box::new(move || Some(erase_body(recipe.0()?, new_policy())));
        let (cache, entry_key) = (self.cache.downgrade(), self.entry_key.clone());
        Arc::new(Keeping { cache, spec: self.spec, entry_key, policy, make })
    }
}

impl PreparedCall {
    /// Adds the renewer of the key, if the next use may make the key one of the most used.
    pub(crate) fn add_renewer<R: Send + 'static>(
        &mut self,
        new_policy: NewPolicy<R>,
        recipe: impl FnOnce() -> Recipe<R>,
    ) {
        let context = &mut self.0;
        if context.refusal.is_none()
            && let L1Lookup::Fresh(entry, _) =
                context.cache.lookup(&context.spec, context.entry_key.key.as_ref())
            && let Some(heat) = entry.heat()
            && heat.next_use_may_enter()
        {
            context.renewer = Some(context.renewer_by(new_policy, recipe()));
        }
    }

    /// Proposes the key as one of the most used of its function.
    pub(crate) fn keep_warm<R: Send + 'static>(
        self,
        entry: &Entry,
        new_policy: NewPolicy<R>,
        recipe: Recipe<R>,
    ) {
        let context = self.0;
        if context.refusal.is_some() {
            return;
        }
        let renewer = context.renewer_by(new_policy, recipe);
        context.cache.keep_warm(&context.spec, &context.entry_key.key, entry, renewer);
    }
}

impl Cache {
    /// Proposes a key to the pool of its function, and starts the task of the pool if there is none.
    pub(crate) fn keep_warm(
        &self,
        spec: &FunctionSpec,
        key: &OwnedKey,
        entry: &Entry,
        renewer: Arc<dyn Renewer>,
    ) {
        let (Some(heat), Ok(runtime)) = (entry.heat(), Handle::try_current()) else { return };
        let candidate = Candidate { key, heat, freshness: entry.erased.freshness(), renewer };
        let hot_keys = self.l1().hot_keys().of(spec.template());
        let (cache, clock) = (self.downgrade(), self.clock().clone());
        hot_keys.admit(candidate, spec.warm_keys(), |pool| {
            let handle = runtime.clone();
            runtime.spawn(async move { run(&cache, &pool, &clock, &handle).await });
        });
    }
}

/// Renews keys when they are due, until none is left or the cache is dropped.
async fn run(cache: &WeakCache, pool: &Arc<HotPool>, clock: &Clock, runtime: &Handle) {
    loop {
        let mut changed = pin!(pool.changed.notified());
        changed.as_mut().enable();
        let Some(due_at) = pool.next_or_close() else { return };
        if due_at > clock.now() {
            if cache.upgrade().is_none() {
                return;
            }
            either(changed, clock.sleep_until(due_at)).await;
            continue;
        }
        {
            let Some(cache) = cache.upgrade() else { return };
            if let Some(due) = pool.next_due(clock.now()) {
                renew(&cache, pool, &due, runtime);
            }
        }
        yield_now().await;
    }
}

/// Renews one key, or removes it from the pool.
fn renew(cache: &Cache, pool: &Arc<HotPool>, due: &Due, runtime: &Handle) {
    // Copying the arguments runs user code, which may panic.
    let renewed = catch_unwind(AssertUnwindSafe(|| try_renew(cache, pool, due, runtime)));
    if !renewed.unwrap_or(false) {
        drop(pool.remove(&due.key));
    }
}

/// Renews one key. Returns whether the key stays in the pool.
fn try_renew(cache: &Cache, pool: &Arc<HotPool>, due: &Due, runtime: &Handle) -> bool {
    let now = cache.clock().now();
    let entry = match cache.lookup(due.renewer.spec(), due.key.as_ref()) {
        L1Lookup::Fresh(entry, _) | L1Lookup::Due(entry) | L1Lookup::Suspect(entry) => entry,
        // The next call for the key loads it.
        L1Lookup::Nothing => return false,
    };
    let stays = cache.mode() != Mode::Off && due.renewer.is_value(&*entry.erased);
    if !stays || !pool.update_score(due, now, entry.erased.freshness().lifetime()) {
        return false;
    }
    if let Some(due_at) = entry.backoff(now) {
        pool.postpone(due, due_at);
        return true;
    }
    if !entry.validity().is_intact() {
        let Some(lookup) = due.renewer.find_newer(entry) else { return true };
        let (pool, due) = (Arc::downgrade(pool), due.clone());
        runtime.spawn(async move {
            let has_found = lookup.await;
            let Some(pool) = pool.upgrade() else { return };
            if has_found {
                // A new value has its own time already. For the same value, the key is still to be renewed.
                pool.postpone(&due, now);
            } else {
                // The value was invalidated.
                drop(pool.remove(&due.key));
            }
        });
        return true;
    }
    match due.renewer.load(entry, runtime) {
        LoadStart::Started => cache.count_of(due.renewer.spec(), Count::KeptWarm),
        LoadStart::UnderWay => pool.postpone(due, now.saturating_add(nanos(RETRY_PAUSE))),
        LoadStart::Impossible => return false,
    }
    true
}
