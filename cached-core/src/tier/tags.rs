//! The tags of a load: the request for their generations, and the journal of their invalidations.
//!
//! Most tags are known before the load, and their generations are requested with the lease. A value may add
//! further tags. The journal shows whether one of those was invalidated during the load.
//!
//! Invariant: positions are compared within one journal only. `lease` has the answer to a request.

use std::{fmt, sync::Arc, time::Duration};

use crate::tier::feed::ChangeFeed;

/// Tags of a load that begins.
///
/// `Debug` shows only their number, as their keys hold the arguments of a call.
#[derive(Clone, Copy)]
pub struct TagRequest<'a> {
    /// Keys of the tags.
    pub keys: &'a [String],
    /// Shortest time for which their generations are kept.
    pub keep: Duration,
    /// True if further tags become known from the value, so that the
    /// [journal position](crate::tier::Leased::position) is needed.
    pub needs_position: bool,
}

impl fmt::Debug for TagRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagRequest")
            .field("keys", &self.keys.len())
            .field("keep", &self.keep)
            .field("needs_position", &self.needs_position)
            .finish()
    }
}

/// Position in the journal of invalidated tags.
///
/// Positions of two journals cannot be compared: a tier that loses its journal starts another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPosition {
    /// Identifies the journal: a random number that no earlier journal had.
    pub journal_id: u64,
    /// Number of tags that had been invalidated.
    pub offset: u64,
}

/// Answer to a claim of tags that were not known before the load.
#[derive(Clone, Debug)]
pub struct TagsClaimed {
    /// One generation for each tag, in order; `None` if one of the tags may have been invalidated.
    pub generations: Option<Vec<u64>>,
    /// Change feed that reports later changes of these tags.
    pub feed: Arc<ChangeFeed>,
}
