//! The verdict on a fill, and the proof in its reply. This decides without I/O.
//!
//! The fill has compared only the key. So its reply proves the whole validity of the load only if the tier
//! has reported all changes of the tags, up to this reply.
//!
//! `fill` asks for the verdict, and `recheck` asks the tier if the reply proves nothing.

use std::sync::Arc;

use crate::{base::clock::Nanos, coherence::validity::Validity, tier::feed::ChangeFeed};

/// Result of a fill.
pub(crate) enum Verdict {
    /// The shared tier has the value, and this process may keep it with this validity.
    Stored(Validity),
    /// The shared tier cannot hold the value and has a stub instead. This process may keep the value with
    /// this validity.
    Stubbed(Validity),
    /// An invalidation overtook the load.
    Rejected,
    /// The result is not known. The caller decides by the validity of the load.
    Undecided,
}

/// Returns the validity of a stored value, if the reply to its fill proves that nothing was invalidated.
///
/// `validity` is the one of the load. `feed` is the change feed of the reply, and `requested_at` the time of
/// the request.
pub(super) fn proven_validity(
    validity: &Validity,
    feed: Arc<ChangeFeed>,
    requested_at: Nanos,
) -> Option<Validity> {
    let is_other_feed = !validity.feed.is_same(&feed);
    if (is_other_feed || !feed.is_tracked()) && !validity.tags.is_empty() {
        // Invalidations of the tags were reported over another change feed, over one that has ended, or not
        // at all.
        return None;
    }
    let validity = Validity { checked_at: requested_at, feed, ..validity.clone() };
    // If a name was reported as changed since the lease was taken, the cause may be the lease itself, as a
    // tier may report a process's own changes.
    validity.is_intact().then_some(validity)
}
