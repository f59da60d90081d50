//! What observers of a cache are told.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    key::{KeyHasher, KeyRef},
    telemetry::stats::Count,
};

/// Something that happened in a cache, told to [`on_event`](crate::CacheBuilder::on_event).
///
/// It names the function and the key, the latter by a digest, and never holds an argument or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The prefix or template of the function, with `{}` for each placeholder; empty if it is about more than one.
    pub function: &'static str,
    /// Tells entries apart; `None` if it is about more than one.
    pub key: Option<KeyDigest>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// The in-process tier answered.
    HitL1,
    /// The shared tier answered.
    HitL2,
    /// No tier did.
    Miss,
    /// The load of another call answered.
    Joined,
    /// The function's body runs.
    Load,
    /// A value went into the in-process tier after a load.
    Fill,
    /// A loaded value was kept in this process only, because the shared tier cannot hold it.
    Unshared,
    /// A loaded value was not kept, because an invalidation overtook the load.
    Reject,
    /// An entry left the in-process tier for lack of room.
    Evict,
    /// A key, a tag, a pattern or everything was invalidated.
    Invalidate,
    /// The shared tier works now, or does not, or for another reason: [`Cache::health`](crate::Cache::health) says how it is.
    Tier,
}

impl EventKind {
    /// A short name that does not change, for labels, such as `hit_l1`.
    pub fn name(self) -> &'static str {
        match self {
            Self::HitL1 => "hit_l1",
            Self::HitL2 => "hit_l2",
            Self::Miss => "miss",
            Self::Joined => "joined",
            Self::Load => "load",
            Self::Fill => "fill",
            Self::Unshared => "unshared",
            Self::Reject => "reject",
            Self::Evict => "evict",
            Self::Invalidate => "invalidate",
            Self::Tier => "tier",
        }
    }

    pub(crate) fn of(count: Count) -> Option<Self> {
        Some(match count {
            Count::HitL1 => Self::HitL1,
            Count::HitL2 => Self::HitL2,
            Count::Miss => Self::Miss,
            Count::Joined => Self::Joined,
            Count::Load => Self::Load,
            Count::Fill => Self::Fill,
            Count::Unshared => Self::Unshared,
            Count::RejectedFill => Self::Reject,
            Count::Invalidate => Self::Invalidate,
            _ => return None,
        })
    }
}

/// The first half of a key's digest, by the cache's [`KeyHasher`](crate::KeyHasher): with a keyed one nobody can confirm
/// a guess. Its `Display` is what stands in the names of keys: 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 16]);

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

type Observer = Box<dyn Fn(&Event) + Send + Sync>;

/// Those who want to know.
#[derive(Default)]
pub(crate) struct Observers(Vec<Observer>);

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Fn(&Event) + Send + Sync + 'static) {
        self.0.push(Box::new(observer));
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their panics are not the caller's.
    #[cold]
    pub(crate) fn tell(
        &self,
        kind: EventKind,
        function: &'static str,
        key: Option<KeyRef<'_>>,
        by: &dyn KeyHasher,
    ) {
        let digest = |key: KeyRef<'_>| {
            let mut half = [0; 16];
            half.copy_from_slice(&key.digest(by)[..16]);
            KeyDigest(half)
        };
        let event = Event { kind, function, key: key.map(digest) };
        for observer in &self.0 {
            let _ = catch_unwind(AssertUnwindSafe(|| observer(&event)));
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observers").field(&self.0.len()).finish()
    }
}

/// Shared by the cache and its in-process tier.
pub(crate) type SharedObservers = Arc<Observers>;
