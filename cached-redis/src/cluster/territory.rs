//! The slots of one server in a cluster, as learned by the heartbeat of its connection.

use async_trait::async_trait;
use redis::{RedisResult, Value};

use super::{
    MapReporter,
    map::{SlotMap, SlotSet},
    slots::slot_of_post,
};
use crate::{
    connect::connection::Connection,
    protocol::{
        batch::{Batch, Replies},
        scripts::TOPOLOGY,
    },
    tracking::{attachment::Registry, cluster_view::OwnedSlots},
};

/// The slots of one server.
///
/// When the server loses a slot by migration, it pushes a change of each migrated key. When it loses a slot
/// in another way, it pushes nothing. So each heartbeat checks whether the map of the cluster has changed. If
/// the server has lost a slot, all entries read over its connection must be validated again.
#[derive(Debug)]
pub(super) struct ServerSlots {
    scout: MapReporter,
    /// Digest of the map that `held` is from; `None` if the map must be read again.
    digest: Option<String>,
    /// Epoch of the map that `held` is from.
    epoch: u64,
    held: SlotSet,
    /// Registry of this process.
    post: Option<Registry>,
}

impl ServerSlots {
    pub(super) fn new(scout: &MapReporter) -> Self {
        Self { scout: scout.clone(), digest: None, epoch: 0, held: SlotSet::default(), post: None }
    }

    /// Returns the registries in the slots of this server.
    fn posts(&self) -> Vec<Registry> {
        let posts = self.scout.posts();
        posts.into_iter().filter(|post| self.held.has(slot_of_post(post.number))).collect()
    }
}

#[async_trait]
impl OwnedSlots for ServerSlots {
    fn ask(&self, batch: &mut Batch) {
        batch.add_script(&TOPOLOGY, "", &[""; 0]);
    }

    fn has_changed(&mut self, replies: &mut Replies) -> Option<bool> {
        let said = replies.next::<(String, u64, String)>().ok();
        if said.as_ref().map(|(_, _, digest)| digest) != self.digest.as_ref() {
            self.digest = None;
        }
        let is_cut_off = said.is_some_and(|(state, ..)| state != "ok");
        (!is_cut_off).then_some(self.digest.is_none())
    }

    async fn survey(&mut self, connection: &mut Connection) -> RedisResult<bool> {
        if self.digest.is_some() {
            return Ok(false);
        }
        let mut batch = Batch::new();
        // The digest comes first: a change before the map is read shows at the next heartbeat.
        self.ask(&mut batch);
        batch.add(redis::cmd("CLUSTER").arg("SLOTS").clone());
        batch.add(redis::cmd("CLUSTER").arg("MYID").clone());
        let mut replies = batch.send(connection).await?;
        let (_, epoch, digest) = replies.next::<(String, u64, String)>()?;
        let (slots, id) = (replies.next::<Value>()?, replies.next::<String>()?);
        let Some(map) = SlotMap::read(epoch, &slots, self.scout.host(), self.scout.addresses()) else {
            return Err(nothing());
        };
        let held = map.held_by(&id);
        self.scout.tell(map, epoch < self.epoch);
        let has_lost = !held.has_all(&self.held);
        (self.digest, self.epoch, self.held) = (Some(digest), epoch, held);
        if self.post.as_ref().is_some_and(|post| !self.held.has(slot_of_post(post.number))) {
            self.post = None;
        }
        Ok(has_lost)
    }

    /// Returns the registry of this process.
    ///
    /// Usually this is the first one of the server, which all processes share, so that all of them notice its
    /// loss. It is kept as long as the server holds its slot.
    fn post(&mut self) -> Option<Registry> {
        if self.post.is_none() {
            self.post = self.posts().into_iter().next();
        }
        self.post.clone()
    }

    fn choose_another_post(&mut self) {
        self.digest = None;
        let number = self.post.as_ref().map(|post| post.number);
        let posts = self.posts();
        let later = posts.iter().find(|post| Some(post.number) > number);
        self.post = later.or(posts.first()).cloned();
    }
}

fn nothing() -> redis::RedisError {
    (redis::ErrorKind::UnexpectedReturnType, "this server does not say who holds what").into()
}
