//! The cache itself: the two tiers, the flights between them, and the switch.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use crate::{
    Error, Stats,
    builder::CacheBuilder,
    clock::Clock,
    counter::LocalCounters,
    flight::Flights,
    key::{Key, KeyRef, WriteKey, name},
    l1::L1,
    shared::{Name, Shared},
    site::Site,
    slot::Slot,
    stats::{Count, Counters},
};

/// An in-process tier, and a shared one behind it if there is any.
///
/// Cloning is cheap and gives another handle to the same cache. Functions under `#[cached]` use the process default
/// unless they name another one with `cache = …`.
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

struct Inner {
    l1: L1,
    flights: Arc<Flights>,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    local_counters: LocalCounters,
    mode: AtomicU8,
}

/// Which tiers take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// All there are.
    #[default]
    On = 0,
    /// The in-process tier only.
    LocalOnly = 1,
    /// None: functions run as if they had no attribute. Invalidations still reach every tier, so that nothing
    /// outdated is served when the cache is turned on again.
    Off = 2,
}

static DEFAULT: OnceLock<Cache> = OnceLock::new();

impl Cache {
    /// A builder with the defaults.
    pub fn builder() -> CacheBuilder {
        CacheBuilder::new()
    }

    pub(crate) fn assemble(l1: L1, shared: Shared, mode: Mode) -> Self {
        Self(Arc::new(Inner {
            l1,
            flights: Arc::new(Flights::new()),
            shared: Arc::new(shared),
            counters: Arc::new(Counters::new()),
            local_counters: LocalCounters::default(),
            mode: AtomicU8::new(mode as u8),
        }))
    }

    /// Makes this the process default.
    ///
    /// # Errors
    /// [`is_installed`](Error::is_installed) if there is one, because it was set before or because a function was
    /// called already and came to one by itself. Call it first thing in `main`.
    pub fn install(self) -> Result<(), Error> {
        DEFAULT.set(self).map_err(|_| Error::installed())
    }

    /// The process default, made by `init` if there is none.
    #[inline]
    pub fn default_or(init: fn() -> Self) -> &'static Self {
        DEFAULT.get_or_init(init)
    }

    /// Turns tiers off and on again, from now on and for every handle.
    pub fn set_mode(&self, mode: Mode) {
        self.0.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// Which tiers take part.
    #[inline]
    pub fn mode(&self) -> Mode {
        match self.0.mode.load(Ordering::Relaxed) {
            0 => Mode::On,
            1 => Mode::LocalOnly,
            _ => Mode::Off,
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        let (l1_entries, l1_bytes) = self.0.l1.usage();
        Stats { l1_entries, l1_bytes, in_flight: self.0.flights.len() as u64, ..self.0.counters.snapshot() }
    }

    /// Waits until the values loaded so far have reached the shared tier, or have failed to. A program that is about
    /// to exit calls it, because values are handed over in the background.
    pub async fn flush(&self) {
        self.0.shared.turns.flush().await;
    }

    /// Drops everything from the in-process tier of this cache. The shared tier keeps what it has.
    pub fn clear_local(&self) {
        self.0.flights.supersede_all(|| self.0.l1.clear());
    }

    /// Invalidates one key: no load that has begun is kept, and no tier holds it any longer.
    pub(crate) async fn invalidate(&self, site: &Site, entry: &Entry) -> Result<(), Error> {
        // First it is not read any more, then what was read before is not kept any more: no order of these lets an old value
        // back in while the shared tier is told.
        let doubted = entry.name.as_ref().map(|name| (&name.text, self.0.shared.distrust(&name.text)));
        self.evict(site, &entry.key);
        let told = match doubted {
            Some((name, doubt)) => self.0.shared.delete(name, doubt).await,
            None => Ok(false),
        };
        self.count(Count::Invalidate);
        told.map(drop).map_err(|cause| {
            self.count(Count::NotPropagated);
            Error::not_propagated(cause)
        })
    }

    /// As [`invalidate`](Self::invalidate), in this process only.
    pub(crate) fn evict(&self, site: &Site, key: &Key) {
        self.0.flights.supersede(key, || self.0.l1.remove(site, key));
    }

    /// The fresh slot under a key in the in-process tier, with its age.
    #[inline]
    pub(crate) fn look(&self, site: &Site, key: KeyRef<'_>) -> Option<(Arc<dyn Slot>, std::time::Duration)> {
        let now = self.clock().now();
        let slot = self.0.l1.get(site, key, now)?;
        let age = slot.meta().age(now);
        Some((slot, age))
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

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }

    pub(crate) fn local_counters(&self) -> &LocalCounters {
        &self.0.local_counters
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    #[inline]
    pub(crate) fn count(&self, count: Count) {
        self.0.counters.add(count);
    }

    /// The key under its two faces. A function that is `local`, and a cache without a shared tier, need no name.
    pub(crate) fn entry(
        &self,
        site: &Site,
        key: Key,
        write: impl WriteKey,
        schema: impl FnOnce() -> u64,
    ) -> Result<Entry, Error> {
        if site.is_local() || !self.0.shared.exists {
            return Ok(Entry { key, name: None });
        }
        let (text, check) = self.name(site, &key, write)?;
        Ok(Entry { key, name: Some(Name { text, check, schema: schema() }) })
    }

    /// The text that names the key in a shared tier, and the half of the digest that is not in it.
    pub(crate) fn name(
        &self,
        site: &Site,
        key: &Key,
        write: impl WriteKey,
    ) -> Result<(String, [u8; 16]), Error> {
        let shared = &self.0.shared;
        let digest = key.digest(&*shared.hasher);
        let mut check = [0; 16];
        check.copy_from_slice(&digest[16..]);
        Ok((name(site, &shared.namespace, &digest, &*shared.hasher, write)?, check))
    }
}

/// A key, and its name if it has one in the shared tier.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) name: Option<Name>,
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
