//! A connection, independent of its transport.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use redis::aio::MultiplexedConnection;

/// A connection that multiplexes requests. It is closed when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Connection {
    connection: MultiplexedConnection,
    _driver: Arc<Driver>,
}

impl Connection {
    /// Spawns the driver of a connection over a stream of this crate.
    ///
    /// The driver is aborted when the last clone is dropped. Otherwise it would end only after it has written
    /// everything in its queue, which a server that hangs does not accept.
    pub(crate) fn spawn(
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

/// The task that reads and writes the stream, aborted on drop.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
