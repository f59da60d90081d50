//! Topology of the server side: one standalone server, or a cluster.
//!
//! `Topology` is the layer below `tier`. It passes each operation either to the `node::Node` or to the
//! `cluster::Cluster`, which sends each command to the server that holds its key.

use std::{ops::Deref, sync::Arc};

use cached_core::{Attachment, Budget, ChangeFeed, TierCause, TierError};
use redis::RedisResult;
use tokio::sync::watch;

use crate::{
    availability::{health::RedisHealth, status::RedisState},
    cluster::{Cluster, Survey},
    connect::settings::Settings,
    node::{
        Answers, Node,
        heartbeat::{Member, identity},
        transfers::OperationBudget,
    },
    protocol::{
        batch::{Batch, Replies},
        failure::{Failure, Verdict},
    },
    tracking::{
        attachment::{AttachedCache, Registry},
        push::PushRouter,
    },
};

/// Destination of operations.
#[derive(Debug)]
pub(crate) enum Topology {
    One(Box<Node>),
    Many(Cluster),
}

/// Reference to one server: borrowed if it is standalone, shared if it is in a cluster.
pub(crate) enum NodeRef<'a> {
    One(&'a Node),
    Many(Arc<Node>),
}

impl Topology {
    pub(crate) fn to_one(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        Self::One(Box::new(Node::new(settings, Member::new(identity()), PushRouter::default())))
    }

    pub(crate) fn settings(&self) -> &Settings {
        match self {
            Self::One(node) => &node.settings,
            Self::Many(cluster) => cluster.settings(),
        }
    }

