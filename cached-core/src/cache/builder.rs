//! The builder of a cache, which checks the settings when it builds.

use std::{env, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    base::{background::Background, clock::Clock, program},
    cache::{Cache, Mode, assemble::CacheParts},
    coherence::{epoch::Epochs, outbox::Outbox, tag_log::TagLog},
    error::Error,
    key::{Blake3, KeyHasher},
    l1::store::L1,
    l2::{shared::Shared, sweeps::Sweeps},
    telemetry::{
        event::{Event, Observers},
        functions::FunctionRegistry,
    },
    tier::{Tier, catch_panic::CatchPanic, feed::ChangeFeed, no_tier::NoTier},
    value::{codec::Format, envelope::Limits},
};

/// Namespace of a cache without a shared tier.
const LOCAL_NAMESPACE: &str = "cached-aside";

const MIN_LEASE: Duration = Duration::from_millis(10);
const MAX_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// Builder of a [`Cache`].
///
/// | setting | default |
/// |---|---|
/// | [`namespace`](Self::namespace) | the program's name with a tier, `cached-aside` without |
/// | [`l1_max_bytes`](Self::l1_max_bytes) | 64 MiB |
/// | [`tier`](Self::tier) | none |
/// | [`codec`](Self::codec) | [`Format::Json`] |
/// | [`key_hasher`](Self::key_hasher) | [`Blake3`] |
/// | [`max_value_bytes`](Self::max_value_bytes) | 16 MiB |
/// | [`compress_above`](Self::compress_above) | never |
/// | [`staleness_bound`](Self::staleness_bound) | 1 s |
/// | [`outage_grace`](Self::outage_grace) | 30 s |
/// | [`lease`](Self::lease) | 10 s |
/// | [`on_event`](Self::on_event) | no observer |
/// | [`mode`](Self::mode) | [`Mode::On`] |
/// | `publish_metrics` (feature `metrics`) | never |
#[derive(Debug)]
#[must_use]
pub struct CacheBuilder {
    namespace: Option<String>,
    l1_max_bytes: u64,
    tier: Option<Arc<dyn Tier>>,
    codec: Format,
    key_hasher: Arc<dyn KeyHasher>,
    max_value_bytes: usize,
    compress_above: Option<usize>,
    staleness_bound: Duration,
    outage_grace: Duration,
    lease: Duration,
    observers: Observers,
    mode: Mode,
    clock: Clock,
    #[cfg(feature = "metrics")]
    publish_every: Option<Duration>,
}

impl Cache {
    /// Returns a builder with the defaults.
    pub fn builder() -> CacheBuilder {
        CacheBuilder::new()
    }
}

impl CacheBuilder {
    pub(crate) fn new() -> Self {
        Self {
            namespace: None,
            l1_max_bytes: 64 << 20,
            tier: None,
            codec: Format::default(),
            key_hasher: Arc::new(Blake3),
            max_value_bytes: 16 << 20,
            compress_above: None,
            staleness_bound: Duration::from_secs(1),
            outage_grace: Duration::from_secs(30),
            lease: Duration::from_secs(10),
            observers: Observers::default(),
            mode: Mode::On,
            clock: Clock::system(),
            #[cfg(feature = "metrics")]
            publish_every: None,
        }
    }

    /// Sets the prefix of all keys in the shared tier.
    ///
    /// Applications that share a Redis need different namespaces, or they share entries. Processes that are
    /// to share entries need the same one. A namespace holds no white space and none of `: * ? [ ] \ { }`.
    ///
    /// The default, for a cache with a shared tier, is the name of the program, so that two programs do not
    /// read each other's values by accident. Two programs of one application (`web`, `worker`) then do not
    /// share entries either: give them the same namespace. Two applications with the same program name
    /// (`server`), or two stages of one application, do share entries: give them different ones.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    /// Limits the bytes of the in-process tier, as measured or estimated from the values, or as returned by the
    /// option `weight` of a function.
    ///
    /// A thread that makes no further calls keeps the entries in its thread cache, even after they have left
    /// the tier. That is up to a sixteenth of this limit for each such thread. Threads that hold more keep up
    /// to half of the limit together. [`Stats::l1_retired_bytes`](crate::Stats) counts these bytes.
    pub fn l1_max_bytes(self, bytes: u64) -> Self {
        Self { l1_max_bytes: bytes, ..self }
    }

