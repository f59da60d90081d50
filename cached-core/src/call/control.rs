//! Options for one call, and the outcome that it reports.

use std::{marker::PhantomData, time::Duration};

/// Options for one call, passed to `f::with`.
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

/// Mode of a [`CacheControl`] that loads a missing value. The default.
#[derive(Clone, Copy, Debug)]
pub enum MayLoad {}

/// Mode of a [`CacheControl`] that never loads: see [`CacheControl::only_if_cached`].
#[derive(Clone, Copy, Debug)]
pub enum OnlyIfCached {}

/// Options of a [`CacheControl`], in either mode.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "the switches are independent")]
pub(crate) struct Terms {
    /// The cache may answer the call.
    pub(crate) read: bool,
    /// The cache may store the loaded value.
    pub(crate) store: bool,
    /// The shared tier takes part in the call.
    pub(crate) shared: bool,
    /// The cache takes part in the call.
    pub(crate) enabled: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { read: true, store: true, shared: true, enabled: true, max_age: None, ttl: None }
    }
}

impl CacheControl {
    const fn of(terms: Terms) -> Self {
        Self { terms, mode: PhantomData }
    }

    /// Creates a control without options: the call behaves like a plain call.
    pub fn new() -> Self {
        Self::of(Terms::default())
    }

    /// Loads in any case, and stores the new value.
    ///
    /// The call does not join a load that began before it.
    pub fn no_cache() -> Self {
        Self::of(Terms { read: false, ..Terms::default() })
    }

    /// Accepts a cached value, but neither stores a loaded one nor shares it.
    pub fn no_store() -> Self {
        Self::of(Terms { store: false, ..Terms::default() })
    }

    /// Treats a value that was loaded longer ago than `age` as a miss.
    pub fn max_age(age: Duration) -> Self {
        Self::of(Terms { max_age: Some(age), ..Terms::default() })
    }

    /// Stores a loaded value for `ttl`, instead of the ttl of the function.
    ///
    /// A `ttl` of zero stores nothing.
    pub fn ttl(ttl: Duration) -> Self {
        Self::of(Terms { ttl: Some(ttl), ..Terms::default() })
    }

    /// Excludes the shared tier from this call.
    pub fn local_only() -> Self {
        Self::of(Terms { shared: false, ..Terms::default() })
    }

    /// Excludes the cache from this call.
    ///
    /// The function runs as if it had no attribute.
    pub fn off() -> Self {
        Self::of(Terms { enabled: false, ..Terms::default() })
    }
}

impl CacheControl<OnlyIfCached> {
    /// Never loads a value.
    ///
    /// The control has a type of its own: `f::with` then returns an `Option`, which is `None` if no tier has the
    /// value. In a combination by [`and`](Self::and) it must be the first.
    pub fn only_if_cached() -> Self {
        Self { terms: Terms::default(), mode: PhantomData }
    }
}

impl<M: LoadRule> CacheControl<M> {
    /// Combines two controls. Where they conflict, the stricter option applies.
    pub fn and(self, other: CacheControl) -> Self {
        let (a, b) = (self.terms, other.terms);
        let terms = Terms {
            read: a.read && b.read,
            store: a.store && b.store,
            shared: a.shared && b.shared,
            enabled: a.enabled && b.enabled,
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

/// Mode of a [`CacheControl`]: whether it allows a load.
///
/// The trait is sealed: it cannot be implemented outside of this crate.
pub trait LoadRule: sealed::Sealed {
    /// Return type of a call in this mode.
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

/// A value and its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<R> {
    /// Value that the function returns.
    pub value: R,
    /// Origin of the value.
    pub outcome: CacheOutcome,
}

impl<R> Reply<R> {
    pub(crate) fn new(value: R, outcome: CacheOutcome) -> Self {
        Self { value, outcome }
    }
}

/// Origin of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum CacheOutcome {
    /// A tier had the value.
    Hit {
        /// Tier that had the value.
        tier: Layer,
        /// Time since the value was loaded, in this process or another.
        age: Duration,
    },
    /// A tier had a value past its ttl, which `stale` allows to be served.
    ///
    /// Usually the value is being loaded again, or that load has failed.
    Stale {
        /// Tier that had the value.
        tier: Layer,
        /// Time since the value was loaded, in this process or another.
        age: Duration,
    },
    /// This call loaded the value, so it has no age.
    Miss,
    /// Another call was loading the value, and this call waited for it. There is no age.
    Joined,
    /// The cache took no part: the function ran as if it had no attribute.
    Bypass(Reason),
}

impl CacheOutcome {
    /// Returns a short and stable name, for labels.
    ///
    /// The name is `hit_l1`, `hit_l2`, `stale_l1`, `stale_l2`, `miss`, `joined` or `bypass`.
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

    /// Returns whether a tier had the value, fresh or stale.
    pub fn is_hit(&self) -> bool {
        matches!(self, Self::Hit { .. } | Self::Stale { .. })
    }
}

/// Tier of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Layer {
    /// The in-process tier.
    L1,
    /// The shared tier.
    L2,
}

/// Reason why the cache took no part in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Reason {
    /// The cache is turned off.
    ///
    /// It is off for this call, by [`Cache::set_mode`](crate::Cache::set_mode), or in the environment.
    Off,
    /// An argument cannot be part of a key, such as a NaN.
    Key,
    /// The call would have waited for a load that it is a part of.
    ///
    /// It came from inside the load of the same key, or would have closed a cycle of loads that wait for each
    /// other.
    Recursion,
}
