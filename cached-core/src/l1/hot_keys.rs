//! The most used keys of each function, and the schedule of their renewals.
//!
//! Each entry counts the uses of its key. The first, second, fourth, eighth (and so on) use may bring the key
//! into the pool of its function: if there is room, or in the place of a key with fewer uses. The score of a
//! key in the pool is halved at each renewal, so old uses soon count for nothing. A key that was not used
//! since its last two renewals leaves. Uses are set against the load that a renewal costs: of two keys that
//! are used alike, the one that lives longer is worth more.
//!
//! Each key in the pool has one scheduled time, which a new value, a renewal or a postponement replaces.
//! Members hold arguments, and the `Drop` of an argument is user code. So members that leave are returned,
//! and dropped without a lock.
//!
//! The task that renews the keys is in `call::keep_warm`; `heat` has the counter of a key.

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
    key::{BuildPrehashed, OwnedKey},
    l1::{entry::Entry, heat::Heat},
    spec::FunctionSpec,
    value::{
        erased::{ErasedValue, Freshness},
        policy::random,
    },
};

/// Number of renewals without a use after which a key is not renewed any more.
const MAX_IDLE_RENEWALS: u8 = 2;

/// Delay after which a renewal that was started is due again, unless it is rescheduled meanwhile.
const RETRY_DELAY: Duration = Duration::from_secs(1);

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

    /// Wakes the task of each function, which then checks that the cache still exists.
    pub(crate) fn wake(&self) {
        let all: Vec<_> = self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for hot_keys in all {
            hot_keys.wake();
        }
    }
}

/// Renews one entry.
pub(crate) trait Renewer: Send + Sync {
    fn spec(&self) -> &FunctionSpec;

    /// Returns whether `erased` is a value of this function, and not an error.
    fn is_value(&self, erased: &dyn ErasedValue) -> bool;

    /// Starts to load the value again, unless another process has.
    fn load(&self, entry: Arc<Entry>, runtime: &Handle) -> LoadStart;

    /// Looks for a newer value in the shared tier, after an epoch of the entry has ended.
    ///
    /// Returns `None` if a load is under way, if the entry was replaced, or if its cache is gone. The future
    /// resolves to whether a newer value was found.
    fn find_newer(&self, entry: Arc<Entry>) -> Option<Pin<Box<dyn Future<Output = bool> + Send>>>;
}

/// Outcome of starting a load.
pub(crate) enum LoadStart {
    /// The load runs.
    Started,
    /// A load is under way already, or there is a newer value.
    UnderWay,
    /// Something that the load needs is gone.
    Impossible,
}

/// The most used keys of one function.
///
/// The task that renews them owns the pool, so that the pool ends with the runtime of the task.
#[derive(Default)]
pub(crate) struct FunctionHotKeys {
    pool: Mutex<Weak<HotPool>>,
    /// Threshold, shared with [`HotPool::threshold`]; 0 if there is no pool.
    threshold: Arc<AtomicU32>,
}

impl FunctionHotKeys {
    fn lock(&self) -> MutexGuard<'_, Weak<HotPool>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> Option<Arc<HotPool>> {
        self.lock().upgrade()
    }

    /// Returns the use counter for an entry of `key`, which replaces the one that has the counter `before`.
    ///
    /// The lifespan of a `new` value reschedule a key that is in the pool. The uses of any other key are halved
    /// at a new value.
    pub(crate) fn heat_for(
        &self,
        key: &OwnedKey,
        before: Option<Arc<Heat>>,
        new: Option<&Freshness>,
    ) -> Arc<Heat> {
        if let Some(heat) = self.pool().and_then(|pool| pool.heat_for(key, new)) {
            return heat;
        }
        let heat = before.unwrap_or_else(|| Arc::new(Heat::new(&self.threshold)));
        if new.is_some() {
            heat.halve();
        }
        heat
    }

    /// Offers a key to the pool.
    ///
    /// If there is no pool, makes one of at most `max_keys` keys, and `start_task` starts its task.
    pub(crate) fn admit(
        &self,
        candidate: Candidate<'_>,
        max_keys: usize,
        start_task: impl FnOnce(Arc<HotPool>),
    ) {
        let mut pool_lock = self.lock();
        let pool = pool_lock.upgrade();
        let admitted = match &pool {
            Some(pool) => pool.admit(candidate),
            None => Err(candidate),
        };
        let (removed, new) = match admitted {
            Ok(removed) => (removed, None),
            Err(candidate) => {
                let new = Arc::new(HotPool::new(max_keys, self.threshold.clone()));
                // The pool is empty, so no member leaves it.
                _ = new.admit(candidate);
                *pool_lock = Arc::downgrade(&new);
                (None, Some(new))
            }
        };
        drop(pool_lock);
        // Not under the lock: the drop of arguments is user code.
        drop((removed, pool));
        if let Some(new) = new {
            start_task(new);
        }
    }

    /// Wakes the task, which then checks that the cache still exists.
    fn wake(&self) {
        if let Some(pool) = self.pool() {
            pool.changed.notify_waiters();
        }
    }
}

