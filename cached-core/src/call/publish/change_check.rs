//! The question to L2 whether anything changed during a load.
//!
//! Over one connection, the notification of a change arrives before the reply to a later query. So after the
//! reply, the epochs of the load show every change until then, if the feed of the load is the one of the
//! reply. `unleased` and `deliver` ask.

use crate::{
    call::publish::publication::Publication,
    coherence::validity::Validity,
    error::tier::TierError,
    tier::{Lookup, Tier},
};

/// Reply of L2 to the question whether anything changed during the load.
pub(super) enum ChangeCheck {
    /// Nothing was invalidated until the reply.
    Unchanged,
    /// Something was invalidated.
    Changed,
    /// The tier does not report changes over the feed of the load. The tags have not changed, but the key may
    /// have.
    Unreported,
    /// The tier took too long.
    Unknown,
    /// The tier cannot be queried.
    Outage,
}

impl Publication {
    /// Asks L2 whether any name of `validity` was invalidated.
    ///
    /// Each name may have a connection of its own, so the query includes the key and all tags.
    pub(super) async fn check_for_changes(&self, validity: &Validity) -> ChangeCheck {
        let lookup = Lookup::if_none_match(&self.context.entry_key.shared_key.text, 0);
        let reply = self.context.cache.shared().tier.lookup(&[lookup], &validity.tag_keys()).await;
        if !validity.is_intact() {
            return ChangeCheck::Changed;
        }
        match reply {
            Ok(reply) if validity.feed.is_tracked() && reply.feed.covers(&validity.feed) => {
                ChangeCheck::Unchanged
            }
            Ok(reply) if validity.generations().map(Some).eq(reply.generations.iter().copied()) => {
                ChangeCheck::Unreported
            }
            Ok(_) => ChangeCheck::Changed,
            Err(TierError::Timeout) => ChangeCheck::Unknown,
            Err(_) => ChangeCheck::Outage,
        }
    }
}