    /// Sets the shared tier.
    pub fn tier(self, tier: impl Tier) -> Self {
        Self { tier: Some(Arc::new(tier)), ..self }
    }

    /// Sets the encoding of values in the shared tier.
    pub fn codec(self, codec: Format) -> Self {
        Self { codec, ..self }
    }

    /// Sets the hash function for the digests of keys.
    pub fn key_hasher(self, hasher: impl KeyHasher) -> Self {
        Self { key_hasher: Arc::new(hasher), ..self }
    }

    /// Limits the size of a value in the shared tier, in bytes, before and after compression.
    ///
    /// A larger value is not stored there, and a larger string found there is not read.
    /// [Large](crate::tier::LARGE_VALUE) values may be transferred separately from small ones.
    pub fn max_value_bytes(self, bytes: usize) -> Self {
        Self { max_value_bytes: bytes, ..self }
    }

    /// Compresses values of at least this many bytes for the shared tier.
    ///
    /// It needs the feature `compression`.
    pub fn compress_above(self, bytes: usize) -> Self {
        Self { compress_above: Some(bytes), ..self }
    }

    /// Bounds the time for which a process may serve a value from memory after its invalidation.
    ///
    /// The bound holds even if messages are lost. Usually the time is one network hop.
    ///
    /// A process that could have missed messages for longer than the bound checks an entry with the shared
    /// tier before it serves it. The check is one round trip, without the value if that has not changed. Zero
    /// checks on every hit. The setting has no effect without a shared tier.
    pub fn staleness_bound(self, bound: Duration) -> Self {
        Self { staleness_bound: bound, ..self }
    }

    /// Extends the staleness bound while the shared tier is known to be unreachable.
    ///
    /// During such an outage no invalidation can arrive from other processes. After the bound and the grace,
    /// a process loads the value again, and keeps it for another grace. Zero is strict.
    pub fn outage_grace(self, grace: Duration) -> Self {
        Self { outage_grace: grace, ..self }
    }

