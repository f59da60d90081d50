//! Which keys of a function are used most.
//!
//! Each entry counts its uses. A hit that is the first, the second, the fourth, the eighth.. of its entry may bring the key
//! into the pool of its function: if there is room, or in the place of one that is used less. What a key has there is halved
//! at each renewal, so that yesterday's uses count for nothing soon, and who was not used since its last two
//! renewals goes. A use counts against the load that it takes: of two keys that are used alike, the one that lives longer
//! is worth more.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify};

use crate::{
    base::clock::{Nanos, nanos},
    key::{BuildPrehashed, Key},
    l1::{entry::Entry, heat::Heat},
    spec::FunctionSpec,
    value::{
        erased::{ErasedValue, Freshness},
        policy::random,
    },
};

/// Whoever was not used since so many renewals is not renewed any more.
const IDLE: u8 = 2;

/// When to look after a renewal that has begun.
const RETRY: Duration = Duration::from_secs(1);

/// The most used keys of each function that keeps keys warm, by its template.
#[derive(Default)]
pub(crate) struct HotKeys(RwLock<HashMap<&'static str, Arc<FunctionHotKeys>, foldhash::fast::RandomState>>);

impl HotKeys {
    pub(crate) fn of(&self, template: &'static str) -> Arc<FunctionHotKeys> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(template).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(template).or_default().clone()
        })
    }

    /// Makes each task look whether the cache is still there.
    pub(crate) fn wake(&self) {
        let all: Vec<_> = self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for hot in all {
            hot.wake();
        }
    }
}

/// Renews one entry.
pub(crate) trait Renewer: Send + Sync {
    fn site(&self) -> &FunctionSpec;

    /// Whether a slot of this function holds a value, and not an error.
    fn is_value(&self, slot: &dyn ErasedValue) -> bool;

    /// Loads it again, unless another process has.
    fn load(&self, kept: Arc<Entry>, runtime: &Handle) -> Begun;

    /// Something was said of it: looks for a newer value. `None` if it is being loaded. Otherwise the future tells whether
    /// there is one.
    fn find(&self, kept: Arc<Entry>) -> Option<Pin<Box<dyn Future<Output = bool> + Send>>>;
}

/// What came of beginning a load.
pub(crate) enum Begun {
    /// It runs.
    Yes,
    /// There is one already, or there is a newer value.
    UnderWay,
    /// What it needs is gone.
    Never,
}

/// The most used keys of one function. The task that renews them has the pool, so that it ends with its runtime.
#[derive(Default)]
pub(crate) struct FunctionHotKeys {
    pool: Mutex<Weak<HotPool>>,
    /// As [`HotPool::floor`]; 0 if there is no pool.
    floor: Arc<AtomicU32>,
}

impl FunctionHotKeys {
    fn weak(&self) -> MutexGuard<'_, Weak<HotPool>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> Option<Arc<HotPool>> {
        self.weak().upgrade()
    }

    /// What counts the uses of an entry that takes the place of another one, with its dates if its value is `new`.
    pub(crate) fn follow(&self, key: &Key, before: Option<Arc<Heat>>, new: Option<&Freshness>) -> Arc<Heat> {
        if let Some(heat) = self.pool().and_then(|pool| pool.follow(key, new)) {
            return heat;
        }
        let heat = before.unwrap_or_else(|| Arc::new(Heat::new(&self.floor)));
        if new.is_some() {
            heat.cool();
        }
        heat
    }

    /// Brings a key in. If there is no pool, `begin` starts the task of a new one, which may have so many keys.
    pub(crate) fn admit(&self, candidate: Candidate<'_>, most: usize, begin: impl FnOnce(Arc<HotPool>)) {
        let mut weak = self.weak();
        let pool = weak.upgrade();
        let admitted = match &pool {
            Some(pool) => pool.admit(candidate),
            None => Err(candidate),
        };
        let (left, new) = match admitted {
            Ok(left) => (left, None),
            Err(candidate) => {
                let new = Arc::new(HotPool::new(most, self.floor.clone()));
                // It is empty, so nobody leaves it.
                _ = new.admit(candidate);
                *weak = Arc::downgrade(&new);
                (None, Some(new))
            }
        };
        drop(weak);
        // Not before: arguments that are dropped are the user's code.
        drop((left, pool));
        if let Some(new) = new {
            begin(new);
        }
    }

    /// Makes the task look whether the cache is still there.
    fn wake(&self) {
        if let Some(pool) = self.pool() {
            pool.changed.notify_waiters();
        }
    }
}

/// A key that may come into the pool.
pub(crate) struct Candidate<'a> {
    pub(crate) key: &'a Key,
    pub(crate) heat: &'a Arc<Heat>,
    pub(crate) meta: &'a Freshness,
    pub(crate) keeper: Arc<dyn Renewer>,
}

/// The most used keys of a function, and when each is to be renewed.
pub(crate) struct HotPool {
    /// It may have so many.
    most: usize,
    /// A key that is used no more than this does not come in.
    floor: Arc<AtomicU32>,
    state: Mutex<State>,
    /// The first moment is another one.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct State {
    members: HashMap<Key, Member, BuildPrehashed>,
    plans: BTreeMap<Plan, Key>,
    next: u64,
    /// The task has ended.
    is_closed: bool,
}

/// A moment, and a number that tells apart those with the same.
pub(crate) type Plan = (Nanos, u64);

