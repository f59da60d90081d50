//! Look-ups: the keys to read, and the answer of the tier.
//!
//! A caller that has a value already sends its revision, and gets no bytes if that value is still the stored
//! one. An expected size lets the tier transfer large values separately.
//!
//! Invariant: an answer has one record for each key and one generation for each tag, in order. `record` has
//! the states of a key.

use std::{fmt, sync::Arc};

use crate::tier::{
    feed::ChangeFeed,
    record::{Record, Revision},
};

/// Size in bytes above which a value is large.
///
/// A tier may transfer large values separately, so that small ones do not wait behind them.
pub const LARGE_VALUE: usize = 256 * 1024;

/// Look-up of one key.
///
/// `Debug` does not show the key, as it holds the arguments of a call.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// Key to read.
    pub key: &'a str,
    /// Revision of a value that the caller already has.
    ///
    /// If it is still the stored one, the bytes are not sent.
    pub known_revision: Option<Revision>,
    /// Estimated size of the value in bytes, if other values of its function were [large](LARGE_VALUE);
    /// otherwise 0.
    pub size: usize,
}

impl<'a> Lookup<'a> {
    /// Creates a look-up for a caller that has no value of this key.
    #[must_use]
    pub fn new(key: &'a str) -> Self {
        Self { key, known_revision: None, size: 0 }
    }

    /// Creates a look-up for a caller that has the value with this revision.
    #[must_use]
    pub fn if_none_match(key: &'a str, revision: Revision) -> Self {
        Self { known_revision: Some(revision), ..Self::new(key) }
    }

    /// Returns whether a [large](LARGE_VALUE) value is expected in the answer.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.known_revision.is_none() && self.size > LARGE_VALUE
    }
}

impl fmt::Debug for Lookup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("known_revision", &self.known_revision.is_some())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Answer of a tier to look-ups.
#[derive(Clone, Debug)]
pub struct Found {
    /// One record for each key, in the order of the look-ups.
    pub records: Vec<Record>,
    /// One generation for each tag, in order; `None` for a tag that has none.
    pub generations: Vec<Option<u64>>,
    /// Change feed that reports later changes of these keys and tags.
    pub feed: Arc<ChangeFeed>,
}
