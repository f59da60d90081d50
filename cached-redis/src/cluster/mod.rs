//! Redis Cluster: several servers that share the keys.
//!
//! Each server is a [`Node`], as a standalone server is: with its own connection, breaker, change feed and
//! registry. The cluster adds two things. Each command goes to the server that holds its key (`map`,
//! `route`). Each server's heartbeat checks that the server still holds the slots that were read over its
//! connection (`server_slots`).
//!
//! The slot map is found and kept as follows:
//!
//! 1. While no server can be reached, an operation connects to the seeds (`Shared::connect_to_seeds`).
//! 2. Each new connection reads the map, and each heartbeat checks for another map (`ServerSlots`). A `MapReporter`
//!    reports it.
//! 3. `Shared::accept_map` accepts the map unless it is older than the known one, connects to new servers
//!    and removes those that hold no slots.
//! 4. Operations wait for the first map (`Shared::current_map`), and split each batch by it (`Shared::send`).
//!
//! Lock order: `accept_lock`, `state_lock`, `nodes`. No existing node is called under `nodes`, because a node
//! that reports its state takes that lock.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod map;
mod route;
mod server_slots;
mod slots;
mod survey;

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cached_core::{Attachment, Error, TierCause, TierError};
use futures_util::future::{Either, select};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use crate::{
    availability::{
        health::{LargeHealth, RedisHealth},
        status::RedisState,
    },
    connect::{
        endpoint::Endpoint,
        settings::{Addresses, Settings},
    },
    node::{
        Answers, Node,
        heartbeat::{Member, new_member_id},
        transfers::OperationBudget,
    },
    protocol::batch::Batch,
    tracking::{
        attachment::{AttachedCache, Registry},
        cluster_view::{ClusterView, OwnedSlots},
        push::PushRouter,
    },
};

use self::{
    map::{Address, SlotMap},
    route::CommandKind,
    slots::{REGISTRY_SUFFIXES, slot},
};
pub(crate) use futures_util::future::join_all;

use self::server_slots::ServerSlots;
pub(crate) use self::survey::Survey;

/// A Redis Cluster.
#[derive(Debug)]
pub(crate) struct Cluster(Arc<Shared>);

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

/// The known servers.
#[derive(Debug, Default)]
struct Nodes {
    by_address: HashMap<Address, Arc<Node>>,
    /// All servers, as a slice that each operation can share.
    all: Arc<[Arc<Node>]>,
    /// Set when the cluster is closed: no server is added any more.
    is_closed: bool,
}

/// Reporter of slot maps from one server to its cluster.
#[derive(Clone, Debug)]
pub(crate) struct MapReporter {
    cluster: Weak<Shared>,
    host: String,
    addresses: Addresses,
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

    pub(crate) fn state(&self) -> RedisState {
        *self.0.state.borrow()
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

    pub(crate) fn watch_state(&self) -> watch::Receiver<RedisState> {
        self.0.state.subscribe()
    }

    pub(crate) fn health(&self) -> RedisHealth {
        let nodes = self.nodes();
        let healths: Vec<_> = nodes.iter().map(|node| node.health()).collect();
        let state = self.state();
        // The first cause by name, so that it stays the same while nothing changes.
        let causes = healths.iter().filter_map(|health| health.cause.clone());
        let cause = match state {
            RedisState::Up | RedisState::Untried => None,
            _ => causes.min_by_key(TierCause::name).or(Some(TierCause::Connecting)),
        };
        // The first connection to each server is not a reconnect.
        RedisHealth {
            state,
            cause,
            round_trip_ms: healths.iter().filter_map(|health| health.round_trip_ms).max(),
            breaker_open: healths.iter().any(|health| health.breaker_open),
            breaker_opened: healths.iter().map(|health| health.breaker_opened).sum(),
            shed: healths.iter().map(|health| health.shed).sum(),
            rounds: healths.iter().map(|health| health.rounds).sum(),
            reads_in_rounds: healths.iter().map(|health| health.reads_in_rounds).sum(),
            reconnects: healths.iter().map(|health| health.reconnects).sum::<u64>()
                + self.0.past_reconnects.load(Ordering::Relaxed),
            last_answer_ms: healths.iter().filter_map(|health| health.last_answer_ms).min(),
            tracking: !healths.is_empty() && healths.iter().all(|health| health.tracking),
            registered: !healths.is_empty() && healths.iter().all(|health| health.registered),
            large: LargeHealth::combine(healths.iter().filter_map(|health| health.large.clone())),
        }
    }
}

impl Shared {
    fn nodes(&self) -> RwLockReadGuard<'_, Nodes> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns every server.
    ///
    /// No node is called under the lock, because a node takes it to report its state.
    fn all_nodes(&self) -> Arc<[Arc<Node>]> {
        Arc::clone(&self.nodes().all)
    }

