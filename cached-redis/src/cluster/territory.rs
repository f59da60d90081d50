//! What one server of a cluster holds, as its heartbeat learns it.

use async_trait::async_trait;
use redis::{RedisResult, Value};

use super::{
    Scout,
    map::{Held, SlotMap},
    slots::slot_of_post,
};
use crate::{
    connect::connection::Connection,
    protocol::{
        batch::{Batch, Replies},
        scripts::TOPOLOGY,
    },
    tracking::{attachment::Post, cluster_view::OwnedSlots},
};

/// What one server holds.
///
/// When it loses a slot, its keys go with a message each if they were migrated, and in silence if the slot was lost in another
/// way. So each heartbeat looks whether something is otherwise in the cluster, and what was read over a connection whose
/// server has lost a slot has to be asked for again.
#[derive(Debug)]
pub(super) struct Territory {
    scout: Scout,
    /// Names the map that `held` is from; `None` if it is not known.
    digest: Option<String>,
    /// That of the map.
    epoch: u64,
    held: Held,
    /// Where this process registers.
    post: Option<Post>,
}

impl Territory {
    pub(super) fn new(scout: &Scout) -> Self {
        Self { scout: scout.clone(), digest: None, epoch: 0, held: Held::default(), post: None }
    }

    /// Those that the server has.
    fn posts(&self) -> Vec<Post> {
        let posts = self.scout.posts();
        posts.into_iter().filter(|post| self.held.has(slot_of_post(post.number))).collect()
    }
}

#[async_trait]
impl OwnedSlots for Territory {
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
        // First: what changes before the map is read shows at the next heartbeat.
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

    /// As a rule the first place that the server has, so that all see when it was lost. It stays there as long as it can.
    fn post(&mut self) -> Option<Post> {
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
