//! Selection of the tracking mode for a new connection. A mode is tried before it is used.

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
        echo::{Echo, SelfTest},
        mode::{FULL, Tracking},
        push::PushListener,
    },
};

/// Starts tracking in the best mode that the server allows.
///
/// Returns the mode, and the cause if it is off. With an `echo` key, a mode in which no pushes arrive is not
/// used, and tracking is off if neither mode passes. Fails if the server does not answer.
pub(crate) async fn start(
    connection: &mut MultiplexedConnection,
    ear: &PushListener,
    echo: Option<&str>,
) -> RedisResult<(Tracking, Option<TierCause>)> {
    // Usually the server reports its evictions and pushes under `NOLOOP`; then one round trip is enough.
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
    // No mode requires less of the server than this one, so its cause is the one to report.
    let Err(cause) = all.outcome(&mut replies, connection).await? else { return Ok((Tracking::All, None)) };
    answered(Tracking::Off.command().exec_async(connection).await)?.ok();
    Ok((Tracking::Off, Some(cause)))
}

/// A mode that is tried on a new connection.
struct Trial<'a> {
    mode: Tracking,
    ear: &'a PushListener,
    proof: Option<Proof<'a>>,
}

/// Self-test that shows whether pushes arrive.
struct Proof<'a> {
    key: &'a str,
    echo: Echo,
    asked: SelfTest,
}

impl<'a> Trial<'a> {
    /// Adds the command for the mode, and the self-test in that mode.
    fn begin(mode: Tracking, ear: &'a PushListener, key: Option<&'a str>, batch: &mut Batch) -> Self {
        batch.add(mode.command());
        let proof = key.map(|key| {
            let echo = Echo::default();
            ear.forget();
            let asked = echo.ask(batch, &mode, key, true, Instant::now());
            Proof { key, echo, asked }
        });
        Self { mode, ear, proof }
    }

    /// Returns `Ok` if the server tracks in this mode and its pushes arrive, otherwise the cause.
    async fn outcome(
        self,
        replies: &mut Replies,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Result<(), TierCause>> {
        if let Err(cause) = answered(replies.next::<Value>())? {
            return Ok(Err(cause));
        }
        let Self { mode, ear, proof: Some(Proof { key, mut echo, asked }) } = self else { return Ok(Ok(())) };
        // The heartbeat reports the state of a server that refuses.
        let mut is_due = echo.is_due(replies, &asked).unwrap_or(false);
        if !is_due && !echo.runs_scripts() {
            // The first attempt has shown that the user may not run scripts: repeat it with plain commands.
            let mut batch = Batch::new();
            ear.forget();
            let asked = echo.ask(&mut batch, &mode, key, true, Instant::now());
            is_due = echo.is_due(&mut batch.send(connection).await?, &asked).unwrap_or(false);
        }
        Ok(if is_due && !ear.has_echoed() { Err(TierCause::NoTracking) } else { Ok(()) })
    }
}

/// Separates a refusal, as an inner `Err` with its cause, from a failed connection.
fn answered<T>(answer: RedisResult<T>) -> Result<Result<T, TierCause>, RedisError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) if error.clone().into_server_errors().is_some() => Ok(Err(cause::of_error(&error))),
        Err(error) => Err(error),
    }
}
