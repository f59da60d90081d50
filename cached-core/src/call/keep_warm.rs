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
        background::give_way,
        clock::{Clock, nanos},
        race::either,
    },
    cache::{Cache, L1Lookup, Mode, WeakCache},
    call::{
        PreparedCall,
        context::CallContext,
        control::Terms,
        load::{BoxedLoad, Spawn},
        run::LoadRun,
    },
    flight::{Leader, Role},
    key::{Key, entry_key::EntryKey},
    l1::{
        entry::Entry,
        hot_keys::{Begun, Candidate, Due, HotPool, Renewer},
    },
    l2::lookup::{Acceptable, LookupOutcome},
    spec::FunctionSpec,
    telemetry::stats::Count,
    value::{erased::ErasedValue, policy::ValuePolicy},
};

/// Pause before the next attempt to renew a key that is being loaded already.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// Repeatable load of the value for certain arguments.
pub struct Recipe<R> {
    make: Box<dyn Fn() -> Option<BoxedLoad<R>> + Send + Sync>,
    spawn: Spawn<R>,
}

impl<R: Send + 'static> Recipe<R> {
    /// Creates a recipe. `make` returns a new load, or `None` if something that it needs is gone.
    pub fn new<F>(make: impl Fn() -> Option<F> + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
    {
        let make = move || Some(Box::pin(make()?) as BoxedLoad<R>);
        Self { make: Box::new(make), spawn: |runtime, lander, future| runtime.spawn(lander.land(future)) }
    }

    /// Returns a renewer of `entry` that loads by this recipe.
    pub(crate) fn keeper(
        self,
        cache: &Cache,
        site: FunctionSpec,
        entry: EntryKey,
        shape: fn() -> Arc<dyn ValuePolicy<R>>,
    ) -> Arc<dyn Renewer> {
        Arc::new(Keeping { cache: cache.downgrade(), site, entry, shape, recipe: self })
    }
}

struct Keeping<R> {
    cache: WeakCache,
    site: FunctionSpec,
    entry: EntryKey,
    shape: fn() -> Arc<dyn ValuePolicy<R>>,
    recipe: Recipe<R>,
}

impl<R> Keeping<R> {
    fn desk(&self, cache: &Cache, wants: Acceptable) -> Box<CallContext<R>> {
        let (cache, entry, shape) = (cache.clone(), self.entry.clone(), (self.shape)());
        Box::new(CallContext { cache, site: self.site, entry, terms: Terms::default(), shape, wants })
    }

    /// Takes the lead of the key's flight, if L1 still has the value of `kept`.
    fn lead(&self, cache: &Cache, kept: &Entry) -> Option<Leader> {
        let Role::Lead(leader) = cache.flights().join(&self.entry.key, false) else { return None };
        // An earlier flight may have ended in between, with a newer value.
        match cache.look(&self.site, self.entry.key.as_ref()) {
            L1Lookup::Fresh(now, _) | L1Lookup::Due(now) | L1Lookup::Suspect(now)
                if Arc::ptr_eq(&now.slot, &kept.slot) =>
            {
                Some(leader)
            }
            _ => None,
        }
    }
}

impl<R: Send + 'static> Renewer for Keeping<R> {
    fn site(&self) -> &FunctionSpec {
        &self.site
    }

    fn is_value(&self, slot: &dyn ErasedValue) -> bool {
        (self.shape)().is_value(slot)
    }

    fn load(&self, kept: Arc<Entry>, runtime: &Handle) -> Begun {
        let Some(cache) = self.cache.upgrade() else { return Begun::Never };
        let Some(leader) = self.lead(&cache, &kept) else { return Begun::UnderWay };
        let Some(future) = (self.recipe.make)() else { return Begun::Never };
        // A value of another process is acceptable, unless it is the one that is to be replaced.
        let wants = Acceptable::Another(kept.stamp);
        let lander = LoadRun::replacing(self.desk(&cache, wants), wants, leader, kept);
        drop((self.recipe.spawn)(runtime, lander, future));
        Begun::Yes
    }

    fn find(&self, kept: Arc<Entry>) -> Option<Pin<Box<dyn Future<Output = bool> + Send>>> {
        let cache = self.cache.upgrade()?;
        let leader = self.lead(&cache, &kept)?;
        let desk = self.desk(&cache, Acceptable::Usable);
        Some(Box::pin(async move {
            if !desk.asks_l2() {
                return false;
            }
            let answer = leader.watch(Box::pin(desk.seek().find(Some(&kept)))).await;
            let Ok(Some(LookupOutcome::Hit(found))) = answer else { return false };
            desk.land_found(leader, found);
            true
        }))
    }
}

