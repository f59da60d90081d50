//! The slots of a server in a cluster, as a heartbeat checks them. A standalone server has none.
//!
//! No push reports the keys of a lost slot one by one. So the loss ends the heartbeat ([`End::Moved`]), and
//! the supervisor renews the change feed.

use tokio::time::timeout;

use crate::{
    node::heartbeat::{End, Heartbeat, plan::Plan},
    protocol::batch::Replies,
};

impl Heartbeat {
    /// Surveys the slots of the server, unless they are known.
    ///
    /// Lost slots belong to another server, and no push reports their keys one by one.
    pub(super) async fn survey_slots(&mut self) -> Result<(), End> {
        let Some(slots) = &mut self.slots else { return Ok(()) };
        let surveyed = timeout(self.settings.connect_timeout, slots.survey(&mut self.session.connection));
        let has_lost = surveyed.await.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
        if has_lost { Err(End::Moved) } else { Ok(()) }
    }

    /// Reads whether the slots may have changed, and then surveys them.
    ///
    /// Returns `false` if the server is cut off from its cluster: its other replies then prove nothing.
    pub(super) async fn check_slots(&mut self, plan: &Plan, replies: &mut Replies) -> Result<bool, End> {
        let outcome = match self.slots.as_mut().map(|slots| slots.has_changed(replies)) {
            Some(None) => Ok(false),
            Some(Some(true)) => self.survey_slots().await.map(|()| true),
            Some(Some(false)) | None => Ok(true),
        };
        if plan.switches_mode && !matches!(outcome, Ok(true)) {
            // The replies to the switch are not read.
            self.mode.tracking.mark_switch_unknown();
        }
        outcome
    }
}
