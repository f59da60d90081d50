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

use std::time::Instant;

use cached_core::TierCause;
use redis::{Cmd, RedisError, RedisResult, Value, aio::MultiplexedConnection};

use crate::{
    connect::cause,
    protocol::{
        batch::{Batch, Replies},
        scripts::EVICTED,
    },
    tracking::{
        echo::{Asked, Echo},
        push::Ear,
    },
};

/// What the server answers when it tracks so many keys that it may come to forget some.
const FULL: &str = "full";

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
    /// own, a mode in which nothing arrives of what the server tells is not used, and it is off if there is no other.
    pub(crate) async fn start(
        connection: &mut MultiplexedConnection,
        ear: &Ear,
        echo: Option<&str>,
    ) -> RedisResult<(Self, Option<TierCause>)> {
        // As a rule the server says what it evicts and is heard under `NOLOOP`, and all of it is one round trip.
        let mut batch = Batch::new();
        // Before the first key is tracked.
        batch.add_source(&EVICTED, "");
        let others = Trial::begin(Self::Others(String::new()), ear, echo, &mut batch);
        let mut replies = batch.send(connection).await?;
        if let Ok(evicted) = answered(replies.next::<String>())?
            && evicted != FULL
            && others.outcome(&mut replies, connection).await?.is_ok()
        {
            return Ok((Self::Others(evicted), None));
        }
        let mut batch = Batch::new();
        let all = Trial::begin(Self::All, ear, echo, &mut batch);
        let mut replies = batch.send(connection).await?;
        // Nothing asks less of the server than this mode, so what it lacks for this one is the cause.
        let Err(cause) = all.outcome(&mut replies, connection).await? else { return Ok((Self::All, None)) };
        answered(Self::Off.command().exec_async(connection).await)?.ok();
        Ok((Self::Off, Some(cause)))
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

/// A mode that is tried on a new connection.
struct Trial<'a> {
    mode: Tracking,
    ear: &'a Ear,
    proof: Option<Proof<'a>>,
}

/// What shows that the server is heard.
struct Proof<'a> {
    key: &'a str,
    echo: Echo,
    asked: Asked,
}

impl<'a> Trial<'a> {
    /// Asks for the mode, and for a message in it.
    fn begin(mode: Tracking, ear: &'a Ear, key: Option<&'a str>, batch: &mut Batch) -> Self {
        batch.add(mode.command());
        let proof = key.map(|key| {
            let echo = Echo::default();
            ear.forget();
            let asked = echo.ask(batch, &mode, key, true, Instant::now());
            Proof { key, echo, asked }
        });
        Self { mode, ear, proof }
    }

    /// Whether the server tracks in this mode now, and what it tells arrives; or why not.
    async fn outcome(
        self,
        replies: &mut Replies,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Result<(), TierCause>> {
        if let Err(cause) = answered(replies.next::<Value>())? {
            return Ok(Err(cause));
        }
        let Self { mode, ear, proof: Some(Proof { key, mut echo, asked }) } = self else { return Ok(Ok(())) };
        // In which state the server is, is for the heartbeat to say.
        let mut is_due = echo.is_due(replies, &asked).unwrap_or(false);
        if !is_due && !echo.runs_scripts() {
            // A user without the right to run scripts is found out by the first question.
            let mut batch = Batch::new();
            ear.forget();
            let asked = echo.ask(&mut batch, &mode, key, true, Instant::now());
            is_due = echo.is_due(&mut batch.send(connection).await?, &asked).unwrap_or(false);
        }
        Ok(if is_due && !ear.has_echoed() { Err(TierCause::NoTracking) } else { Ok(()) })
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