pub(crate) struct Member {
    heat: Arc<Heat>,
    keeper: Arc<dyn Renewer>,
    /// Uses before the last renewal, each half as much as the one after it.
    score: u32,
    /// Renewals since its last use.
    idle: u8,
    plan: Plan,
    /// Its uses are not counted again before that.
    settled_until: Nanos,
}

impl Member {
    fn worth(&self) -> u32 {
        self.score.saturating_add(self.heat.uses())
    }
}

/// A key that is to be renewed.
#[derive(Clone)]
pub(crate) struct Due {
    pub(crate) key: Key,
    pub(crate) keeper: Arc<dyn Renewer>,
    plan: Plan,
}

impl HotPool {
    fn new(most: usize, floor: Arc<AtomicU32>) -> Self {
        let (state, changed) = (Mutex::default(), Notify::new());
        Self { most, floor, state, changed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// If the key is in the pool: its heat, with a new moment if there is a new value.
    fn follow(&self, key: &Key, new: Option<&Freshness>) -> Option<Arc<Heat>> {
        let mut state = self.state();
        let heat = state.members.get(key)?.heat.clone();
        let is_first = new.is_some_and(|meta| state.plan(key, meta.renewal(random())));
        drop(state);
        if is_first {
            self.changed.notify_waiters();
        }
        Some(heat)
    }

    /// Whoever had to leave for it. It fails when the task has ended.
    fn admit<'a>(&self, candidate: Candidate<'a>) -> Result<Option<Member>, Candidate<'a>> {
        let mut state = self.state();
        if state.is_closed {
            return Err(candidate);
        }
        let Candidate { key, heat, meta, keeper } = candidate;
        if state.members.contains_key(key) {
            return Ok(None);
        }
        let mut left = None;
        if state.members.len() >= self.most {
            let coldest = state.members.iter().min_by_key(|(_, member)| member.worth());
            let (coldest, worth) = coldest.map(|(key, member)| (key.clone(), member.worth())).unzip();
            let worth = worth.unwrap_or_default();
            if heat.uses() <= worth {
                self.floor.store(worth, Ordering::Relaxed);
                return Ok(None);
            }
            left = coldest.and_then(|coldest| state.remove(&coldest));
        }
        heat.set_kept(true);
        let (heat, plan) = (heat.clone(), (Nanos::MAX, u64::MAX));
        state.members.insert(key.clone(), Member { heat, keeper, score: 0, idle: 0, plan, settled_until: 0 });
        let is_first = state.plan(key, meta.renewal(random()));
        drop(state);
        if is_first {
            self.changed.notify_waiters();
        }
        Ok(left)
    }

    /// The next moment at which there is something to do. Without one, the pool is closed.
    pub(crate) fn next(&self) -> Option<Nanos> {
        let mut state = self.state();
        let next = state.plans.first_key_value().map(|((moment, _), _)| *moment);
        state.is_closed = next.is_none();
        next
    }

    /// A key whose moment has come. It has another one, should this one come to nothing.
    pub(crate) fn begin(&self, now: Nanos) -> Option<Due> {
        let mut state = self.state();
        let key = state.plans.first_key_value().filter(|((moment, _), _)| *moment <= now)?.1.clone();
        state.plan(&key, now.saturating_add(nanos(RETRY)));
        let member = state.members.get(&key)?;
        Some(Due { plan: member.plan, keeper: member.keeper.clone(), key })
    }

    /// Counts what the key was used for since its last renewal; whether that is enough to renew it. It is done once for a
    /// value that lives for `life`, although one may be tried more than once.
    pub(crate) fn settle(&self, due: &Due, now: Nanos, life: Nanos) -> bool {
        let mut state = self.state();
        let Some(member) = state.members.get_mut(&due.key) else { return false };
        if now < member.settled_until {
            return true;
        }
        member.settled_until = now.saturating_add(life / 2);
        let uses = member.heat.take();
        member.score = (member.score / 2).saturating_add(uses);
        member.idle = if uses == 0 { member.idle + 1 } else { 0 };
        let stays = member.idle < IDLE;
        self.floor.store(0, Ordering::Relaxed);
        stays
    }

    /// Its next moment is this one, unless there is a new value since it was [begun](Self::begin).
    pub(crate) fn postpone(&self, due: &Due, moment: Nanos) {
        let mut state = self.state();
        let is_same = state.members.get(&due.key).is_some_and(|member| member.plan == due.plan);
        let is_first = is_same && state.plan(&due.key, moment);
        drop(state);
        if is_first {
            self.changed.notify_waiters();
        }
    }

    /// Whoever is not renewed any more, to be dropped where no lock is held.
    pub(crate) fn remove(&self, key: &Key) -> Option<Member> {
        self.floor.store(0, Ordering::Relaxed);
        self.state().remove(key)
    }
}

impl Drop for HotPool {
    fn drop(&mut self) {
        self.floor.store(0, Ordering::Relaxed);
        for member in self.state().members.values() {
            member.heat.set_kept(false);
        }
    }
}

impl State {
    /// Whether its moment is the first one now.
    fn plan(&mut self, key: &Key, moment: Nanos) -> bool {
        let Some(member) = self.members.get_mut(key) else { return false };
        self.plans.remove(&member.plan);
        member.plan = (moment, self.next);
        self.next += 1;
        self.plans.insert(member.plan, key.clone());
        self.plans.first_key_value().is_some_and(|(first, _)| *first == member.plan)
    }

    fn remove(&mut self, key: &Key) -> Option<Member> {
        let member = self.members.remove(key)?;
        self.plans.remove(&member.plan);
        member.heat.set_kept(false);
        Some(member)
    }
}