    /// Publishes the servers that `change` has added or removed.
    ///
    /// Returns `None` if the cluster is closed.
    fn update_nodes<T>(&self, change: impl FnOnce(&mut HashMap<Address, Arc<Node>>) -> T) -> Option<T> {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.is_closed {
            return None;
        }
        let before = nodes.by_address.len();
        let changed = change(&mut nodes.by_address);
        if nodes.by_address.len() != before {
            nodes.all = nodes.by_address.values().cloned().collect();
        }
        Some(changed)
    }

    /// Returns the servers that hold slots in the map, and creates the missing ones.
    fn owners(self: &Arc<Self>, map: &SlotMap) -> Result<Vec<Arc<Node>>, TierError> {
        map.owners().iter().map(|owner| self.node(owner).ok_or(TierError::Unavailable)).collect()
    }

    fn registries(&self) -> Vec<Registry> {
        let Some(attached) = self.attached.get() else { return Vec::new() };
        REGISTRY_SUFFIXES
            .iter()
            .enumerate()
            .map(|(number, suffix)| attached.registry_at(number, suffix))
            .collect()
    }

    /// Returns the slot map, and waits for the first one.
    ///
    /// The wait is bounded by `budget`, or by the connect timeout if that is longer and no attempt has ended
    /// yet.
    async fn current_map(self: &Arc<Self>, budget: Duration) -> Result<Arc<SlotMap>, TierError> {
        Handle::try_current().map_err(|_| TierError::Unavailable)?;
        self.connect_to_seeds();
        if let Some(map) = &*self.map.borrow() {
            return Ok(Arc::clone(map));
        }
        let nodes = self.all_nodes();
        // The runtime on which their tasks were started may have ended.
        nodes.iter().try_for_each(|node| node.ensure_running())?;
        if nodes.iter().all(|node| node.link.is_down()) {
            return Err(TierError::Unavailable);
        }
        let mut map_receiver = self.map.subscribe();
        let is_first = *self.state.borrow() == RedisState::Untried;
        let wait = if is_first { budget.max(self.settings.connect_timeout) } else { budget };
        let mut state = self.state.subscribe();
        let all_down = state.wait_for(|state| *state == RedisState::Down);
        // If all attempts have failed, no map arrives.
        let first_map = async {
            match select(pin!(map_receiver.wait_for(Option::is_some)), pin!(all_down)).await {
                Either::Left((received, _)) => received.ok().and_then(|map| map.clone()),
                Either::Right(_) => None,
            }
        };
        timeout(wait, first_map).await.ok().flatten().ok_or(TierError::Unavailable)
    }

    /// Connects to the seeds if no server can be reached.
    ///
    /// The seeds may know other servers by then, and those of a cluster that was created anew. They may also
    /// name the same unreachable servers again. So a seed that is not among the known servers is retried only
    /// once per `retry_max`, no more often than a lost connection.
    fn connect_to_seeds(self: &Arc<Self>) {
        if self.all_nodes().iter().any(|node| !node.link.is_down()) {
            return;
        }
        self.accepts_any_map.store(true, Ordering::Relaxed);
        let may_retry = {
            let mut last_seed_attempt = self.last_seed_attempt.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = last_seed_attempt.is_none_or(|last| last.elapsed() >= self.settings.retry_max);
            if is_due {
                *last_seed_attempt = Some(Instant::now());
            }
            is_due
        };
        for seed in &self.seeds {
            let address = format!("{seed:?}").into();
            if may_retry || self.nodes().by_address.contains_key(&address) {
                self.node_at(&address, seed.clone());
            }
        }
    }

    /// Returns the server at an address, and creates it if it is missing.
    fn node(self: &Arc<Self>, address: &Address) -> Option<Arc<Node>> {
        if let Some(node) = self.nodes().by_address.get(address) {
            return Some(Arc::clone(node));
        }
        let endpoint = self.seeds.first()?.with_address(address)?;
        self.node_at(address, endpoint)
    }

