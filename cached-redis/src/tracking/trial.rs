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
        mode::{TRACKING_TABLE_FULL, Tracking},
        push::PushListener,
        self_test::{Echo, SelfTest},
    },
};

/// Starts tracking in the best mode that the server allows.
///
/// Returns the mode, and the cause if it is off. With an `echo_key`, a mode in which no pushes arrive is not
/// used, and tracking is off if neither mode passes. Fails if the server does not answer.
pub(crate) async fn start(
    connection: &mut MultiplexedConnection,
    listener: &PushListener,
    echo_key: Option<&str>,
) -> RedisResult<(Tracking, Option<TierCause>)> {
    // Usually the server reports its evictions and pushes under `NOLOOP`; then one round trip is enough.
    let mut batch = Batch::new();
    // Before the first key is tracked.
    batch.add_source(&EVICTED, "");
    let noloop = Trial::begin(Tracking::Others(String::new()), listener, echo_key, &mut batch);
    let mut replies = batch.send(connection).await?;
    if let Ok(eviction_count) = split_refusal(replies.next::<String>())?
        && eviction_count != TRACKING_TABLE_FULL
        && noloop.outcome(&mut replies, connection).await?.is_ok()
    {
        return Ok((Tracking::Others(eviction_count), None));
    }
    let mut batch = Batch::new();
    let all = Trial::begin(Tracking::All, listener, echo_key, &mut batch);
    let mut replies = batch.send(connection).await?;
    // No mode requires less of the server than this one, so its cause is the one to report.
    let Err(cause) = all.outcome(&mut replies, connection).await? else { return Ok((Tracking::All, None)) };
    split_refusal(Tracking::Off.command().exec_async(connection).await)?.ok();
    Ok((Tracking::Off, Some(cause)))
}

/// A mode that is tried on a new connection.
struct Trial<'a> {
    mode: Tracking,
    listener: &'a PushListener,
    proof: Option<Proof<'a>>,
}

/// Self-test that shows whether pushes arrive.
struct Proof<'a> {
    key: &'a str,
    echo: Echo,
    self_test: SelfTest,
}

impl<'a> Trial<'a> {
    /// Adds the command for the mode, and the self-test in that mode.
    fn begin(mode: Tracking, listener: &'a PushListener, key: Option<&'a str>, batch: &mut Batch) -> Self {
        batch.add(mode.command());
        let proof = key.map(|key| {
            let echo = Echo::default();
            listener.reset_echo();
            let self_test = echo.add_self_test(batch, &mode, key, true, Instant::now());
            Proof { key, echo, self_test }
        });
        Self { mode, listener, proof }
    }

    /// Returns `Ok` if the server tracks in this mode and its pushes arrive, otherwise the cause.
    async fn outcome(
        self,
        replies: &mut Replies,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Result<(), TierCause>> {
        if let Err(cause) = split_refusal(replies.next::<Value>())? {
            return Ok(Err(cause));
        }
        let Self { mode, listener, proof: Some(Proof { key, mut echo, self_test }) } = self else {
            return Ok(Ok(()));
        };
        // The heartbeat reports the state of a server that refuses.
        let mut expects_push = echo.expects_push(replies, &self_test).unwrap_or(false);
        if !expects_push && !echo.runs_scripts() {
            // The first attempt has shown that the user may not run scripts: repeat it with plain commands.
            let mut batch = Batch::new();
            listener.reset_echo();
            let self_test = echo.add_self_test(&mut batch, &mode, key, true, Instant::now());
            expects_push = echo.expects_push(&mut batch.send(connection).await?, &self_test).unwrap_or(false);
        }
        Ok(if expects_push && !listener.has_echoed() { Err(TierCause::NoTracking) } else { Ok(()) })
    }
}

/// Separates a refusal, as an inner `Err` with its cause, from a failed connection.
fn split_refusal<T>(reply: RedisResult<T>) -> Result<Result<T, TierCause>, RedisError> {
    match reply {
        Ok(reply) => Ok(Ok(reply)),
        Err(error) if error.clone().into_server_errors().is_some() => Ok(Err(cause::of_error(&error))),
        Err(error) => Err(error),
    }
}
