//! The view that a connection to one server has of its cluster. A standalone server has no such view.

use async_trait::async_trait;
use redis::RedisResult;
use std::fmt;

use crate::{
    connect::connection::Connection,
    protocol::batch::{Batch, Replies},
    tracking::attachment::Registry,
};

/// View of one server in a cluster: creates an [`OwnedSlots`] for each connection.
pub(crate) trait ClusterView: fmt::Debug + Send + Sync {
    fn owned_slots(&self) -> Box<dyn OwnedSlots>;
}

/// The slots of one server, as learned by the heartbeats of one connection.
#[async_trait]
pub(crate) trait OwnedSlots: fmt::Debug + Send + Sync {
    /// Adds the query for changes to `batch`.
    fn add_query(&self, batch: &mut Batch);

    /// Reads the reply, and returns whether the slots must be surveyed again.
    ///
    /// `None` means that the server is cut off from the cluster, so another server may hold its slots. A
    /// server without a usable reply counts as changed.
    fn has_changed(&mut self, replies: &mut Replies) -> Option<bool>;

    /// Surveys the slots unless they are known, and returns whether the server has lost any.
    async fn survey(&mut self, connection: &mut Connection) -> RedisResult<bool>;

    /// Returns the registry for this process, if the server holds the slot of one.
    fn registry(&mut self) -> Option<Registry>;

    /// Selects another registry, because the slot of the current one is migrating to another server.
    fn choose_another_registry(&mut self);
}
