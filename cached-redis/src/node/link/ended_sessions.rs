//! The connections that were given up, as far as entries read over them may still be served.
//!
//! Such entries delay acknowledgements (`tracking::acks`): changes since then were not pushed. Before this
//! process acknowledges one of those changes, it withdraws the outage grace of the entries.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use cached_core::tier::ChangeFeed;

use crate::node::link::{Link, lock};

/// The ended connections of a link.
#[derive(Debug, Default)]
pub(super) struct EndedSessions {
    last_end: Mutex<Option<Instant>>,
    /// Ended change feeds, while entries read over them may still be served in an outage.
    feeds: Mutex<Vec<Weak<ChangeFeed>>>,
}

impl EndedSessions {
    /// Records that a connection was given up.
    pub(super) fn record_end(&self, now: Instant) {
        *lock(&self.last_end) = Some(now);
    }

    /// Adds the change feed of a connection that was given up.
    pub(super) fn add_feed(&self, feed: &Arc<ChangeFeed>) {
        let mut feeds = lock(&self.feeds);
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(feed));
    }
}

impl Link {
    /// Revokes the outage grace of earlier connections.
    ///
    /// This process is about to acknowledge changes that were never pushed over them. So entries read over
    /// them must not be served in an outage any more.
    pub(crate) fn withdraw_grace(&self) {
        for feed in lock(&self.ended_sessions.feeds).drain(..).filter_map(|feed| feed.upgrade()) {
            feed.allow_grace(false);
        }
    }

    /// Returns when the last connection was given up. Entries read over it may be served for a while after
    /// that.
    pub(crate) fn previous_end(&self) -> Option<Instant> {
        *lock(&self.ended_sessions.last_end)
    }
}
