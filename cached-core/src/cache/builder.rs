//! Settings of a cache, checked when it is built.

use std::{env, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    base::{background::Background, clock::Clock, program},
    cache::{Cache, CacheParts, Mode},
    coherence::{epoch::Epochs, outbox::Outbox, tag_log::TagLog},
    error::Error,
    key::{Blake3, KeyHasher},
    l1::store::L1,
    l2::{shared::Shared, sweeps::Sweeps},
    telemetry::{
        event::{Event, Observers},
        functions::FunctionRegistry,
    },
    tier::{Tier, feed::ChangeFeed, guarded::CatchPanic, none::NoTier},
    value::{codec::Format, envelope::Limits},
};

/// The namespace of a cache that shares nothing.
const ALONE: &str = "cached-aside";

const SHORTEST_LEASE: Duration = Duration::from_millis(10);
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// Builds a [`Cache`].
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
/// | [`on_event`](Self::on_event) | nobody |
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
    /// A builder with the defaults.
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

    /// What all keys in the shared tier begin with, so that applications which share a Redis do not share entries.
    /// Processes that are to share entries use the same one. It holds no white space and none of `: * ? [ ] \ { }`.
    ///
    /// Without one, a cache with a shared tier takes the name of the program, so that two programs do not read each other's
    /// values by accident. Two programs of one application (`web`, `worker`) then do not share entries either, and two
    /// applications whose programs have one name (`server`), or two stages of one, do: give them one.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    /// The most bytes that the in-process tier may hold, as estimated from the values.
    ///
    /// What has left the tier is held on to by a thread that had it at hand and does not call any more: a sixteenth of this for
    /// each such thread, and half of it for all that have more. [`Stats::l1_retired_bytes`](crate::Stats) counts it.
    pub fn l1_max_bytes(self, bytes: u64) -> Self {
        Self { l1_max_bytes: bytes, ..self }
    }

    /// The shared tier.
    pub fn tier(self, tier: impl Tier) -> Self {
        Self { tier: Some(Arc::new(tier)), ..self }
    }

    /// How values are written for the shared tier.
    pub fn codec(self, codec: Format) -> Self {
        Self { codec, ..self }
    }

    /// What digests are made with.
    pub fn key_hasher(self, hasher: impl KeyHasher) -> Self {
        Self { key_hasher: Arc::new(hasher), ..self }
    }

    /// The largest value that goes into or comes out of the shared tier, in bytes, before and after compression. A process that finds a
    /// larger string there does not read it. [Large](crate::LARGE_VALUE) values may take another way than small ones.
    pub fn max_value_bytes(self, bytes: usize) -> Self {
        Self { max_value_bytes: bytes, ..self }
    }

    /// Compresses values of at least this many bytes for the shared tier. It needs the feature `compression`.
    pub fn compress_above(self, bytes: usize) -> Self {
        Self { compress_above: Some(bytes), ..self }
    }

    /// How long after an invalidation a process may at most serve what it has in memory, even if messages are lost. As a
    /// rule it is one network hop.
    ///
    /// Whoever could have missed a message for so long asks the shared tier before it serves: one round trip, without the
    /// value if that has not changed. Zero asks on every hit. It has no meaning without a shared tier.
    pub fn staleness_bound(self, bound: Duration) -> Self {
        Self { staleness_bound: bound, ..self }
    }

    /// How much longer a process serves what it has in memory when it is known that the shared tier cannot be reached, so
    /// that nobody can tell it anything. After that it loads anew, and keeps that for another grace. Zero is strict.
    pub fn outage_grace(self, grace: Duration) -> Self {
        Self { outage_grace: grace, ..self }
    }

    /// How long the right of a process to load a value for all lasts, unless it is renewed, as it is while the load goes on.
    /// When a process dies in the middle, so long do others wait before one of them loads instead.
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Calls `observer` whenever something [happens](crate::Event), in the thread where it happens. It should return soon,
    /// and its panics are ignored. It may be called more than once, for several observers. Without any, events cost
    /// nothing.
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

    /// Which tiers take part at first. The environment can take away: see [`build`](Self::build).
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Hands what was counted to the recorder of the `metrics` crate every so often, in a thread of its own that ends with
    /// the cache. Zero is never. Needs the feature `metrics`; see [`export_metrics`](Cache::export_metrics).
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(self, every: Duration) -> Self {
        Self { publish_every: Some(every).filter(|every| !every.is_zero()), ..self }
    }

    /// Where the time comes from.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Builds the cache. It connects to nothing and needs no runtime.
    ///
    /// The environment variable `CACHED_ASIDE` overrules [`mode`](Self::mode): `off` turns caching off, `local`
    /// leaves the shared tier out, `on` (or empty) changes nothing.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) for an empty or malformed namespace, a size of zero, compression without the
    /// feature, or a `CACHED_ASIDE` that is none of these words.
    pub fn build(self) -> Result<Cache, Error> {
        let namespace = self.check()?;
        let mode = mode_of_environment(self.mode)?;
        Ok(self.assemble(namespace, mode))
    }

    /// As [`build`](Self::build) where there is no caller to return an error to: what is wrong is said on stderr. Without a
    /// shared tier, the default then takes its place. With one, and if `CACHED_ASIDE` is no word that is known, caching is
    /// [off](Mode::Off): a cache of its own beside the shared one would hear of no invalidation, and none of its own
    /// would be heard.
    pub fn build_or_warn(self) -> Cache {
        let mode = mode_of_environment(self.mode).unwrap_or_else(|error| off(&error));
        match self.check() {
            Ok(namespace) => self.assemble(namespace, mode),
            Err(error) if self.tier.is_some() => {
                let off = off(&error);
                Self::new().assemble(ALONE.to_owned(), off)
            }
            Err(error) => {
                eprintln!("cached-aside: {error}; the default is used instead");
                Self::new().assemble(ALONE.to_owned(), mode)
            }
        }
    }

    /// The namespace, if all is as it can be.
    fn check(&self) -> Result<String, Error> {
        let namespace = match &self.namespace {
            Some(namespace) => namespace.clone(),
            None if self.tier.is_none() => ALONE.to_owned(),
            None => program::namespace().ok_or_else(|| {
                Error::config("a shared tier needs a `namespace`: the name of this program is not known")
            })?,
        };
        check_namespace(&namespace)?;
        if self.l1_max_bytes == 0 {
            return Err(Error::config("`l1_max_bytes` is 0: to turn caching off, use `Mode::Off`"));
        }
        self.codec.validate()?;
        if self.max_value_bytes == 0 {
            return Err(Error::config("`max_value_bytes` is 0"));
        }
        if self.lease < SHORTEST_LEASE {
            return Err(Error::config("`lease` is shorter than 10 ms: it could not be renewed in time"));
        }
        if self.lease > LONGEST_LEASE {
            return Err(Error::config(
                "`lease` is longer than a day: so long would others wait for a process that died",
            ));
        }
        if self.compress_above.is_some() && cfg!(not(feature = "compression")) {
            return Err(Error::config("`compress_above` needs the feature `compression`"));
        }
        Ok(namespace)
    }

    fn assemble(self, namespace: String, mode: Mode) -> Cache {
        let shared = Shared {
            exists: self.tier.is_some(),
            tier: CatchPanic(self.tier.unwrap_or_else(|| Arc::new(NoTier))),
            hasher: self.key_hasher,
            namespace,
            format: self.codec,
            limits: Limits { max_bytes: self.max_value_bytes, compress_above: self.compress_above },
            clock: self.clock,
            marks: Epochs::new(),
            pending: Outbox::default(),
            sweeps: Sweeps::default(),
            said: TagLog::default(),
            background: Background::new(),
            leaving: watch::Sender::new(false),
            returning: Arc::default(),
            lease: self.lease,
            home: ChangeFeed::certain(),
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

fn off(error: &Error) -> Mode {
    eprintln!("cached-aside: CACHING IS OFF: {error}");
    Mode::Off
}

fn mode_of_environment(mode: Mode) -> Result<Mode, Error> {
    let word = env::var("CACHED_ASIDE").unwrap_or_default().to_ascii_lowercase();
    match word.as_str() {
        "off" | "0" | "false" | "no" | "disabled" => Ok(Mode::Off),
        "local" if mode == Mode::On => Ok(Mode::LocalOnly),
        "" | "on" | "1" | "true" | "yes" | "local" => Ok(mode),
        _ => Err(Error::config("the environment's CACHED_ASIDE is not `on`, `local` or `off`")),
    }
}

/// A namespace stands before a `:` and in patterns.
fn check_namespace(namespace: &str) -> Result<(), Error> {
    if namespace.is_empty() {
        return Err(Error::config("the namespace is empty"));
    }
    // A `:` would let `a:b` with the prefix `c` and `a` with the prefix `b:c` meet.
    if namespace.chars().any(|c| c.is_whitespace() || c.is_control() || ":*?[]\\{}".contains(c)) {
        return Err(Error::config("the namespace holds white space or one of `: * ? [ ] \\ { }`"));
    }
    Ok(())
}
