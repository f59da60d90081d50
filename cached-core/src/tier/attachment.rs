//! The attachment of a cache to a tier, and the notifications that the tier sends to the cache.
//!
//! A tier gets the attachment once, when the cache is built. From then on it reports each change of a watched
//! name, and each one that may have been missed.
//!
//! Invariant: the methods of a listener return at once, so the task that receives messages may call them.
//! `feed` confirms that all changes were reported, and `l2::replay` has the listener of a cache.

use std::{fmt, sync::Arc, time::Duration};

/// Properties of the cache that is built on a tier.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Listener for changes.
    pub listener: Arc<dyn ChangeListener>,
    /// Prefix of all keys of the cache, followed by a `:`.
    ///
    /// Keys that begin with `namespace:%` are no values.
    pub namespace: String,
    /// Name of the journal of invalidated tags.
    ///
    /// If the tier can, it reports a change of this name when a tag is invalidated after a
    /// [journal position](crate::tier::Leased::position) was handed out.
    pub journal: String,
    /// Staleness bound: greatest age of the [watermark](crate::tier::ChangeFeed::advance) at which a value is
    /// served from memory.
    pub bound: Duration,
    /// Outage grace: further time for which a value is served while the tier cannot be reached.
    pub grace: Duration,
    /// Greatest number of bytes in a value that the cache stores.
    ///
    /// A larger string was written by another program, and need not be read.
    pub max_bytes: usize,
}

/// Receiver of the changes of the keys and tags that a tier watches. All methods return at once.
pub trait ChangeListener: Send + Sync + fmt::Debug + 'static {
    /// Reports that the record under `key` has changed, or may have.
    fn changed(&self, key: &[u8]);

    /// Reports that the record under any key may have changed.
    fn all_changed(&self);

    /// Reports that the tier can be reached again.
    fn restored(&self);

    /// Reports that the state of the tier, or its cause, may have changed.
    ///
    /// The listener reads the new state from [`health`](crate::tier::Tier::health). During this call, the tier
    /// holds no lock that its own methods need.
    fn status_changed(&self) {}

    /// Returns the number of values served from memory so far.
    ///
    /// It is `None` while callers wait, or if the number is unknown. As long as the number does not change,
    /// nothing depends on the [watermark](crate::tier::ChangeFeed::advance). The tier may then stop advancing it,
    /// and the next call asks the tier first.
    fn served(&self) -> Option<u64> {
        None
    }
}