/// A key that may enter the pool.
pub(crate) struct Candidate<'a> {
    pub(crate) key: &'a OwnedKey,
    pub(crate) heat: &'a Arc<Heat>,
    pub(crate) freshness: &'a Freshness,
    pub(crate) renewer: Arc<dyn Renewer>,
}

/// Pool of the most used keys of a function, with the time at which each is to be renewed.
pub(crate) struct HotPool {
    /// Maximum number of keys.
    max_keys: usize,
    /// Number of uses that a key must exceed to enter.
    threshold: Arc<AtomicU32>,
    state: Mutex<PoolState>,
    /// Notified when the earliest scheduled time changes, and when the task has to check on the cache.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct PoolState {
    members: HashMap<OwnedKey, Member, BuildPrehashed>,
    schedule: BTreeMap<Plan, OwnedKey>,
    next_number: u64,
    /// Set when the task is about to end.
    is_closed: bool,
}

/// A scheduled time, and a number that distinguishes equal times.
pub(crate) type Plan = (Nanos, u64);

pub(crate) struct Member {
    heat: Arc<Heat>,
    renewer: Arc<dyn Renewer>,
    /// Uses up to the last renewal. Those before each renewal count half as much as those after it.
    score: u32,
    /// Number of renewals since the last use.
    idle_renewals: u8,
    plan: Plan,
    /// Time before which the uses are not added to the score again.
    scored_until: Nanos,
}

impl Member {
    fn worth(&self) -> u32 {
        self.score.saturating_add(self.heat.uses())
    }
}

/// A key that is to be renewed.
#[derive(Clone)]
pub(crate) struct Due {
    pub(crate) key: OwnedKey,
    pub(crate) renewer: Arc<dyn Renewer>,
    plan: Plan,
}

