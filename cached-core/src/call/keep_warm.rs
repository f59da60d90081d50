//! The most used keys of a function are loaded again before they expire, although nobody asks for them in that moment.
//!
//! One task of a cache and a function does it. It has all that it works with, copies of arguments included, and knows the
//! cache weakly: it ends with its runtime, when the cache is dropped, and when no key is used any more.

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
    cache::{Cache, Looked, Mode, WeakCache},
    call::{PreparedCall, context::CallContext, control::Terms, load::Spawn, run::LoadRun},
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

/// When to look again after a load that has not ended.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// How to load the value for certain arguments again and again.
pub struct Recipe<R> {
    make: Box<dyn Fn() -> Option<Boxed<R>> + Send + Sync>,
    spawn: Spawn<R>,
}

type Boxed<R> = Pin<Box<dyn Future<Output = R> + Send>>;

impl<R: Send + 'static> Recipe<R> {
    /// `make` returns a new load, unless what it needs is gone.
    pub fn new<F>(make: impl Fn() -> Option<F> + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
    {
        let make = move || Some(Box::pin(make()?) as Boxed<R>);
        Self { make: Box::new(make), spawn: |runtime, lander, future| runtime.spawn(lander.land(future)) }
    }

    /// For the entry of these arguments.
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

    /// The lead of a flight, if `kept` is still what there is.
    fn lead(&self, cache: &Cache, kept: &Entry) -> Option<Leader> {
        let Role::Lead(leader) = cache.flights().join(&self.entry.key, false) else { return None };
        // The flight before this one may have ended in between.
        match cache.look(&self.site, self.entry.key.as_ref()) {
            Looked::Fresh(now, _) | Looked::Due(now) | Looked::Suspect(now)
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
        // A value of another process will do, if it is another one than this.
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
    /// Adds what keeps its key warm, if its next use may make that one of the most used.
    pub(crate) fn kept_by<R: Send + 'static>(
        &mut self,
        shape: fn() -> Arc<dyn ValuePolicy<R>>,
        recipe: impl FnOnce() -> Recipe<R>,
    ) {
        if let Ok(entry) = &self.entry
            && let Looked::Fresh(kept, _) = self.cache.look(&self.site, entry.key.as_ref())
            && let Some(heat) = kept.heat()
            && heat.is_near()
        {
            self.keeper = Some(recipe().keeper(&self.cache, self.site, entry.clone(), shape));
        }
    }

    /// From now on, the key is one of the most used.
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

/// Until there is nothing to keep warm any more.
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

/// Renews one key, or lets go of it.
fn renew(cache: &Cache, pool: &Arc<HotPool>, due: &Due, runtime: &Handle) {
    // Copies of arguments are the user's code.
    let renewed = catch_unwind(AssertUnwindSafe(|| try_renew(cache, pool, due, runtime)));
    if !renewed.unwrap_or(false) {
        drop(pool.remove(&due.key));
    }
}

/// Whether the key stays.
fn try_renew(cache: &Cache, pool: &Arc<HotPool>, due: &Due, runtime: &Handle) -> bool {
    let now = cache.clock().now();
    let kept = match cache.look(due.keeper.site(), due.key.as_ref()) {
        Looked::Fresh(kept, _) | Looked::Due(kept) | Looked::Suspect(kept) => kept,
        // It is loaded again when somebody asks for it.
        Looked::Nothing => return false,
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
                // Unless it is a new value, it is still to be renewed.
                pool.postpone(&due, now);
            } else {
                // It was invalidated.
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
