//! Events of a cache, and the observers that receive them.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    key::{KeyHasher, KeyRef},
    telemetry::stats::Count,
};

/// Event in a cache, passed to the observers of [`on_event`](crate::CacheBuilder::on_event).
///
/// An event names the function, and the key by a digest. It never holds an argument or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Kind of the event.
    pub kind: EventKind,
    /// Prefix or template of the function, with `{}` for each placeholder.
    ///
    /// Empty if the event concerns several functions, or none.
    pub function: &'static str,
    /// Digest of the entry's key, which identifies the entry.
    ///
    /// `None` if the event concerns several entries, or none.
    pub key: Option<KeyDigest>,
}

/// Kind of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// The in-process tier answered.
    HitL1,
    /// The shared tier answered.
    HitL2,
    /// No tier answered.
    Miss,
    /// The load of another call answered.
    Joined,
    /// The function's body runs.
    Load,
    /// A loaded value was stored in the in-process tier.
    Fill,
    /// A loaded value was kept in this process only; the shared tier cannot hold it.
    Unshared,
    /// A loaded value was not stored, because an invalidation overtook the load.
    Reject,
    /// An entry left the in-process tier for lack of room.
    Evict,
    /// A key, a tag, a pattern or everything was invalidated.
    Invalidate,
    /// The state of the shared tier changed, or the cause of that state.
    ///
    /// [`Cache::health`](crate::Cache::health) returns the current state.
    Tier,
}

impl EventKind {
    /// Returns a short name for labels, such as `hit_l1`, which does not change.
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

    pub(crate) fn of_count(count: Count) -> Option<Self> {
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

/// First half of a key's digest, made by the cache's [`KeyHasher`](crate::KeyHasher).
///
/// With a keyed hasher, a guess of the key cannot be confirmed without the secret. `Display` prints the
/// digest as it appears in the names of keys: as 32 hex digits.
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

/// Observers of a cache.
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

    /// Passes an event to every observer. Panics of observers do not reach the caller.
    #[cold]
    pub(crate) fn notify(
        &self,
        kind: EventKind,
        function: &'static str,
        key: Option<KeyRef<'_>>,
        hasher: &dyn KeyHasher,
    ) {
        let digest = |key: KeyRef<'_>| {
            let mut half = [0; 16];
            half.copy_from_slice(&key.digest(hasher)[..16]);
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

/// Observers, shared by the cache and its in-process tier.
pub(crate) type SharedObservers = Arc<Observers>;