    /// Sets the duration of a lease, which is the right of one process to load a value for all.
    ///
    /// A lease is renewed while the load goes on. If its process dies, other processes wait until the lease
    /// ends before one of them loads instead.
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Calls `observer` for each [event](crate::Event), in the thread in which it happens.
    ///
    /// The observer should return soon, and its panics are ignored. Call this again to add further observers.
    /// Without any, events cost nothing.
    ///
    /// ```
    /// # extern crate cached_core as cached_aside;
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// use cached_aside::{Cache, EventKind};
    ///
    /// let misses = Arc::new(AtomicU64::new(0));
    /// let count = misses.clone();
    /// let cache = Cache::builder()
    ///     .on_event(move |event| {
    ///         if event.kind == EventKind::Miss {
    ///             count.fetch_add(1, Ordering::Relaxed);
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), cached_core::Error>(())
    /// ```
    pub fn on_event(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Sets the tiers that take part at first.
    ///
    /// The environment can turn off more of them: see [`build`](Self::build).
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Exports the metrics to the recorder of the `metrics` crate at this interval. Zero is never.
    ///
    /// A thread of its own does it, and ends with the cache. Needs the feature `metrics`; see
    /// [`export_metrics`](Cache::export_metrics).
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(self, every: Duration) -> Self {
        Self { publish_every: Some(every).filter(|every| !every.is_zero()), ..self }
    }

    /// Sets the source of time.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Builds the cache. It opens no connection and needs no runtime.
    ///
    /// The environment variable `CACHED_ASIDE` overrules [`mode`](Self::mode): `off` turns caching off,
    /// `local` leaves the shared tier out, `on` (or empty) changes nothing.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) for an empty or malformed namespace, a size of zero, compression
    /// without the feature, or an unknown value of `CACHED_ASIDE`.
    pub fn build(self) -> Result<Cache, Error> {
        let namespace = self.check()?;
        let mode = mode_of_environment(self.mode)?;
        Ok(self.assemble(namespace, mode))
    }

    /// Builds the cache like [`build`](Self::build), and reports an error on stderr instead of returning it.
    ///
    /// Without a shared tier, a cache with the default settings then replaces it. With a shared tier, or if
    /// the value of `CACHED_ASIDE` is unknown, caching is [off](Mode::Off). A local cache in place of the
    /// shared one would receive no invalidations, and would send none.
    pub fn build_or_warn(self) -> Cache {
        let mode = mode_of_environment(self.mode).unwrap_or_else(|error| warn_off(&error));
        match self.check() {
            Ok(namespace) => self.assemble(namespace, mode),
            Err(error) if self.tier.is_some() => {
                let off = warn_off(&error);
                Self::new().assemble(LOCAL_NAMESPACE.to_owned(), off)
            }
            Err(error) => {
                eprintln!("cached-aside: {error}; the default is used instead");
                Self::new().assemble(LOCAL_NAMESPACE.to_owned(), mode)
            }
        }
    }

    /// Checks all settings, and returns the namespace.
    fn check(&self) -> Result<String, Error> {
        let namespace = match &self.namespace {
            Some(namespace) => namespace.clone(),
            None if self.tier.is_none() => LOCAL_NAMESPACE.to_owned(),
            None => program::namespace().ok_or_else(|| {
                Error::config(
                    "`namespace` must be set for a shared tier: the name of this program is unknown",
                )
            })?,
        };
        check_namespace(&namespace)?;
        if self.l1_max_bytes == 0 {
            return Err(Error::config("`l1_max_bytes` must not be 0: to turn caching off, use `Mode::Off`"));
        }
        self.codec.validate()?;
        if self.max_value_bytes == 0 {
            return Err(Error::config("`max_value_bytes` must not be 0"));
        }
        if self.lease < MIN_LEASE {
            return Err(Error::config(
                "`lease` must be at least 10 ms: a shorter lease could not be renewed in time",
            ));
        }
        if self.lease > MAX_LEASE {
            return Err(Error::config(
                "`lease` must be at most a day: other processes wait that long for a process that died",
            ));
        }
        if self.compress_above.is_some() && cfg!(not(feature = "compression")) {
            return Err(Error::config("`compress_above` needs the feature `compression`"));
        }
        Ok(namespace)
    }

    fn assemble(self, namespace: String, mode: Mode) -> Cache {
        let shared = Shared {
            has_tier: self.tier.is_some(),
            tier: CatchPanic(self.tier.unwrap_or_else(|| Arc::new(NoTier))),
            hasher: self.key_hasher,
            namespace,
            format: self.codec,
            limits: Limits { max_bytes: self.max_value_bytes, compress_above: self.compress_above },
            clock: self.clock,
            epochs: Epochs::new(),
            outbox: Outbox::default(),
            sweeps: Sweeps::default(),
            tag_log: TagLog::default(),
            background: Background::new(),
            closing: watch::Sender::new(false),
            pending_releases: Arc::default(),
            lease: self.lease,
            local_feed: ChangeFeed::local(),
        };
        let (observers, functions) = (Arc::new(self.observers), Arc::new(FunctionRegistry::new()));
        let l1 = L1::new(self.l1_max_bytes, &observers, &shared.hasher, &functions);
        let (bound, grace) = (self.staleness_bound, self.outage_grace);
        let cache = Cache::assemble(CacheParts { l1, shared, bound, grace, observers, functions, mode });
        #[cfg(feature = "metrics")]
        if let Some(every) = self.publish_every {
            cache.publish(every);
        }
        cache
    }
}

fn warn_off(error: &Error) -> Mode {
    eprintln!("cached-aside: CACHING IS OFF: {error}");
    Mode::Off
}

fn mode_of_environment(mode: Mode) -> Result<Mode, Error> {
    let setting = env::var("CACHED_ASIDE").unwrap_or_default().to_ascii_lowercase();
    match setting.as_str() {
        "off" | "0" | "false" | "no" | "disabled" => Ok(Mode::Off),
        "local" if mode == Mode::On => Ok(Mode::LocalOnly),
        "" | "on" | "1" | "true" | "yes" | "local" => Ok(mode),
        _ => Err(Error::config("the environment variable CACHED_ASIDE must be `on`, `local` or `off`")),
    }
}

/// Checks a namespace, which is followed by a `:` in keys and occurs in patterns.
fn check_namespace(namespace: &str) -> Result<(), Error> {
    if namespace.is_empty() {
        return Err(Error::config("the namespace must not be empty"));
    }
    // A `:` would give the namespace `a:b` with prefix `c`, and `a` with prefix `b:c`, the same keys.
    if namespace.chars().any(|c| c.is_whitespace() || c.is_control() || ":*?[]\\{}".contains(c)) {
        return Err(Error::config("the namespace must not contain whitespace or any of `: * ? [ ] \\ { }`"));
    }
    Ok(())
}
