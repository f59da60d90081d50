//! The cache: L1, L2, the flights between them, and the mode that turns tiers off.
//!
//! `Cache` is a handle to shared state, and offers the operations that concern the whole cache. The files of
//! this module add groups of methods to it: `builder` and `close` (the life of a cache), `invalidation`,
//! `counters`, `health`, `metrics`, and `reap` (frees the memory of invalidated entries).
//!
//! A hit takes one of two paths, `hit` and `lookup`. `hit` is the fast path of a plain call: the thread cache
//! first, and then L1. `lookup` judges one entry of L1 in full: fresh, due, to be checked with L2, or absent.
//! Everything after that is in `call`, where `call/mod.rs` has the order of the steps.

pub(crate) mod builder;
pub(crate) mod close;
pub(crate) mod counters;
pub(crate) mod health;
pub(crate) mod invalidation;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod reap;

use std::{
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use crate::{
    base::clock::{Clock, Nanos, nanos},
    coherence::{staleness::Staleness, validity::Validity},
    error::Error,
    flight::{Flights, permits::LoadPermits},
    key::{
        Key, KeyRef, WriteKey,
        entry_key::{EntryKey, SharedKey},
        name, with_identity,
    },
    l1::{counters::LocalCounters, entry::Entry, store::L1, thread_cache},
    l2::{
        replay::{self, FeedListener},
        shared::Shared,
    },
    spec::FunctionSpec,
    telemetry::{
        event::{EventKind, SharedObservers},
        functions::{FunctionMetrics, FunctionRegistry},
        stats::{self, Count, FunctionStats, Stats},
    },
    tier::{Attachment, Tier, cause::TierCause, feed::ChangeFeed},
};

/// A cache: an in-process tier, and a shared tier behind it if one is configured.
///
/// A process that forks after it has used a cache must not use any cache in the child. The runtime and the
/// timers of its threads are gone there, and both processes might draw the same tokens for their loads. Fork
/// first, or start a new program.
///
/// Cloning is cheap and gives another handle to the same cache. Functions under `#[cached]` use the process
/// default unless they name another one with `cache = …`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_core::Error> {
/// # extern crate cached_core as cached_aside;
/// use cached_aside::Cache;
///
/// let cache = Cache::builder().namespace("shop").l1_max_bytes(16 << 20).build()?;
/// let prices = cache.keyspace::<str, u64>("price", std::time::Duration::from_secs(60))?;
/// prices.set("tea", 450).await?;
/// assert_eq!(prices.get("tea").await, Some(450));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

/// Handle that does not keep the cache alive.
#[derive(Clone)]
pub(crate) struct WeakCache(Weak<Inner>);

impl WeakCache {
    pub(crate) fn upgrade(&self) -> Option<Cache> {
        self.0.upgrade().map(Cache)
    }
}

struct Inner {
    l1: L1,
    clock: Clock,
    flights: Arc<Flights>,
    shared: Arc<Shared>,
    staleness: Staleness,
    observers: SharedObservers,
    functions: Arc<FunctionRegistry>,
    local_counters: LocalCounters,
    permits: LoadPermits,
    mode: AtomicU8,
    /// True after a close, which is final.
    is_closed: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.l1.hot_keys().wake();
    }
}

/// Selection of the tiers that take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Mode {
    /// All tiers take part.
    #[default]
    On = 0,
    /// Only the in-process tier takes part.
    LocalOnly = 1,
    /// No tier takes part: functions run as if they had no attribute.
    ///
    /// Invalidations still reach every tier, so that no outdated value is served when the cache is turned on
    /// again.
    Off = 2,
}

static DEFAULT: OnceLock<Cache> = OnceLock::new();

/// Limit of a flush without an explicit one.
const DEFAULT_FLUSH_LIMIT: Duration = Duration::from_secs(30);