    /// Returns the address for display, without user and password.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::One(node) => format!("{:?}", node.settings.endpoint),
            Self::Many(cluster) => cluster.label(),
        }
    }

    /// Returns the state of the connection for display.
    pub(crate) fn stand(&self) -> String {
        match self {
            Self::One(node) => format!("{:?}", node.link.state()),
            Self::Many(cluster) => format!("{:?}", cluster.state()),
        }
    }

    pub(crate) fn attach(&self, attachment: Attachment) {
        match self {
            Self::One(node) => {
                let watcher = Arc::clone(&attachment.watcher);
                node.condition().on_change(move || watcher.standing_changed());
                node.attach(attachment);
            }
            Self::Many(cluster) => cluster.attach(&attachment),
        }
    }

    pub(crate) fn attached(&self) -> Option<&AttachedCache> {
        match self {
            Self::One(node) => node.watch.attached(),
            Self::Many(cluster) => cluster.attached(),
        }
    }

    pub(crate) fn ready(&self) -> bool {
        match self {
            Self::One(node) => node.ready(),
            Self::Many(cluster) => cluster.ready(),
        }
    }

    /// Connects, and waits for the outcome of the first attempt.
    pub(crate) async fn connected(&self) -> Result<(), TierCause> {
        match self {
            Self::One(node) => node.connected().await,
            Self::Many(cluster) => cluster.connected().await,
        }
    }

    /// Runs a read that a caller awaits before it has a value.
    ///
    /// Fails at once if waiting would be futile: while the connection is down, or while the gate rejects
    /// reads.
    pub(crate) async fn read(&self, batch: &Batch, budget: Budget) -> Result<Answers, TierError> {
        let budget = budget.of_read(self.settings().read_timeout);
        match self {
            Self::One(node) => node.read(batch, budget).await,
            Self::Many(cluster) => Box::pin(cluster.read(batch, budget)).await,
        }
    }

    /// Runs a batch that writes.
    pub(crate) async fn change(&self, batch: &Batch, budget: Budget) -> Result<Answers, TierError> {
        let budget = budget.of_write(self.settings().write_timeout);
        match self {
            Self::One(node) => node.change(batch, budget).await,
            Self::Many(cluster) => cluster.change(batch, budget).await,
        }
    }

    /// Runs a read as [`read`](Self::read) does, over the connections for large values.
    pub(crate) async fn read_large(
        &self,
        batch: &Batch,
        bytes: usize,
        patience: OperationBudget,
    ) -> Result<Answers, TierError> {
        match self {
            Self::One(node) => node.read_large(batch, bytes, patience).await,
            Self::Many(cluster) => cluster.read_large(batch, bytes, patience).await,
        }
    }

    /// Runs a write as [`change`](Self::change) does, over the connections for large values.
    pub(crate) async fn change_large(
        &self,
        batch: &Batch,
        bytes: usize,
        patience: OperationBudget,
    ) -> Result<Answers, TierError> {
        match self {
            Self::One(node) => node.change_large(batch, bytes, patience).await,
            Self::Many(cluster) => cluster.change_large(batch, bytes, patience).await,
        }
    }

    /// Replaces the connection with this change feed: its replies do not match the requests.
    pub(crate) fn distrust(&self, line: &ChangeFeed) {
        self.nodes().iter().for_each(|node| node.distrust(line));
    }

    /// Returns all known servers.
    pub(crate) fn nodes(&self) -> Vec<NodeRef<'_>> {
        match self {
            Self::One(node) => vec![NodeRef::One(node)],
            Self::Many(cluster) => cluster.nodes().iter().cloned().map(NodeRef::Many).collect(),
        }
    }

    /// Groups keys by the server that holds them, and returns their positions.
    ///
    /// Returns `None` for a standalone server, for fewer than two keys, and if the holder of a key is
    /// unknown.
    pub(crate) fn by_server<'a>(
        &self,
        keys: impl ExactSizeIterator<Item = &'a str>,
    ) -> Option<Vec<Vec<usize>>> {
        match self {
            Self::Many(cluster) if keys.len() > 1 => cluster.by_server(keys),
            _ => None,
        }
    }

    /// Returns all servers that hold keys, and a survey of the slots that each of them holds.
    pub(crate) async fn survey(&self) -> Result<(Vec<NodeRef<'_>>, Survey), TierError> {
        match self {
            Self::One(node) => Ok((vec![NodeRef::One(node)], Survey::default())),
            Self::Many(cluster) => {
                let (nodes, survey) = cluster.survey().await?;
                Ok((nodes.into_iter().map(NodeRef::Many).collect(), survey))
            }
        }
    }

    /// Returns all registries in which processes may register.
    pub(crate) fn posts(&self) -> Vec<Registry> {
        match self {
            Self::One(_) => self.attached().map(|attached| attached.post.clone()).into_iter().collect(),
            Self::Many(cluster) => cluster.posts(),
        }
    }

    /// Returns the member of this process that is registered at `post`.
    ///
    /// The registry must contain it, unless the registry was lost.
    pub(crate) fn member_at(&self, post: usize) -> Option<String> {
        let nodes = self.nodes();
        let member = nodes.iter().find(|node| node.member.registered_at() == Some(post));
        member.map(|node| node.member.id.clone())
    }

    /// Returns the prefix of this process's members in all registries.
    pub(crate) fn own_begin(&self) -> &str {
        match self {
            Self::One(node) => &node.member.id,
            Self::Many(cluster) => cluster.identity(),
        }
    }

    /// Replaces the connection for large values to the server that holds this key.
    pub(crate) fn renew_large(&self, key: &str) {
        match self {
            Self::One(node) => node.renew_large(),
            Self::Many(cluster) => cluster.renew_large(key),
        }
    }

    /// Removes this process from the registries, and closes all connections.
    pub(crate) async fn close(&self) {
        match self {
            Self::One(node) => node.close().await,
            Self::Many(cluster) => cluster.close().await,
        }
    }

    /// Decodes the replies, and returns the result with the change feed of its connection.
    ///
    /// The connection is replaced if the replies do not match the requests.
    pub(crate) fn understand<T>(
        &self,
        answers: Answers,
        read: impl FnOnce(Replies) -> RedisResult<T>,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let Answers { replies, line } = answers;
        let understood = read(replies).map_err(|error| {
            let Failure { error, verdict } = error.into();
            if verdict == Verdict::Broken {
                self.distrust(&line);
            }
            error
        })?;
        Ok((understood, line))
    }

    pub(crate) fn state(&self) -> RedisState {
        match self {
            Self::One(node) => node.condition().state(),
            Self::Many(cluster) => cluster.state(),
        }
    }

    pub(crate) fn watch_state(&self) -> watch::Receiver<RedisState> {
        match self {
            Self::One(node) => node.condition().watch(),
            Self::Many(cluster) => cluster.watch_state(),
        }
    }

    pub(crate) fn health(&self) -> RedisHealth {
        match self {
            Self::One(node) => node.health(),
            Self::Many(cluster) => cluster.health(),
        }
    }
}

impl Deref for NodeRef<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        match self {
            Self::One(node) => node,
            Self::Many(node) => node,
        }
    }
}
