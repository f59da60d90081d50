//! What a connection to one server of a cluster learns of the cluster. A server that is alone has none.

use async_trait::async_trait;
use redis::RedisResult;
use std::fmt;

use crate::{
    connect::connection::Connection,
    protocol::batch::{Batch, Replies},
    tracking::attachment::Post,
};

/// Of one server in a cluster: makes an [`OwnedSlots`] for each connection.
pub(crate) trait ClusterView: fmt::Debug + Send + Sync {
    fn connected(&self) -> Box<dyn OwnedSlots>;
}

/// The slots of one server, as the heartbeats of one connection learn them.
#[async_trait]
pub(crate) trait OwnedSlots: fmt::Debug + Send + Sync {
    /// Asks whether something has changed.
    fn ask(&self, batch: &mut Batch);

    /// Reads the answer; `None` if the server is cut off from the others, so that another one may have its slots. One
    /// that does not say anything is asked for everything.
    fn has_changed(&mut self, replies: &mut Replies) -> Option<bool>;

    /// Asks for everything, unless it is known; whether the server has lost something.
    async fn survey(&mut self, connection: &mut Connection) -> RedisResult<bool>;

    /// Where this process registers, if the server has such a place.
    fn post(&mut self) -> Option<Post>;

    /// The slot of the post is on its way to another server.
    fn choose_another_post(&mut self);
}
