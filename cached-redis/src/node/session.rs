//! One connection to a server, with its change feed and clock.

use std::{fmt, sync::Arc};

use cached_core::{TierCause, tier::ChangeFeed};

use crate::{connect::connection::Connection, protocol::server_clock::ServerClock};

/// A connection with its number among all connections of the link.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// Change feed of the connection; its watermark limits how long entries read over it are served.
    pub(crate) feed: Arc<ChangeFeed>,
    /// Set if the server pushes changes over the connection.
    pub(crate) is_tracking: bool,
    /// Reason why the server pushes no changes.
    pub(super) untracked: Option<TierCause>,
    pub(crate) clock: Arc<ServerClock>,
    /// Set if this session continues the connection of the previous one.
    pub(super) is_renewed: bool,
    pub(super) id: u64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}
