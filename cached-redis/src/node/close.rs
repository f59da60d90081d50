//! The end of a node: its connections are closed for good, and this process is deregistered.
//!
//! The supervisor registers this process, so it ends before the deregistration. A node that is dropped
//! without a call of `close` deregisters the process as well, if there is a runtime.

use cached_core::planted;
use tokio::{runtime::Handle, time::timeout};

use crate::node::Node;

impl Node {
    /// Ends the connection for good, and deregisters this process so that no other waits for it.
    pub(crate) async fn close(&self) {
        let deregistration = self.deregister();
        // Everything starts before the first await, since the caller may give up while it waits.
        let ending = self.supervision.close();
        // Only after the flag is set: a node for large values that is created later sees it.
        let ending_large = self.large.get().map(|large| {
            let ending = large.supervision.close();
            large.link.close();
            ending
        });
        self.link.close();
        // Before the deregistration, since the background task registers this process.
        ending.await;
        if let Some(ending) = ending_large {
            ending.await;
        }
        if let Some(deregistration) = deregistration {
            deregistration.await;
        }
    }

    /// Returns a future that deregisters this process, which serves no entries any more.
    fn deregister(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        if planted!("member-stays") {
            return None;
        }
        // Without a session as well: a heartbeat that is under way must not register this process.
        let command = self.member.deregister()?;
        let session = self.link.current_session()?;
        let limit = self.settings.connect_timeout;
        Some(async move {
            let mut connection = session.connection.clone();
            let _ = timeout(limit, connection.send_packed_command(&command)).await;
        })
    }
}

/// Deregisters a process that ends in an orderly way.
///
/// Otherwise the others would wait until its right to serve expires.
impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(runtime) = Handle::try_current()
            && let Some(deregistration) = self.deregister()
        {
            runtime.spawn(deregistration);
        }
    }
}
