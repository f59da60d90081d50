//! The slots of one server in a cluster, as learned by the heartbeat of its connection.

use async_trait::async_trait;
use redis::{RedisResult, Value};

use crate::{
    cluster::{
        map::{SlotMap, SlotSet},
        reporter::MapReporter,
        slots::slot_of_registry,
    },
    connect::connection::Connection,
    protocol::{
        batch::{Batch, Replies},
        scripts::TOPOLOGY,
    },
    tracking::{
        attachment::Registry,
        cluster_view::{ClusterView, OwnedSlots},
    },
};

/// The slots of one server.
///
/// When the server loses a slot by migration, it pushes a change of each migrated key. When it loses a slot
/// in another way, it pushes nothing. So each heartbeat checks whether the map of the cluster has changed. If
/// the server has lost a slot, all entries read over its connection must be validated again.
#[derive(Debug)]
struct ServerSlots {
    reporter: MapReporter,
    /// Digest of the map that `held` is from; `None` if the map must be read again.
    digest: Option<String>,
    /// Epoch of the map that `held` is from.
    epoch: u64,
    held: SlotSet,
    /// Registry of this process.
    registry: Option<Registry>,
}

impl ClusterView for MapReporter {
    fn owned_slots(&self) -> Box<dyn OwnedSlots> {
        Box::new(ServerSlots::new(self))
    }
}

impl ServerSlots {
    fn new(reporter: &MapReporter) -> Self {
        Self { reporter: reporter.clone(), digest: None, epoch: 0, held: SlotSet::default(), registry: None }
    }

    /// Returns the registries in the slots of this server.
    fn registries(&self) -> Vec<Registry> {
        let registries = self.reporter.registries();
        registries
            .into_iter()
            .filter(|registry| self.held.contains(slot_of_registry(registry.number)))
            .collect()
    }
}

#[async_trait]
impl OwnedSlots for ServerSlots {
    fn add_query(&self, batch: &mut Batch) {
        batch.add_script(&TOPOLOGY, "", &[""; 0]);
    }

    fn has_changed(&mut self, replies: &mut Replies) -> Option<bool> {
        let reply = replies.next::<(String, u64, String)>().ok();
        if reply.as_ref().map(|(_, _, digest)| digest) != self.digest.as_ref() {
            self.digest = None;
        }
        let is_cut_off = reply.is_some_and(|(state, ..)| state != "ok");
        (!is_cut_off).then_some(self.digest.is_none())
    }

    async fn survey(&mut self, connection: &mut Connection) -> RedisResult<bool> {
        if self.digest.is_some() {
            return Ok(false);
        }
        let mut batch = Batch::new();
        // The digest comes first: a change before the map is read shows at the next heartbeat.
        self.add_query(&mut batch);
        batch.add(redis::cmd("CLUSTER").arg("SLOTS").clone());
        batch.add(redis::cmd("CLUSTER").arg("MYID").clone());
        let mut replies = batch.send(connection).await?;
        let (_, epoch, digest) = replies.next::<(String, u64, String)>()?;
        let (slots, id) = (replies.next::<Value>()?, replies.next::<String>()?);
        let Some(map) = SlotMap::parse(epoch, &slots, self.reporter.host(), self.reporter.addresses()) else {
            return Err(unusable_reply());
        };
        let held = map.slots_of_node(&id);
        self.reporter.report(map, epoch < self.epoch);
        let has_lost = !held.contains_all(&self.held);
        (self.digest, self.epoch, self.held) = (Some(digest), epoch, held);
        if self
            .registry
            .as_ref()
            .is_some_and(|registry| !self.held.contains(slot_of_registry(registry.number)))
        {
            self.registry = None;
        }
        Ok(has_lost)
    }

    /// Returns the registry of this process.
    ///
    /// Usually this is the first one of the server, which all processes share, so that all of them notice its
    /// loss. It is kept as long as the server holds its slot.
    fn registry(&mut self) -> Option<Registry> {
        if self.registry.is_none() {
            self.registry = self.registries().into_iter().next();
        }
        self.registry.clone()
    }

    fn choose_another_registry(&mut self) {
        self.digest = None;
        let number = self.registry.as_ref().map(|registry| registry.number);
        let registries = self.registries();
        let later = registries.iter().find(|registry| Some(registry.number) > number);
        self.registry = later.or(registries.first()).cloned();
    }
}

fn unusable_reply() -> redis::RedisError {
    (redis::ErrorKind::UnexpectedReturnType, "this server does not report the owners of the slots").into()
}
