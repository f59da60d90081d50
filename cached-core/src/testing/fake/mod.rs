//! Shared tier in memory for tests, with switches that make it fail.
//!
//! A `Server` holds the entries and is shared by all clones. Each clone has a `Connection` with a change feed
//! of its own. As with Redis, most operations make the connection watch their keys. The next change of a key
//! ends the watch, and is delivered unless the connection made it.
//!
//! * `operations`: the contract of a tier.
//! * `server`: the entries of all clones, and the delivery of changes.
//! * `record`: the content of a key, and the decisions about it.
//! * `connection`: the change feed of a clone.
//! * `switches`: faults and delays that a test turns on.
//! * `contents`: reads and changes of the entries by a test.

mod connection;
mod contents;
mod operations;
mod record;
mod server;
mod switches;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::{connection::Connection, server::Server};
use crate::testing::ManualClock;

/// Shared tier in memory, with switches that make it fail.
///
/// Clones share the contents, and each clone is another connection. Two caches with clones of one tier are
/// like two processes with one Redis.
pub struct FakeTier {
    server: Arc<Server>,
    connection: Arc<Connection>,
}

/// Omits the contents, because a cache prints its tier in its own `Debug` output.
impl fmt::Debug for FakeTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeTier").field("entries", &lock(&self.server.entries).len()).finish_non_exhaustive()
    }
}

impl FakeTier {
    /// Creates an empty tier, in which entries expire by `clock`.
    pub fn new(clock: &ManualClock) -> Self {
        Self::connect(Arc::new(Server::new(clock.clock())))
    }

    fn connect(server: Arc<Server>) -> Self {
        let connection = Arc::new(Connection::new());
        lock(&server.connections).push(Arc::downgrade(&connection));
        Self { server, connection }
    }

    /// Returns a handle to the same connection, unlike `clone`.
    ///
    /// A test can give one handle to a cache and keep the other.
    #[must_use]
    pub fn same_connection(&self) -> Self {
        Self { server: self.server.clone(), connection: self.connection.clone() }
    }
}

impl Clone for FakeTier {
    fn clone(&self) -> Self {
        Self::connect(self.server.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
