//! Redis Cluster: several servers that share the keys.
//!
//! Each server is a [`Node`], as a standalone server is: with its own connection, breaker, change feed and
//! registry. The cluster adds two things. Each command goes to the server that holds its key (`map`,
//! `route`). Each server's heartbeat checks that the server still holds the slots that were read over its
//! connection (`server_slots`).
//!
//! The slot map is found and kept as follows:
//!
//! 1. While no server can be reached, an operation connects to the seeds (`discovery`).
//! 2. Each new connection reads the map, and each heartbeat checks for another map (`server_slots`). The
//!    `reporter` of the server reports it.
//! 3. `discovery` accepts the map unless it is older than the known one. It connects to new servers and
//!    removes those that hold no slots (`servers`).
//! 4. Operations wait for the first map (`discovery`), and split each batch by it (`route`).
//!
//! `status` combines the states of the servers, and `survey` detects migrating slots. `slots` has the hash
//! slots of keys and registries.
//!
//! Lock order: `accept_lock`, `state_lock`, `nodes`. No existing node is called under `nodes`, because a node
//! that reports its state takes that lock.

mod discovery;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod map;
mod reporter;
mod route;
mod server_slots;
mod servers;
mod slots;
mod status;
mod survey;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, Instant},
};

use cached_core::{Error, TierCause, TierError, tier::Attachment};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use crate::{
    availability::status::RedisState,
    cluster::{
        map::{Address, SlotMap},
        route::CommandKind,
        servers::Nodes,
        slots::{REGISTRY_SUFFIXES, slot},
    },
    connect::{endpoint::Endpoint, settings::Settings},
    node::{Answers, Node, heartbeat::new_member_id, transfers::OperationBudget},
    protocol::batch::Batch,
    tracking::attachment::{AttachedCache, Registry},
};

pub(crate) use self::survey::Survey;
pub(crate) use futures_util::future::join_all;

/// A Redis Cluster.
#[derive(Debug)]
pub(crate) struct Cluster(Arc<Shared>);

/// State of a cluster, to which its servers report.
#[derive(Debug)]
struct Shared {
    /// Settings of every server, except for its address.
    settings: Arc<Settings>,
    /// The configured servers, which know the others.
    seeds: Vec<Endpoint>,
    nodes: RwLock<Nodes>,
    map: watch::Sender<Option<Arc<SlotMap>>>,
    /// Set if no server could be reached. The next map is then accepted, whichever epoch it has.
    accepts_any_map: AtomicBool,
    /// Time of the last attempt to reconnect to all seeds because no server could be reached.
    last_seed_attempt: Mutex<Option<Instant>>,
    /// Lock under which a map is accepted, one at a time.
    accept_lock: Mutex<()>,
    attached: OnceLock<AttachedCache>,
    /// Prefix of this process's members in every registry.
    member_prefix: String,
    /// Number of servers created so far.
    nodes_created: AtomicU64,
    state: watch::Sender<RedisState>,
    state_lock: Mutex<()>,
    /// Number of reconnects to servers that have left the cluster.
    past_reconnects: AtomicU64,
}