impl PreparedCall {
    /// Adds the renewer of the key, if the next use may make the key one of the most used.
    pub(crate) fn kept_by<R: Send + 'static>(
        &mut self,
        shape: fn() -> Arc<dyn ValuePolicy<R>>,
        recipe: impl FnOnce() -> Recipe<R>,
    ) {
        if let Ok(entry) = &self.entry
            && let L1Lookup::Fresh(kept, _) = self.cache.look(&self.site, entry.key.as_ref())
            && let Some(heat) = kept.heat()
            && heat.is_near()
        {
            self.keeper = Some(recipe().keeper(&self.cache, self.site, entry.clone(), shape));
        }
    }

    /// Proposes the key as one of the most used of its function.
    pub(crate) fn keep_warm<R: Send + 'static>(
        self,
        kept: &Entry,
        shape: fn() -> Arc<dyn ValuePolicy<R>>,
        recipe: Recipe<R>,
    ) {
        let Self { cache, site, entry, .. } = self;
        let Ok(entry) = entry else { return };
        let key = entry.key.clone();
        cache.keep_warm(&site, &key, kept, recipe.keeper(&cache, site, entry, shape));
    }
}

impl Cache {
    /// Proposes a key to the pool of its function, and starts the task of the pool if there is none.
    pub(crate) fn keep_warm(&self, site: &FunctionSpec, key: &Key, kept: &Entry, keeper: Arc<dyn Renewer>) {
        let (Some(heat), Ok(runtime)) = (kept.heat(), Handle::try_current()) else { return };
        let candidate = Candidate { key, heat, meta: kept.slot.meta(), keeper };
        let hot = self.l1().hot_keys().of(site.template());
        let (cache, clock) = (self.downgrade(), self.clock().clone());
        hot.admit(candidate, site.warm_keys(), |pool| {
            let runs_on = runtime.clone();
            runtime.spawn(async move { run(&cache, &pool, &clock, &runs_on).await });
        });
    }
}

/// Renews keys when they are due, until none is left or the cache is dropped.
async fn run(cache: &WeakCache, pool: &Arc<HotPool>, clock: &Clock, runtime: &Handle) {
    loop {
        let mut changed = pin!(pool.changed.notified());
        changed.as_mut().enable();
        let Some(moment) = pool.next() else { return };
        if moment > clock.now() {
            if cache.upgrade().is_none() {
                return;
            }
            either(changed, clock.until(moment)).await;
            continue;
        }
        {
            let Some(cache) = cache.upgrade() else { return };
            if let Some(due) = pool.begin(clock.now()) {
                renew(&cache, pool, &due, runtime);
            }
        }
        give_way().await;
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
    let kept = match cache.look(due.keeper.site(), due.key.as_ref()) {
        L1Lookup::Fresh(kept, _) | L1Lookup::Due(kept) | L1Lookup::Suspect(kept) => kept,
        // The next call for the key loads it.
        L1Lookup::Nothing => return false,
    };
    let stays = cache.mode() != Mode::Off && due.keeper.is_value(&*kept.slot);
    if !stays || !pool.settle(due, now, kept.slot.meta().life()) {
        return false;
    }
    if let Some(moment) = kept.rests(now) {
        pool.postpone(due, moment);
        return true;
    }
    if !kept.claim.is_intact() {
        let Some(finding) = due.keeper.find(kept) else { return true };
        let (pool, due) = (Arc::downgrade(pool), due.clone());
        runtime.spawn(async move {
            let has_found = finding.await;
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
    match due.keeper.load(kept, runtime) {
        Begun::Yes => cache.count_of(due.keeper.site(), Count::KeptWarm),
        Begun::UnderWay => pool.postpone(due, now.saturating_add(nanos(UNDER_WAY))),
        Begun::Never => return false,
    }
    true
}
