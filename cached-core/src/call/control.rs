//! What one call may ask of the cache, and what it is told.

use std::{marker::PhantomData, time::Duration};

/// Directions for one call, given to `f::with`.
///
/// ```
/// use std::time::Duration;
/// # extern crate cached_core as cached_aside;
/// use cached_aside::CacheControl;
///
/// // Load anew, and keep the value for a minute only.
/// let control = CacheControl::no_cache().and(CacheControl::ttl(Duration::from_secs(60)));
/// # let _ = control;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct CacheControl<M = MayLoad> {
    pub(crate) terms: Terms,
    mode: PhantomData<M>,
}

/// The value is loaded when the cache does not have it. The default.
#[derive(Clone, Copy, Debug)]
pub enum MayLoad {}

/// The value is never loaded: see [`CacheControl::only_if_cached`].
#[derive(Clone, Copy, Debug)]
pub enum OnlyIfCached {}

/// What a [`CacheControl`] says, whether or not it allows a load.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches")]
pub(crate) struct Terms {
    /// The cache may answer.
    pub(crate) read: bool,
    /// The cache may keep what was loaded.
    pub(crate) store: bool,
    /// The shared tier takes part.
    pub(crate) shared: bool,
    /// The cache takes part.
    pub(crate) on: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { read: true, store: true, shared: true, on: true, max_age: None, ttl: None }
    }
}

impl CacheControl {
    const fn of(terms: Terms) -> Self {
        Self { terms, mode: PhantomData }
    }

    /// No directions: as a plain call.
    pub fn new() -> Self {
        Self::of(Terms::default())
    }

    /// Loads in any case, and keeps the new value. It joins no load that began before.
    pub fn no_cache() -> Self {
        Self::of(Terms { read: false, ..Terms::default() })
    }

    /// Takes a cached value, but keeps nothing of a load, and shares it with nobody.
    pub fn no_store() -> Self {
        Self::of(Terms { store: false, ..Terms::default() })
    }

    /// A value that was loaded longer ago than this counts as a miss.
    pub fn max_age(age: Duration) -> Self {
        Self::of(Terms { max_age: Some(age), ..Terms::default() })
    }

    /// Keeps what is loaded for this long, instead of what the function says. Zero keeps nothing.
    pub fn ttl(ttl: Duration) -> Self {
        Self::of(Terms { ttl: Some(ttl), ..Terms::default() })
    }

    /// Leaves the shared tier out of this call.
    pub fn local_only() -> Self {
        Self::of(Terms { shared: false, ..Terms::default() })
    }

    /// Leaves the whole cache out of this call: the function runs as if it had no attribute.
    pub fn off() -> Self {
        Self::of(Terms { on: false, ..Terms::default() })
    }
}

impl CacheControl<OnlyIfCached> {
    /// Never loads: `f::with` then returns an `Option`, which is `None` when the value is in no tier.
    pub fn only_if_cached() -> Self {
        Self { terms: Terms::default(), mode: PhantomData }
    }
}

impl<M: LoadRule> CacheControl<M> {
    /// Both directions. Where they contradict each other, the stricter one holds.
    pub fn and(self, other: CacheControl) -> Self {
        let (a, b) = (self.terms, other.terms);
        let terms = Terms {
            read: a.read && b.read,
            store: a.store && b.store,
            shared: a.shared && b.shared,
            on: a.on && b.on,
            max_age: stricter(a.max_age, b.max_age),
            ttl: stricter(a.ttl, b.ttl),
        };
        Self { terms, mode: PhantomData }
    }
}

fn stricter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

impl Default for CacheControl {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a [`CacheControl`] allows a load. It cannot be implemented outside of this crate.
pub trait LoadRule: sealed::Sealed {
    /// What a call returns under it.
    type Reply<R>;

    #[doc(hidden)]
    fn present<R>(reply: Reply<R>) -> Self::Reply<R>;

    #[doc(hidden)]
    fn absent<R>() -> Option<Self::Reply<R>>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::MayLoad {}
    impl Sealed for super::OnlyIfCached {}
}

impl LoadRule for MayLoad {
    type Reply<R> = Reply<R>;

    fn present<R>(reply: Reply<R>) -> Reply<R> {
        reply
    }

    fn absent<R>() -> Option<Reply<R>> {
        None
    }
}

impl LoadRule for OnlyIfCached {
    type Reply<R> = Option<Reply<R>>;

    fn present<R>(reply: Reply<R>) -> Option<Reply<R>> {
        Some(reply)
    }

    fn absent<R>() -> Option<Option<Reply<R>>> {
        Some(None)
    }
}

/// A value and how it came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<R> {
    /// What the function returns.
    pub value: R,
    /// Where it came from.
    pub outcome: CacheOutcome,
}

impl<R> Reply<R> {
    pub(crate) fn new(value: R, outcome: CacheOutcome) -> Self {
        Self { value, outcome }
    }
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum CacheOutcome {
    /// A tier had it.
    Hit {
        /// Which one.
        tier: Layer,
        /// How long ago the value was loaded, in whichever process.
        age: Duration,
    },
    /// A tier had one that is not fresh any more: it is being loaded again, or that has failed (`stale`).
    Stale {
        /// Which one.
        tier: Layer,
        /// How long ago the value was loaded, in whichever process.
        age: Duration,
    },
    /// This call loaded it.
    Miss,
    /// Another call was loading it, and this one waited.
    Joined,
    /// The cache took no part: the function ran as if it had no attribute.
    Bypass(Reason),
}

impl CacheOutcome {
    /// A short name that does not change, for labels: `hit_l1`, `hit_l2`, `stale_l1`, `stale_l2`, `miss`, `joined` or
    /// `bypass`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hit { tier: Layer::L1, .. } => "hit_l1",
            Self::Hit { tier: Layer::L2, .. } => "hit_l2",
            Self::Stale { tier: Layer::L1, .. } => "stale_l1",
            Self::Stale { tier: Layer::L2, .. } => "stale_l2",
            Self::Miss => "miss",
            Self::Joined => "joined",
            Self::Bypass(_) => "bypass",
        }
    }

    /// Whether a tier had the value.
    pub fn is_hit(&self) -> bool {
        matches!(self, Self::Hit { .. } | Self::Stale { .. })
    }
}

/// Which tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Layer {
    /// In this process.
    L1,
    /// Shared.
    L2,
}

/// Why the cache took no part in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Reason {
    /// It is turned off: for this call, by [`Cache::set_mode`](crate::Cache::set_mode), or in the environment.
    Off,
    /// An argument cannot be part of a key, such as a NaN.
    Key,
    /// The call came from inside the load of the same key.
    Recursion,
}
