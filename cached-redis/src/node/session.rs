//! One connection, with what is known of it.

use std::{fmt, sync::Arc};

use cached_core::{ChangeFeed, TierCause};

use crate::{connect::connection::Connection, protocol::server_clock::ServerClock};

/// A connection, and its number among all connections of this link.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// How fresh what was read over it is.
    pub(crate) line: Arc<ChangeFeed>,
    /// Whether the server tells over it what changed.
    pub(crate) is_tracking: bool,
    /// Why it does not.
    pub(super) deaf: Option<TierCause>,
    pub(crate) clock: Arc<ServerClock>,
    /// Whether it goes on over the connection of the one before.
    pub(super) is_renewed: bool,
    pub(super) id: u64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}