impl HotPool {
    fn new(max_keys: usize, threshold: Arc<AtomicU32>) -> Self {
        let (state, changed) = (Mutex::default(), Notify::new());
        Self { max_keys, threshold, state, changed }
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the heat of a key in the pool, and reschedules the key if there is a new value.
    fn heat_for(&self, key: &OwnedKey, new: Option<&Freshness>) -> Option<Arc<Heat>> {
        let mut state = self.state();
        let heat = state.members.get(key)?.heat.clone();
        let is_earliest = new.is_some_and(|freshness| state.schedule(key, freshness.renewal_time(random())));
        drop(state);
        if is_earliest {
            self.changed.notify_waiters();
        }
        Some(heat)
    }

    /// Adds a key if there is room, or in the place of the coldest member if the key is used more.
    ///
    /// Returns the member that left for it. Returns the candidate as an error if the task has ended.
    fn admit<'a>(&self, candidate: Candidate<'a>) -> Result<Option<Member>, Candidate<'a>> {
        let mut state = self.state();
        if state.is_closed {
            return Err(candidate);
        }
        let Candidate { key, heat, freshness, renewer } = candidate;
        if state.members.contains_key(key) {
            return Ok(None);
        }
        let mut removed = None;
        if state.members.len() >= self.max_keys {
            let coldest = state.members.iter().min_by_key(|(_, member)| member.worth());
            let (coldest, worth) = coldest.map(|(key, member)| (key.clone(), member.worth())).unzip();
            let worth = worth.unwrap_or_default();
            if heat.uses() <= worth {
                self.threshold.store(worth, Ordering::Relaxed);
                return Ok(None);
            }
            removed = coldest.and_then(|coldest| state.remove(&coldest));
        }
        heat.set_in_pool(true);
        let (heat, plan) = (heat.clone(), (Nanos::MAX, u64::MAX));
        state
            .members
            .insert(key.clone(), Member { heat, renewer, score: 0, idle_renewals: 0, plan, scored_until: 0 });
        let is_earliest = state.schedule(key, freshness.renewal_time(random()));
        drop(state);
        if is_earliest {
            self.changed.notify_waiters();
        }
        Ok(removed)
    }

    /// Returns the earliest scheduled time. Closes the pool if there is none.
    pub(crate) fn next_or_close(&self) -> Option<Nanos> {
        let mut state = self.state();
        let next = state.schedule.first_key_value().map(|((moment, _), _)| *moment);
        state.is_closed = next.is_none();
        next
    }

    /// Returns a key that is to be renewed, and schedules another attempt in case this one fails.
    pub(crate) fn next_due(&self, now: Nanos) -> Option<Due> {
        let mut state = self.state();
        let key = state.schedule.first_key_value().filter(|((moment, _), _)| *moment <= now)?.1.clone();
        state.schedule(&key, now.saturating_add(nanos(RETRY_DELAY)));
        let member = state.members.get(&key)?;
        Some(Due { plan: member.plan, renewer: member.renewer.clone(), key })
    }

    /// Adds the uses since the last renewal to the score. Returns whether they are enough for a renewal.
    ///
    /// A renewal may be tried more than once. So the uses are not added again within half of `life`, which is
    /// the lifetime of the value, and the key counts as used enough until then.
    pub(crate) fn update_score(&self, due: &Due, now: Nanos, life: Nanos) -> bool {
        let mut state = self.state();
        let Some(member) = state.members.get_mut(&due.key) else { return false };
        if now < member.scored_until {
            return true;
        }
        member.scored_until = now.saturating_add(life / 2);
        let uses = member.heat.take_uses();
        member.score = (member.score / 2).saturating_add(uses);
        member.idle_renewals = if uses == 0 { member.idle_renewals + 1 } else { 0 };
        let stays = member.idle_renewals < MAX_IDLE_RENEWALS;
        self.threshold.store(0, Ordering::Relaxed);
        stays
    }

    /// Schedules the key for `moment`, unless there is a new value since
    /// [`next_due`](Self::next_due) returned it.
    pub(crate) fn postpone(&self, due: &Due, moment: Nanos) {
        let mut state = self.state();
        let is_same = state.members.get(&due.key).is_some_and(|member| member.plan == due.plan);
        let is_earliest = is_same && state.schedule(&due.key, moment);
        drop(state);
        if is_earliest {
            self.changed.notify_waiters();
        }
    }

    /// Removes a key that is not renewed any more. The member is to be dropped where no lock is held.
    pub(crate) fn remove(&self, key: &OwnedKey) -> Option<Member> {
        self.threshold.store(0, Ordering::Relaxed);
        self.state().remove(key)
    }
}

impl Drop for HotPool {
    fn drop(&mut self) {
        self.threshold.store(0, Ordering::Relaxed);
        for member in self.state().members.values() {
            member.heat.set_in_pool(false);
        }
    }
}

impl PoolState {
    /// Schedules a key for `moment`. Returns whether that is the earliest scheduled time.
    fn schedule(&mut self, key: &OwnedKey, moment: Nanos) -> bool {
        let Some(member) = self.members.get_mut(key) else { return false };
        self.schedule.remove(&member.plan);
        member.plan = (moment, self.next_number);
        self.next_number += 1;
        self.schedule.insert(member.plan, key.clone());
        self.schedule.first_key_value().is_some_and(|(first, _)| *first == member.plan)
    }

    fn remove(&mut self, key: &OwnedKey) -> Option<Member> {
        let member = self.members.remove(key)?;
        self.schedule.remove(&member.plan);
        member.heat.set_in_pool(false);
        Some(member)
    }
}
