//! Topology of the server side: one standalone server, or a cluster.
//!
//! `Topology` is the layer below `tier`. It passes each operation either to the `node::Node` or to the
//! `cluster::Cluster`, which sends each command to the server that holds its key.

use std::{ops::Deref, sync::Arc};

use cached_core::{
    TierCause, TierError,
    tier::{Attachment, Budget, ChangeFeed},
};
use redis::RedisResult;
use tokio::sync::watch;

use crate::{
    availability::{health::RedisHealth, status::RedisState},
    cluster::{Cluster, Survey},
    connect::settings::Settings,
    node::{
        Answers, Node,
        heartbeat::{Member, new_member_id},
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
    Standalone(Box<Node>),
    Cluster(Cluster),
}

/// Reference to one server: borrowed if it is standalone, shared if it is in a cluster.
pub(crate) enum NodeRef<'a> {
    Borrowed(&'a Node),
    Shared(Arc<Node>),
}

impl Topology {
    pub(crate) fn standalone(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        Self::Standalone(Box::new(Node::new(settings, Member::new(new_member_id()), PushRouter::default())))
    }

    pub(crate) fn settings(&self) -> &Settings {
        match self {
            Self::Standalone(node) => &node.settings,
            Self::Cluster(cluster) => cluster.settings(),
        }
    }

    /// Returns the address for display, without user and password.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Standalone(node) => format!("{:?}", node.settings.endpoint),
            Self::Cluster(cluster) => cluster.label(),
        }
    }

    /// Returns the state of the connection for display.
    pub(crate) fn state_label(&self) -> String {
        match self {
            Self::Standalone(node) => format!("{:?}", node.link.state()),
            Self::Cluster(cluster) => format!("{:?}", cluster.state()),
        }
    }

    pub(crate) fn attach(&self, attachment: Attachment) {
        match self {
            Self::Standalone(node) => {
                let listener = Arc::clone(&attachment.listener);
                node.condition().on_change(move || listener.status_changed());
                node.attach(attachment);
            }
            Self::Cluster(cluster) => cluster.attach(&attachment),
        }
    }

    pub(crate) fn attached(&self) -> Option<&AttachedCache> {
        match self {
            Self::Standalone(node) => node.router.attached(),
            Self::Cluster(cluster) => cluster.attached(),
        }
    }

    pub(crate) fn ready(&self) -> bool {
        match self {
            Self::Standalone(node) => node.ready(),
            Self::Cluster(cluster) => cluster.ready(),
        }
    }

    /// Connects, and waits for the outcome of the first attempt.
    pub(crate) async fn connected(&self) -> Result<(), TierCause> {
        match self {
            Self::Standalone(node) => node.connected().await,
            Self::Cluster(cluster) => cluster.connected().await,
        }
    }

    /// Runs a read that a caller awaits before it has a value.
    ///
    /// Fails at once if waiting would be futile: while the connection is down, or while the gate rejects
    /// reads.
    pub(crate) async fn read(&self, batch: &Batch, budget: Budget) -> Result<Answers, TierError> {
        let budget = budget.read_limit(self.settings().read_timeout);
        match self {
            Self::Standalone(node) => node.read(batch, budget).await,
            Self::Cluster(cluster) => Box::pin(cluster.read(batch, budget)).await,
        }
    }

    /// Runs a batch that writes.
    pub(crate) async fn write(&self, batch: &Batch, budget: Budget) -> Result<Answers, TierError> {
        let budget = budget.write_limit(self.settings().write_timeout);
        match self {
            Self::Standalone(node) => node.write(batch, budget).await,
            Self::Cluster(cluster) => cluster.write(batch, budget).await,
        }
    }

    /// Runs a read as [`read`](Self::read) does, over the connections for large values.
    pub(crate) async fn read_large(
        &self,
        batch: &Batch,
        bytes: usize,
        operation_budget: OperationBudget,
    ) -> Result<Answers, TierError> {
        match self {
            Self::Standalone(node) => node.read_large(batch, bytes, operation_budget).await,
            Self::Cluster(cluster) => cluster.read_large(batch, bytes, operation_budget).await,
        }
    }

    /// Runs a write as [`write`](Self::write) does, over the connections for large values.
    pub(crate) async fn write_large(
        &self,
        batch: &Batch,
        bytes: usize,
        operation_budget: OperationBudget,
    ) -> Result<Answers, TierError> {
        match self {
            Self::Standalone(node) => node.write_large(batch, bytes, operation_budget).await,
            Self::Cluster(cluster) => cluster.write_large(batch, bytes, operation_budget).await,
        }
    }

    /// Replaces the connection with this change feed: its replies do not match the requests.
    pub(crate) fn replace_connection(&self, feed: &ChangeFeed) {
        self.nodes().iter().for_each(|node| node.report_broken(feed));
    }

    /// Returns all known servers.
    pub(crate) fn nodes(&self) -> Vec<NodeRef<'_>> {
        match self {
            Self::Standalone(node) => vec![NodeRef::Borrowed(node)],
            Self::Cluster(cluster) => cluster.nodes().iter().cloned().map(NodeRef::Shared).collect(),
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
            Self::Cluster(cluster) if keys.len() > 1 => cluster.by_server(keys),
            _ => None,
        }
    }

    /// Returns all servers that hold keys, and a survey of the slots that each of them holds.
    pub(crate) async fn survey(&self) -> Result<(Vec<NodeRef<'_>>, Survey), TierError> {
        match self {
            Self::Standalone(node) => Ok((vec![NodeRef::Borrowed(node)], Survey::default())),
            Self::Cluster(cluster) => {
                let (nodes, survey) = cluster.survey().await?;
                Ok((nodes.into_iter().map(NodeRef::Shared).collect(), survey))
            }
        }
    }

    /// Returns all registries in which processes may register.
    pub(crate) fn registries(&self) -> Vec<Registry> {
        match self {
            Self::Standalone(_) => {
                self.attached().map(|attached| attached.registry.clone()).into_iter().collect()
            }
            Self::Cluster(cluster) => cluster.registries(),
        }
    }

    /// Returns the member of this process that is registered in the registry `registry`.
    ///
    /// The registry must contain it, unless the registry was lost.
    pub(crate) fn member_at(&self, registry: usize) -> Option<String> {
        let nodes = self.nodes();
        let member = nodes.iter().find(|node| node.member.registry_number() == Some(registry));
        member.map(|node| node.member.id.clone())
    }

    /// Returns the prefix of this process's members in all registries.
    pub(crate) fn member_prefix(&self) -> &str {
        match self {
            Self::Standalone(node) => &node.member.id,
            Self::Cluster(cluster) => cluster.member_prefix(),
        }
    }

    /// Replaces the connection for large values to the server that holds this key.
    pub(crate) fn replace_large_connection(&self, key: &str) {
        match self {
            Self::Standalone(node) => node.replace_large_connection(),
            Self::Cluster(cluster) => cluster.replace_large_connection(key),
        }
    }

    /// Removes this process from the registries, and closes all connections.
    pub(crate) async fn close(&self) {
        match self {
            Self::Standalone(node) => node.close().await,
            Self::Cluster(cluster) => cluster.close().await,
        }
    }

    /// Decodes the replies, and returns the result with the change feed of its connection.
    ///
    /// The connection is replaced if the replies do not match the requests.
    pub(crate) fn decode<T>(
        &self,
        answers: Answers,
        read: impl FnOnce(Replies) -> RedisResult<T>,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let Answers { replies, feed } = answers;
        let decoded = read(replies).map_err(|error| {
            let Failure { error, verdict } = error.into();
            if verdict == Verdict::Broken {
                self.replace_connection(&feed);
            }
            error
        })?;
        Ok((decoded, feed))
    }

    pub(crate) fn state(&self) -> RedisState {
        match self {
            Self::Standalone(node) => node.condition().state(),
            Self::Cluster(cluster) => cluster.state(),
        }
    }

    pub(crate) fn watch_state(&self) -> watch::Receiver<RedisState> {
        match self {
            Self::Standalone(node) => node.condition().watch(),
            Self::Cluster(cluster) => cluster.watch_state(),
        }
    }

    pub(crate) fn health(&self) -> RedisHealth {
        match self {
            Self::Standalone(node) => node.health(),
            Self::Cluster(cluster) => cluster.health(),
        }
    }
}

impl Deref for NodeRef<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        match self {
            Self::Borrowed(node) => node,
            Self::Shared(node) => node,
        }
    }
}
