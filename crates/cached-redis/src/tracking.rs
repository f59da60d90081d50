//! How the server tells what changed.
//!
//! With `NOLOOP` it does not tell what this connection changed itself: no fill of this process comes back to it.
//! But keys that the server evicts are removed in the name of whichever connection's command made it do so, and
//! with `NOLOOP` that one is not told, and from then on not told either what others do to the key. So `NOLOOP` is
//! used only as long as the server can be seen not to evict anything. Where it does, what this process wrote itself
//! comes back to it as a change, which costs it one more question.

use cached_core::TierCause;
use redis::{Cmd, RedisError, RedisResult, aio::MultiplexedConnection};

use crate::{
    batch::{Batch, Replies},
    cause, echo,
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
    /// Starts it, as well as the server allows, and says why if it does not; `Err` if it does not answer. With a key of one's
    /// own, it is off as well if nothing arrives of what the server tells.
    pub(crate) async fn start(
        connection: &mut MultiplexedConnection,
        ear: &Ear,
        echo: Option<&str>,
    ) -> RedisResult<(Self, Option<TierCause>)> {
        // As a rule the server says what it evicts, and all of it is one round trip.
        let hoped = Self::Others(String::new());
        let mut batch = Batch::new();
        // Before the first key is tracked.
        batch.add_source(&EVICTED, "");
        hoped.ask_to_begin(&mut batch, ear, echo);
        let mut replies = batch.send(connection).await?;
        let mode = answered(replies.next::<String>())?.ok().map_or(Self::All, Self::Others);
        let begun = if mode.is_partial() {
            mode.has_begun(&mut replies, ear, echo)?
        } else {
            let mut batch = Batch::new();
            mode.ask_to_begin(&mut batch, ear, echo);
            mode.has_begun(&mut batch.send(connection).await?, ear, echo)?
        };
        let Err(cause) = begun else { return Ok((mode, None)) };
        answered(Self::Off.command().exec_async(connection).await)?.ok();
        Ok((Self::Off, Some(cause)))
    }

    fn ask_to_begin(&self, batch: &mut Batch, ear: &Ear, echo: Option<&str>) {
        batch.add(self.command());
        if let Some(key) = echo {
            ear.forget();
            echo::ask(batch, self, key);
        }
    }

    /// Whether the server tracks now, and what it tells arrives; or why not.
    fn has_begun(
        &self,
        replies: &mut Replies,
        ear: &Ear,
        echo: Option<&str>,
    ) -> RedisResult<Result<(), TierCause>> {
        if let Err(cause) = answered(replies.next::<()>())? {
            return Ok(Err(cause));
        }
        let is_silent = echo.is_some() && echo::is_due(replies, self) && !ear.has_echoed();
        Ok(if is_silent { Err(TierCause::NoTracking) } else { Ok(()) })
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
}

/// The cause if the server refuses.
fn answered<T>(answer: RedisResult<T>) -> Result<Result<T, TierCause>, RedisError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) if error.clone().into_server_errors().is_some() => Ok(Err(cause::of_error(&error))),
        Err(error) => Err(error),
    }
}
