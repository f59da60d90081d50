//! Tracking modes: which changes the server pushes over a connection.
//!
//! With `NOLOOP` the server does not push changes made by the connection itself, so no fill of this process
//! comes back to it. But evicted keys are removed in the name of the connection with the command that caused
//! the eviction. With `NOLOOP`, that connection gets no push, and none for later changes of the key by others
//! either. So `NOLOOP` is used only as long as the server provably evicts nothing. Otherwise the writes of
//! this process come back as changes, and each costs one more round trip.
//!
//! The same applies to keys that the server forgets because it tracks too many (`tracking-table-max-keys`,
//! one million by default). The server does not count these, so `NOLOOP` requires that it tracks less than
//! half of that.
//!
//! Proof that nothing was evicted costs one more command in each heartbeat. So `NOLOOP` is also dropped while
//! nothing is written: a process that only serves hits from memory has no writes that could come back.
//!
//! The order of a switch closes the gap: the eviction count is read after `NOLOOP` ends, and before it
//! begins.

use redis::{Cmd, RedisResult, Value, aio::MultiplexedConnection};

use crate::protocol::{
    batch::{Batch, Replies},
    scripts::EVICTED,
};

/// Reply of the server if it tracks so many keys that it may start to forget some.
pub(super) const TRACKING_TABLE_FULL: &str = "full";

/// Changes that are tracked on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// No changes.
    Off,
    /// Changes made by other connections (`NOLOOP`), with the eviction count of the server at the start.
    Others(String),
    /// All changes.
    All,
}

impl Tracking {
    /// Returns the command that selects this mode.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = redis::cmd("CLIENT");
        command.arg(match self {
            Self::Off => &["TRACKING", "OFF"][..],
            Self::Others(_) => &["TRACKING", "ON", "NOLOOP"],
            Self::All => &["TRACKING", "ON"],
        });
        command
    }

    pub(crate) fn is_on(&self) -> bool {
        *self != Self::Off
    }

    /// Returns whether this mode depends on the eviction count of the server.
    pub(crate) fn is_noloop(&self) -> bool {
        matches!(self, Self::Others(_))
    }

    /// Adds the query for the eviction count.
    pub(crate) fn add_eviction_query(batch: &mut Batch) {
        batch.add_script(&EVICTED, "", &[""; 0]);
    }

    /// Reads the eviction count, and returns whether some changes may not have been pushed.
    ///
    /// Any different reply counts, an error included.
    pub(crate) fn may_have_missed_changes(&self, replies: &mut Replies) -> bool {
        match self {
            Self::Others(before) => may_have_evicted(before, replies.next::<String>().ok()),
            Self::Off | Self::All => false,
        }
    }

    /// Records that the replies to a mode switch are lost, so that its outcome is unknown.
    pub(crate) fn mark_switch_unknown(&mut self) {
        if *self == Self::All {
            // The empty count differs from the next reply, so the next heartbeat widens the mode.
            *self = Self::Others(String::new());
        }
    }

    /// Switches to tracking all changes.
    pub(crate) async fn track_all(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        Self::All.command().exec_async(connection).await?;
        *self = Self::All;
        Ok(())
    }

    /// Adds the commands that switch to the other mode, at the end of a batch.
    pub(crate) fn add_switch(&self, batch: &mut Batch) {
        if self.is_noloop() {
            batch.add(Self::All.command());
            // Only after the switch, to include evictions on behalf of the commands before.
            Self::add_eviction_query(batch);
        } else {
            // Sent with its source: an unknown script would run again after the switch, and count evictions
            // since then as earlier ones.
            batch.add_source(&EVICTED, "");
            batch.add(Self::Others(String::new()).command());
        }
    }

    /// Reads the replies, and returns whether changes before the switch may not have been pushed.
    pub(crate) fn apply_switch(&mut self, replies: &mut Replies) -> bool {
        match self {
            Self::Off => false,
            Self::Others(before) => {
                let is_all = replies.next::<Value>().is_ok();
                let may_have_missed = may_have_evicted(before, replies.next::<String>().ok());
                if is_all {
                    *self = Self::All;
                }
                may_have_missed
            }
            Self::All => {
                let eviction_count = replies.next::<String>();
                if replies.next::<Value>().is_ok() {
                    // The empty count of a failed reply differs from the next one, which widens the mode.
                    *self = Self::Others(eviction_count.unwrap_or_default());
                }
                false
            }
        }
    }
}

/// Returns whether the server may have evicted or forgotten keys since the reply `before`.
fn may_have_evicted(before: &str, reply: Option<String>) -> bool {
    before == TRACKING_TABLE_FULL || reply.is_none_or(|reply| reply != before)
}