    /// Returns the server at an address, and creates it with this endpoint if it is missing.
    ///
    /// Returns `None` if the cluster is closed.
    fn node_at(self: &Arc<Self>, address: &Address, endpoint: Endpoint) -> Option<Arc<Node>> {
        let node = self.update_nodes(|nodes| {
            let new = || self.new_node(endpoint);
            Arc::clone(nodes.entry(Address::clone(address)).or_insert_with(new))
        })?;
        // At once, so that the first request need not wait for the connection. An error means that there is
        // no runtime, where no request can be sent either.
        let _ = node.ensure_running();
        Some(node)
    }

    fn new_node(self: &Arc<Self>, endpoint: Endpoint) -> Arc<Node> {
        let number = self.nodes_created.fetch_add(1, Ordering::Relaxed);
        let addresses = self.settings.addresses.clone();
        let reporter = MapReporter { cluster: Arc::downgrade(self), host: endpoint.host(), addresses };
        let router = PushRouter::of_cluster(reporter);
        let settings = Settings { endpoint, ..(*self.settings).clone() };
        let member = Member::new(format!("{}.{number}", self.member_prefix));
        let node = Node::new(Arc::new(settings), member, router);
        let cluster = Arc::downgrade(self);
        node.condition().on_change(move || {
            if let Some(cluster) = cluster.upgrade() {
                cluster.publish_state();
            }
        });
        if let Some(attached) = self.attached.get() {
            node.attach(attached.attachment().clone());
        }
        Arc::new(node)
    }

    /// Accepts the slot map that a server has reported.
    ///
    /// A map with a lower epoch than the known one is ignored, with two exceptions: the cluster was reset
    /// (`is_reset`), so that all its epochs start again, or no server could be reached before. A map without
    /// owners is ignored as well.
    fn accept_map(self: &Arc<Self>, map: SlotMap, is_reset: bool) {
        let _guard = self.accept_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let owners = map.owners();
        let is_behind = self.map.borrow().as_ref().is_some_and(|known| known.epoch() > map.epoch());
        if owners.is_empty() || (is_behind && !is_reset && !self.accepts_any_map.load(Ordering::Relaxed)) {
            return;
        }
        self.accepts_any_map.store(false, Ordering::Relaxed);
        self.map.send_replace(Some(Arc::new(map)));
        for owner in &owners {
            self.node(owner);
        }
        let remove_gone = |nodes: &mut HashMap<_, _>| -> Vec<_> {
            nodes.extract_if(|address, _| !owners.contains(address)).collect()
        };
        let removed = self.update_nodes(remove_gone);
        // Not under the lock: a node that is dropped ends its connection, and reports its state.
        for (_, node) in removed.unwrap_or_default() {
            let reconnects = node.condition().connections().saturating_sub(1);
            self.past_reconnects.fetch_add(reconnects, Ordering::Relaxed);
        }
        self.publish_state();
    }

    /// Publishes the state: up if all servers are up, and down if all are down.
    fn publish_state(&self) {
        {
            // Under the lock, so that the last state computed is the last one published.
            let _guard = self.state_lock.lock().unwrap_or_else(PoisonError::into_inner);
            let states: Vec<_> = self.all_nodes().iter().map(|node| node.condition().state()).collect();
            let are_all = |wanted| states.iter().all(|state| *state == wanted);
            let has_untried = states.contains(&RedisState::Untried);
            let is_known = self.map.borrow().is_some();
            let state = match () {
                () if are_all(RedisState::Down) => RedisState::Down,
                () if are_all(RedisState::Up) && is_known => RedisState::Up,
                // The state stays `Untried` until all servers of the first map were tried.
                () if has_untried && *self.state.borrow() == RedisState::Untried => RedisState::Untried,
                () => RedisState::Degraded,
            };
            self.state.send_if_modified(|published| std::mem::replace(published, state) != state);
        }
        if let Some(attached) = self.attached.get() {
            attached.attachment().listener.status_changed();
        }
    }
}

impl ClusterView for MapReporter {
    fn owned_slots(&self) -> Box<dyn OwnedSlots> {
        Box::new(ServerSlots::new(self))
    }
}

impl MapReporter {
    fn host(&self) -> &str {
        &self.host
    }

    fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    fn report(&self, map: SlotMap, is_reset: bool) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.accept_map(map, is_reset);
        }
    }

    fn registries(&self) -> Vec<Registry> {
        self.cluster.upgrade().map(|cluster| cluster.registries()).unwrap_or_default()
    }
}
