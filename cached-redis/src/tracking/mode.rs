//! How the server tells what changed.
//!
//! With `NOLOOP` it does not tell what this connection changed itself: no fill of this process comes back to it.
//! But keys that the server evicts are removed in the name of whichever connection's command made it do so, and
//! with `NOLOOP` that one is not told, and from then on not told either what others do to the key. So `NOLOOP` is
//! used only as long as the server can be seen not to evict anything. Where it does, what this process wrote itself
//! comes back to it as a change, which costs it one more question.
//!
//! The same is true of keys that the server forgets because it tracks too many (`tracking-table-max-keys`, a million by default). It does
//! not count these, so `NOLOOP` is used only while it tracks less than half of that.
//!
//! To see that nothing was evicted is a question of its own in each heartbeat. So `NOLOOP` is also let go while nothing is
//! written: a process that is asked for nothing but hits in memory has no words of its own that could come back.

use redis::{Cmd, RedisResult, Value, aio::MultiplexedConnection};

use crate::protocol::{
    batch::{Batch, Replies},
    scripts::EVICTED,
};

/// What the server answers when it tracks so many keys that it may come to forget some.
pub(super) const FULL: &str = "full";

/// What is tracked on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// Nothing.
    Off,
    /// What others change. The server had evicted so many keys until then.
    Others(String),
    /// Everything.
    All,
}

impl Tracking {
    /// What brings it about.
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

    /// Whether the server has to be asked what it evicted.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(self, Self::Others(_))
    }

    /// Asks what the server has evicted.
    pub(crate) fn ask(batch: &mut Batch) {
        batch.add_script(&EVICTED, "", &[""; 0]);
    }

    /// Reads the answer: whether some changes may not have been told. It does not matter why the answer is another
    /// one.
    pub(crate) fn has_missed(&self, replies: &mut Replies) -> bool {
        match self {
            Self::Others(before) => is_another(before, replies.next::<String>().ok()),
            Self::Off | Self::All => false,
        }
    }

    /// Whether it may have turned to the other mode is not known, as the answers are lost.
    pub(crate) fn lose_turn(&mut self) {
        if *self == Self::All {
            // The next heartbeat finds another answer.
            *self = Self::Others(String::new());
        }
    }

    /// From now on, everything is tracked.
    pub(crate) async fn widen(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        Self::All.command().exec_async(connection).await?;
        *self = Self::All;
        Ok(())
    }

    /// Asks for the other mode at the end of a batch.
    pub(crate) fn ask_to_turn(&self, batch: &mut Batch) {
        if self.is_partial() {
            batch.add(Self::All.command());
            // Also what the server has evicted in the name of the command before.
            Self::ask(batch);
        } else {
            // With its source: what a script that is not known is asked for again later would count as evicted before.
            batch.add_source(&EVICTED, "");
            batch.add(Self::Others(String::new()).command());
        }
    }

    /// Reads the answers; whether some changes may not have been told until then.
    pub(crate) fn turn(&mut self, replies: &mut Replies) -> bool {
        match self {
            Self::Off => false,
            Self::Others(before) => {
                let is_all = replies.next::<Value>().is_ok();
                let has_missed = is_another(before, replies.next::<String>().ok());
                if is_all {
                    *self = Self::All;
                }
                has_missed
            }
            Self::All => {
                let evicted = replies.next::<String>();
                if replies.next::<Value>().is_ok() {
                    // Without an answer, the next heartbeat finds another one.
                    *self = Self::Others(evicted.unwrap_or_default());
                }
                false
            }
        }
    }
}

/// Whether the server may have forgotten keys since it gave the first of these answers.
fn is_another(before: &str, answer: Option<String>) -> bool {
    before == FULL || answer.is_none_or(|answer| answer != before)
}
