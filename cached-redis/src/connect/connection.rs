//! A connection, however it was made.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use redis::aio::MultiplexedConnection;

/// A connection over which many requests are under way at once. It is closed with the last of its clones.
#[derive(Clone)]
pub(crate) struct Connection {
    connection: MultiplexedConnection,
    _driver: Arc<Driver>,
}

impl Connection {
    /// The driver of a connection over a stream of ours is ours as well. By itself it ends when it has written all that
    /// it was given, and a server that hangs does not take it.
    pub(crate) fn driven(
        connection: MultiplexedConnection,
        driver: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let driver = Driver(tokio::spawn(driver));
        Self { connection, _driver: Arc::new(driver) }
    }
}

impl Deref for Connection {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        &self.connection
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }
}

/// The task that reads and writes.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
