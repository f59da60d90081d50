//! The record of one key: a value, a lease, a note of an error, or nothing.
//!
//! Values and notes are opaque bytes to a tier. It knows neither their format nor their freshness.
//!
//! Invariant: `Debug` shows neither values nor notes. `lookup` has the answers with records,
//! `value::envelope` the format of values, and `l2::note` that of notes.

use std::{fmt, time::Duration};

/// State of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The key holds nothing.
    Absent,
    /// The key holds a value. There may also be a lease to replace it.
    Value(Stored),
    /// The value is the one that the caller [has](crate::tier::Lookup::known_revision).
    Unchanged,
    /// There is another value than the known one, or none. The caller looks it up again.
    Changed,
    /// There is no value, but a load is under way.
    Leased {
        /// Remaining time of the lease, unless it is renewed.
        left: Duration,
        /// True if the load before this one had [nothing to share](Self::Failed).
        is_retry: bool,
    },
    /// There is no value: a load has ended with nothing to share.
    Failed,
    /// There is no value: a load has ended in an error.
    Error(Note),
}

/// A value under a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Bytes of the [fill](crate::tier::Tier::fill).
    pub bytes: Vec<u8>,
    /// Remaining time until the tier expires the value; `None` if it does not expire.
    pub remaining: Option<Duration>,
    /// Revision, which identifies the fill among all fills of this key. Zero for bytes that no fill wrote.
    pub revision: Revision,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("len", &self.bytes.len())
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// Revision of a stored value: identifies the fill that wrote it, as an `ETag` does.
pub type Revision = u64;

/// Text of a load's error, as opaque bytes under the key. Empty if the error has no text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Note(pub Vec<u8>);

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Note").field("len", &self.0.len()).finish_non_exhaustive()
    }
}