impl Cache {
    pub(crate) fn assemble(parts: CacheParts) -> Self {
        let CacheParts { l1, shared, bound, grace, observers, functions, mode } = parts;
        let (shared, flights) = (Arc::new(shared), Arc::new(Flights::new()));
        shared.tier.attach(Attachment {
            listener: Arc::new(FeedListener::new(
                &shared,
                flights.clone(),
                functions.clone(),
                observers.clone(),
            )),
            namespace: shared.namespace.clone(),
            journal: shared.journal_key(),
            bound,
            grace,
            max_bytes: shared.limits.max_envelope_len(),
        });
        Self(Arc::new(Inner {
            l1,
            clock: shared.clock.clone(),
            flights,
            shared,
            staleness: Staleness { bound: nanos(bound), grace: nanos(grace) },
            observers,
            functions,
            local_counters: LocalCounters::default(),
            permits: LoadPermits::default(),
            mode: AtomicU8::new(mode as u8),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Makes this cache the process default.
    ///
    /// Call it before anything else in `main`.
    ///
    /// # Errors
    /// [`is_installed`](Error::is_installed) if there is a default already: one that was installed before, or
    /// one that an earlier call of a cached function has created.
    pub fn install(self) -> Result<(), Error> {
        DEFAULT.set(self).map_err(|_| Error::installed())
    }

    /// Returns the process default, which `init` creates if there is none.
    #[inline]
    pub fn default_or(init: fn() -> Self) -> &'static Self {
        DEFAULT.get_or_init(init)
    }

    /// Turns tiers off and on again, from now on and for every handle.
    ///
    /// A cache that was [closed](Self::close) stays off.
    pub fn set_mode(&self, mode: Mode) {
        let before = self.0.mode.swap(mode as u8, Ordering::SeqCst);
        // The order is swap, then load. A concurrent close sets the flag first and the mode second. So either
        // the flag is seen here, or the close sets its mode after this swap.
        if self.0.is_closed.load(Ordering::SeqCst) {
            return self.turn_off();
        }
        // Entries that were stored while the shared tier took no part were not watched.
        if mode == Mode::On && before != mode as u8 {
            self.shared().epochs.end_all();
        }
    }

    /// Returns the tiers that take part.
    #[inline]
    pub fn mode(&self) -> Mode {
        match self.0.mode.load(Ordering::Relaxed) {
            0 => Mode::On,
            1 => Mode::LocalOnly,
            _ => Mode::Off,
        }
    }

    /// Returns the counters of the whole cache since it was built.
    pub fn stats(&self) -> Stats {
        let (l1_entries, l1_bytes) = self.0.l1.usage();
        Stats {
            l1_entries,
            l1_bytes,
            l1_retired_bytes: self.0.l1.memory().retired_bytes(),
            in_flight: self.0.flights.len() as u64,
            waiting: self.0.flights.followers() as u64,
            pending_invalidations: self.shared().outbox.len() as u64,
            ..self.0.functions.total()
        }
    }

    /// Returns the counters of each function that was called, sorted by name.
    pub fn stats_by_function(&self) -> Vec<FunctionStats> {
        self.0.functions.snapshots()
    }

    /// Waits until the values loaded so far have reached the shared tier, or have failed to.
    ///
    /// The wait is limited to 30 seconds. Values are stored in the background, so call this before a program
    /// exits, or call [`close`](Self::close), which also waits for loads.
    pub async fn flush(&self) {
        self.flush_within(DEFAULT_FLUSH_LIMIT).await;
    }

    /// Waits like [`flush`](Self::flush), but for at most `limit`. Returns whether everything was handed
    /// over.
    ///
    /// Values cannot be handed over while the shared tier hangs, or if they were loaded on a runtime that is
    /// not driven any more.
    pub async fn flush_within(&self, limit: Duration) -> bool {
        self.0.shared.background.flush(limit).await
    }

    /// Makes the shared tier connect, and waits for the outcome of its first attempt.
    ///
    /// The wait is no longer than the tier allows for one attempt (its connect timeout: 1 s by default for
    /// Redis). If the outcome is known, or if there is no shared tier, it returns at once.
    ///
    /// Calls wait for the first attempt by themselves, so a program need not call this. It serves to check
    /// the configuration at start. A tier that is connected may still work in part only: see
    /// [`health`](Self::health).
    ///
    /// ```no_run
    /// # extern crate cached_core as cached_aside;
    /// # async fn at_the_start(cache: &cached_aside::Cache) {
    /// if let Err(cause) = cache.connected().await {
    ///     eprintln!("values are not shared for now: {cause}");
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The cause for which there is no connection.
    pub async fn connected(&self) -> Result<(), TierCause> {
        self.shared().tier.connected().await
    }

    /// Removes everything from the in-process tier of this cache. The shared tier keeps its values.
    pub fn clear_local(&self) {
        self.0.flights.supersede_all(|| self.0.l1.clear());
    }

    /// Applies `take` to the entry that answers a plain call, on the fast path for the common case.
    ///
    /// The thread cache is tried first: without a lock, and with an upper bound of the current time. If it
    /// has no entry, or one that may be due or not valid, [`lookup`](Self::lookup) judges the entry in L1. Only a
    /// fresh entry is a hit here; all other cases are left to the caller.
    #[allow(
        clippy::inline_always,
        reason = "the compiler then folds the constant fields of the `FunctionSpec`"
    )]
    #[inline(always)]
    pub(crate) fn hit<T>(
        &self,
        spec: &FunctionSpec,
        parts: &impl WriteKey,
        take: impl Fn(&Arc<Entry>) -> Option<T>,
    ) -> Result<T, Absent> {
        let cached = thread_cache::find(spec, parts, |entry, lookup_number| {
            let started = stats::is_sample(lookup_number).then(|| self.clock().now_exactly());
            let now = self.0.clock.now_upper_bound();
            let may_serve = entry.is_in(self.0.l1.memory())
                && entry.is_before_due(now)
                && entry.validity.is_valid_at(now, self.staleness().effective_bound(spec, &entry.validity));
            if !may_serve {
                return None;
            }
            let result = take(entry)?;
            entry.touch(spec.own_max_entries().is_some());
            self.count_hit(entry, started, spec);
            Some(result)
        });
        if let Some(result) = cached {
            return Ok(result);
        }
        let lookup_number = thread_cache::maintain();
        let started = stats::is_sample(lookup_number).then(|| self.clock().now_exactly());
        let entry = self.lookup_l1(spec, parts)?;
        let result = take(&entry).ok_or(Absent(false))?;
        self.count_hit(&entry, started, spec);
        thread_cache::insert(&entry);
        Ok(result)
    }

    /// Looks up an entry that is not in the cache of this thread.
    #[inline(never)]
    fn lookup_l1(&self, spec: &FunctionSpec, parts: &dyn WriteKey) -> Result<Arc<Entry>, Absent> {
        match with_identity(spec, parts, |key| self.lookup(spec, key)) {
            Ok(L1Lookup::Fresh(entry, _)) => Ok(entry),
            Ok(lookup) => Err(Absent(matches!(lookup, L1Lookup::Nothing))),
            Err(_) => Err(Absent(false)),
        }
    }

    /// Counts a hit of a plain call.
    ///
    /// This is on the fast path, so the counter is reached through the entry and not by a look-up.
    #[allow(clippy::inline_always, reason = "a call would cost more than the body")]
    #[inline(always)]
    fn count_hit(&self, entry: &Entry, started: Option<Nanos>, spec: &FunctionSpec) {
        entry.function.add(Count::HitL1);
        if started.is_some() || !self.0.observers.is_empty() {
            self.report_hit(entry, started, spec);
        }
    }

    /// Records the latency of a sampled hit, and notifies the observers.
    #[cold]
    fn report_hit(&self, entry: &Entry, started: Option<Nanos>, spec: &FunctionSpec) {
        if let Some(started) = started {
            entry.function.hit_latency().record(self.clock().now().saturating_sub(started));
        }
        if !self.0.observers.is_empty() {
            self.notify_observers(Count::HitL1, spec.template(), Some(entry.key().as_ref()));
        }
    }

    /// Looks up a key in L1, and judges the entry.
    pub(crate) fn lookup(&self, spec: &FunctionSpec, key: KeyRef<'_>) -> L1Lookup {
        let now = self.clock().now();
        let Some(entry) = self.0.l1.get(spec, key, now) else { return L1Lookup::Nothing };
        if entry.validity.is_valid_at(now, self.staleness().effective_bound(spec, &entry.validity)) {
            return L1Lookup::by_age(entry, now);
        }
        self.lookup_past_bound(entry, now, spec)
    }

    /// Returns whether an entry may be served now without a check, fresh or stale.
    pub(crate) fn may_serve(&self, spec: &FunctionSpec, entry: &Entry) -> bool {
        let validity = &entry.validity;
        let (now, (bound, grace)) = (self.clock().now(), self.staleness().limits(spec, validity));
        let is_valid = validity.is_valid_at(now, bound)
            || (!self.shared().tier.ready() && validity.is_valid_in_outage(now, bound, grace));
        is_valid && entry.slot.freshness().is_usable(now)
    }

    /// Judges an entry that is not valid within the staleness bound.
    ///
    /// While L2 cannot be reached, the entry may still be served for the outage grace.
    #[cold]
    fn lookup_past_bound(&self, entry: Arc<Entry>, now: Nanos, spec: &FunctionSpec) -> L1Lookup {
        let (bound, grace) = self.staleness().limits(spec, &entry.validity);
        let is_unreachable = !self.shared().tier.ready();
        if is_unreachable && entry.validity.is_valid_in_outage(now, bound, grace) {
            entry.function.add(Count::ServedInOutage);
            return L1Lookup::by_age(entry, now);
        }
        L1Lookup::Suspect(entry)
    }

    /// Returns the validity of a load that stores its value in this process only.
    ///
    /// If the entry is shared and L2 takes part, no change feed covers the value, so the validity lasts for
    /// the staleness bound only. The epochs are taken before the mode is read: a later change of the mode
    /// ends them.
    pub(crate) fn local_validity(&self, entry_key: &EntryKey) -> Validity {
        let validity = self.shared().local_validity(&entry_key.shared_key.text, &entry_key.tags);
        let is_local = !entry_key.is_shared || self.mode() != Mode::On;
        if is_local { validity } else { Validity { feed: ChangeFeed::none(), ..validity } }
    }

    #[inline]
    pub(crate) fn staleness(&self) -> Staleness {
        self.0.staleness
    }

    /// Turns all tiers off for ever.
    ///
    /// The flag is set before the mode: see [`set_mode`](Self::set_mode).
    pub(crate) fn turn_off(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
        self.0.mode.store(Mode::Off as u8, Ordering::SeqCst);
    }

    /// Resends queued invalidations: see [`replay::resend`].
    pub(crate) fn resend(&self) {
        replay::resend(self.shared());
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn downgrade(&self) -> WeakCache {
        WeakCache(Arc::downgrade(&self.0))
    }

    pub(crate) fn l1(&self) -> &L1 {
        &self.0.l1
    }

    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.0.flights
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn local_counters(&self) -> &LocalCounters {
        &self.0.local_counters
    }

    pub(crate) fn permits(&self) -> &LoadPermits {
        &self.0.permits
    }

    pub(crate) fn functions(&self) -> &Arc<FunctionRegistry> {
        &self.0.functions
    }

    /// Returns the metrics of the function described by `spec`.
    pub(crate) fn function(&self, spec: &FunctionSpec) -> &Arc<FunctionMetrics> {
        self.0.functions.metrics_of(spec)
    }

    /// Counts an event that concerns several functions, or none.
    pub(crate) fn count(&self, count: Count) {
        self.0.functions.cache_wide().add(count);
    }

    pub(crate) fn count_of(&self, spec: &FunctionSpec, count: Count) {
        self.function(spec).add(count);
    }

    /// Counts an event, and notifies the observers.
    pub(crate) fn report(&self, count: Count, spec: &FunctionSpec, key: KeyRef<'_>) {
        self.count_of(spec, count);
        if !self.0.observers.is_empty() {
            self.notify_observers(count, spec.template(), Some(key));
        }
    }

    /// Counts an event of several keys, and notifies the observers.
    pub(crate) fn report_many(&self, count: Count) {
        self.count(count);
        if !self.0.observers.is_empty() {
            self.notify_observers(count, "", None);
        }
    }

    #[cold]
    fn notify_observers(&self, count: Count, function: &'static str, key: Option<KeyRef<'_>>) {
        if let Some(kind) = EventKind::of_count(count) {
            self.0.observers.notify(kind, function, key, &*self.shared().hasher);
        }
    }

    /// Builds the key of an entry as both tiers know it.
    ///
    /// `schema` is called only if the entry goes to the shared tier.
    pub(crate) fn entry_key(
        &self,
        spec: &FunctionSpec,
        key: Key,
        parts: &dyn WriteKey,
        schema: impl FnOnce() -> u64,
    ) -> Result<EntryKey, Error> {
        let (text, check) = self.name(spec, &key, parts)?;
        let is_shared = self.shared().has_tier && !spec.is_local();
        let schema = if is_shared { schema() } else { 0 };
        Ok(EntryKey { key, shared_key: SharedKey { text, check, schema }, is_shared, tags: Vec::new() })
    }

    /// Returns the key's name in the shared tier, and the half of the digest that is not in the name.
    pub(crate) fn name(
        &self,
        spec: &FunctionSpec,
        key: &Key,
        parts: &dyn WriteKey,
    ) -> Result<(String, [u8; 16]), Error> {
        let shared = &self.0.shared;
        let digest = key.digest(&*shared.hasher);
        let mut check = [0; 16];
        check.copy_from_slice(&digest[16..]);
        Ok((name(spec, &shared.namespace, &digest, &*shared.hasher, parts)?, check))
    }
}

/// Outcome of a call without a fast hit: true if L1 has no entry under the key.
#[derive(Clone, Copy)]
pub(crate) struct Absent(pub(crate) bool);

/// Result of a look-up in L1.
pub(crate) enum L1Lookup {
    /// A value that may be served, and its age.
    Fresh(Arc<Entry>, Duration),
    /// A value that is to be loaded again, and may be served until then.
    Due(Arc<Entry>),
    /// A value that must be checked with the shared tier before it is served.
    Suspect(Arc<Entry>),
    Nothing,
}

impl L1Lookup {
    #[inline]
    fn by_age(entry: Arc<Entry>, now: Nanos) -> Self {
        let freshness = entry.slot.freshness();
        if freshness.is_due(now) {
            return Self::Due(entry);
        }
        let age = freshness.age(now);
        Self::Fresh(entry, age)
    }
}

/// Parts from which the builder assembles a cache.
pub(crate) struct CacheParts {
    pub(crate) l1: L1,
    pub(crate) shared: Shared,
    pub(crate) bound: Duration,
    pub(crate) grace: Duration,
    pub(crate) observers: SharedObservers,
    pub(crate) functions: Arc<FunctionRegistry>,
    pub(crate) mode: Mode,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("mode", &self.mode())
            .field("namespace", &self.0.shared.namespace)
            .field("l1", &self.0.l1)
            .field("tier", &self.0.shared.tier)
            .finish_non_exhaustive()
    }
}
