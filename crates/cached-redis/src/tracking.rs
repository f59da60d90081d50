//! How the server tells what changed.
//!
//! With `NOLOOP` it does not tell what this connection changed itself: no fill of this process comes back to it.
//! But keys that the server evicts are removed in the name of whichever connection's command made it do so, and
//! with `NOLOOP` that one is not told, and from then on not told either what others do to the key. So `NOLOOP` is
//! used only as long as the server can be seen not to evict anything. Where it does, what this process wrote itself
//! comes back to it as a change, which costs it one more question.
//!
//! To see that nothing was evicted is a question of its own in each heartbeat. So `NOLOOP` is also let go while nothing is
//! written: a process that is asked for nothing but hits in memory has no words of its own that could come back.

use std::time::Instant;

use redis::{Cmd, RedisError, RedisResult, Value, aio::MultiplexedConnection};

use crate::{
    batch::{Batch, Replies},
    echo::Echo,
    scripts::EVICTED,
    watch::Ear,
};

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
    /// Starts it, as well as the server allows; `Err` if it does not answer. With a key of one's own, a mode in which nothing
    /// arrives of what the server tells is not used, and it is off if there is no other.
    pub(crate) async fn start(
        connection: &mut MultiplexedConnection,
        ear: &Ear,
        echo: Option<&str>,
    ) -> RedisResult<Self> {
        // Before the first key is tracked.
        let mut replies = Batch::of_script(&EVICTED, "", &[""; 0]).send(connection).await?;
        let evicted = answered(replies.next::<String>())?;
        for mode in evicted.map(Self::Others).into_iter().chain([Self::All]) {
            if answered(mode.command().exec_async(connection).await)?.is_none() {
                continue;
            }
            match echo {
                Some(key) if !mode.is_heard(connection, ear, key).await? => {}
                _ => return Ok(mode),
            }
        }
        answered(Self::Off.command().exec_async(connection).await)?;
        Ok(Self::Off)
    }

    /// Whether anything arrives of what the server tells in this mode.
    async fn is_heard(
        &self,
        connection: &mut MultiplexedConnection,
        ear: &Ear,
        key: &str,
    ) -> RedisResult<bool> {
        let mut echo = Echo::default();
        // A user who may not run scripts is found out by the first question.
        for _ in 0..2 {
            let mut batch = Batch::new();
            let asked = echo.ask(&mut batch, self, key, true, Instant::now());
            ear.forget();
            let mut replies = batch.send(connection).await?;
            // In which state the server is, is for the heartbeat to say.
            let is_due = echo.is_due(&mut replies, &asked).unwrap_or(false);
            if is_due || echo.runs_scripts() {
                return Ok(!is_due || ear.has_echoed());
            }
        }
        Ok(true)
    }

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
            Self::Others(before) => replies.next::<String>().ok().as_ref() != Some(before),
            Self::Off | Self::All => false,
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
            Self::ask(batch);
            batch.add(Self::Others(String::new()).command());
        }
    }

    /// Reads the answers; whether some changes may not have been told until then.
    pub(crate) fn turn(&mut self, replies: &mut Replies) -> bool {
        match self {
            Self::Off => false,
            Self::Others(before) => {
                let is_all = replies.next::<Value>().is_ok();
                let has_missed = replies.next::<String>().ok().as_ref() != Some(before);
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

/// `None` if the server refuses.
fn answered<T>(answer: RedisResult<T>) -> Result<Option<T>, RedisError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.clone().into_server_errors().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}