impl Cluster {
    /// Creates a cluster from its seeds, of which one is enough.
    ///
    /// All servers have the same settings.
    pub(crate) fn new(settings: impl Fn(Endpoint) -> Settings, seeds: Vec<Endpoint>) -> Result<Self, Error> {
        let first = seeds.first().cloned().ok_or_else(|| Error::config("redis url: no host is given"))?;
        let shared = Shared {
            settings: Arc::new(settings(first)),
            seeds,
            nodes: RwLock::default(),
            map: watch::Sender::new(None),
            accepts_any_map: AtomicBool::new(false),
            last_seed_attempt: Mutex::default(),
            accept_lock: Mutex::default(),
            attached: OnceLock::new(),
            member_prefix: new_member_id(),
            nodes_created: AtomicU64::new(0),
            state: watch::Sender::new(RedisState::Untried),
            state_lock: Mutex::default(),
            past_reconnects: AtomicU64::new(0),
        };
        Ok(Self(Arc::new(shared)))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn label(&self) -> String {
        let seeds: Vec<_> = self.0.seeds.iter().map(|seed| format!("{seed:?}")).collect();
        format!("cluster of {}", seeds.join(","))
    }

    pub(crate) fn attach(&self, attachment: &Attachment) {
        if self.0.attached.set(AttachedCache::new(attachment.clone())).is_ok() {
            self.nodes().iter().for_each(|node| node.attach(attachment.clone()));
        }
    }

    pub(crate) fn attached(&self) -> Option<&AttachedCache> {
        self.0.attached.get()
    }

    /// Returns whether a request is worthwhile: some server is ready, or none is known yet.
    pub(crate) fn ready(&self) -> bool {
        let nodes = self.nodes();
        nodes.is_empty() || nodes.iter().any(|node| node.ready())
    }

    pub(crate) async fn read(&self, batch: &Batch, budget: Duration) -> Result<Answers, TierError> {
        self.0.send(batch, CommandKind::Read, budget).await
    }

    pub(crate) async fn write(&self, batch: &Batch, budget: Duration) -> Result<Answers, TierError> {
        self.0.send(batch, CommandKind::Write, budget).await
    }

    pub(crate) async fn read_large(
        &self,
        batch: &Batch,
        bytes: usize,
        operation_budget: OperationBudget,
    ) -> Result<Answers, TierError> {
        self.0
            .send(batch, CommandKind::ReadLarge(bytes, operation_budget), operation_budget.max_remaining())
            .await
    }

    pub(crate) async fn write_large(
        &self,
        batch: &Batch,
        bytes: usize,
        operation_budget: OperationBudget,
    ) -> Result<Answers, TierError> {
        self.0
            .send(batch, CommandKind::WriteLarge(bytes, operation_budget), operation_budget.max_remaining())
            .await
    }

    /// Replaces the connection for large values to the server that holds this key.
    ///
    /// Has no effect if that server is unknown.
    pub(crate) fn replace_large_connection(&self, key: &str) {
        let map = self.0.map.borrow().clone();
        let nodes = self.0.nodes();
        let owner = map.as_ref().and_then(|map| map.owner(slot(key.as_bytes())));
        if let Some(node) = owner.and_then(|owner| nodes.by_address.get(owner)).cloned() {
            drop(nodes);
            node.replace_large_connection();
        }
    }

    /// Returns all known servers.
    pub(crate) fn nodes(&self) -> Arc<[Arc<Node>]> {
        self.0.all_nodes()
    }

    /// Removes this process from all registries, and closes all connections.
    ///
    /// All servers are closed concurrently, so one that hangs does not delay the others.
    pub(crate) async fn close(&self) {
        let nodes = {
            let mut nodes = self.0.nodes.write().unwrap_or_else(PoisonError::into_inner);
            nodes.is_closed = true;
            Arc::clone(&nodes.all)
        };
        join_all(nodes.iter().map(|node| node.close())).await;
    }

    /// Groups keys by the server that holds them, and returns their positions.
    ///
    /// Returns `None` if the holder of a key is unknown.
    pub(crate) fn by_server<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Option<Vec<Vec<usize>>> {
        let map = self.0.map.borrow().clone()?;
        let mut positions: BTreeMap<&Address, Vec<usize>> = BTreeMap::new();
        for (position, key) in keys.enumerate() {
            positions.entry(map.owner(slot(key.as_bytes()))?).or_default().push(position);
        }
        Some(positions.into_values().collect())
    }

    /// Returns all servers that hold slots, and a survey of the slots that each of them holds.
    ///
    /// Fails while the servers in the map do not hold all slots of the map, for example because it is
    /// outdated.
    pub(crate) async fn survey(&self) -> Result<(Vec<Arc<Node>>, Survey), TierError> {
        let budget = self.0.settings.write_timeout;
        let map = self.0.current_map(budget).await?;
        let owners = self.0.owners(&map)?;
        let survey = Survey::of(&owners, budget).await?;
        if survey.slot_count() == map.slot_count() {
            return Ok((owners, survey));
        }
        // The servers know a newer map. This wakes their heartbeats, which read it.
        for node in &owners {
            node.router.heartbeat_due.notify_one();
        }
        Err(TierError::Unavailable)
    }

    pub(crate) fn registries(&self) -> Vec<Registry> {
        self.0.registries()
    }

    /// Returns the prefix of this process's members in every registry.
    pub(crate) fn member_prefix(&self) -> &str {
        &self.0.member_prefix
    }

    /// Connects, and waits for the outcome of the first attempt.
    pub(crate) async fn connected(&self) -> Result<(), TierCause> {
        Handle::try_current().map_err(|_| TierCause::NoRuntime)?;
        self.0.connect_to_seeds();
        let mut state = self.watch_state();
        let first_outcome = state.wait_for(|state| *state != RedisState::Untried);
        let _ = timeout(self.0.settings.connect_timeout, first_outcome).await;
        let health = self.health();
        match health.state {
            RedisState::Up | RedisState::Degraded => Ok(()),
            RedisState::Untried | RedisState::Down => Err(health.cause.unwrap_or(TierCause::Timeout)),
        }
    }
}

impl Shared {
    fn registries(&self) -> Vec<Registry> {
        let Some(attached) = self.attached.get() else { return Vec::new() };
        REGISTRY_SUFFIXES
            .iter()
            .enumerate()
            .map(|(number, suffix)| attached.registry_at(number, suffix))
            .collect()
    }
}
