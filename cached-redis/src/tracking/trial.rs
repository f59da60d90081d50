//! The mode of a new connection, which is tried before it is used.

use std::time::Instant;

use cached_core::TierCause;
use redis::{RedisError, RedisResult, Value, aio::MultiplexedConnection};

use crate::{
    connect::cause,
    protocol::{
        batch::{Batch, Replies},
        scripts::EVICTED,
    },
    tracking::{
        echo::{Asked, Echo},
        mode::{FULL, Tracking},
        push::Ear,
    },
};

/// Starts it, as well as the server allows, and says why if it does not; `Err` if it does not answer. With a key of one's
/// own, a mode in which nothing arrives of what the server tells is not used, and it is off if there is no other.
pub(crate) async fn start(
    connection: &mut MultiplexedConnection,
    ear: &Ear,
    echo: Option<&str>,
) -> RedisResult<(Tracking, Option<TierCause>)> {
    // As a rule the server says what it evicts and is heard under `NOLOOP`, and all of it is one round trip.
    let mut batch = Batch::new();
    // Before the first key is tracked.
    batch.add_source(&EVICTED, "");
    let others = Trial::begin(Tracking::Others(String::new()), ear, echo, &mut batch);
    let mut replies = batch.send(connection).await?;
    if let Ok(evicted) = answered(replies.next::<String>())?
        && evicted != FULL
        && others.outcome(&mut replies, connection).await?.is_ok()
    {
        return Ok((Tracking::Others(evicted), None));
    }
    let mut batch = Batch::new();
    let all = Trial::begin(Tracking::All, ear, echo, &mut batch);
    let mut replies = batch.send(connection).await?;
    // Nothing asks less of the server than this mode, so what it lacks for this one is the cause.
    let Err(cause) = all.outcome(&mut replies, connection).await? else { return Ok((Tracking::All, None)) };
    answered(Tracking::Off.command().exec_async(connection).await)?.ok();
    Ok((Tracking::Off, Some(cause)))
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
