//! Several commands in one round trip.

use std::{sync::LazyLock, vec};

use redis::{
    Arg, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind, ToRedisArgs,
    Value, aio::MultiplexedConnection,
};

use crate::scripts::Script;

/// Commands and calls of scripts, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    pipeline: Pipeline,
    scripts: Vec<Option<&'static Script>>,
    is_ordered: bool,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { pipeline: Pipeline::new(), scripts: Vec::new(), is_ordered: false }
    }

    /// One in which what comes after a script that the server does not know is sent again after it, and so may have its
    /// effect twice.
    pub(crate) fn ordered() -> Self {
        Self { is_ordered: true, ..Self::new() }
    }

    /// A batch of one command.
    pub(crate) fn of(command: Cmd) -> Self {
        let mut batch = Self::new();
        batch.add(command);
        batch
    }

    /// A batch of one call of a script on one key, or on none if its name is empty.
    pub(crate) fn of_script(script: &'static LazyLock<Script>, key: &str, args: impl ToRedisArgs) -> Self {
        let mut batch = Self::new();
        batch.add_script(script, key, args);
        batch
    }

    pub(crate) fn add(&mut self, command: Cmd) {
        self.pipeline.add_command(command);
        self.scripts.push(None);
    }

    pub(crate) fn add_script(
        &mut self,
        script: &'static LazyLock<Script>,
        key: &str,
        args: impl ToRedisArgs,
    ) {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&script.hash);
        if key.is_empty() {
            command.arg(0);
        } else {
            command.arg(1).arg(key);
        }
        command.arg(args);
        self.pipeline.add_command(command);
        self.scripts.push(Some(script));
    }

    /// Sends everything and returns the answers. Fails only when there are none; a refusal is an answer.
    pub(crate) async fn send(&self, connection: &mut MultiplexedConnection) -> RedisResult<Replies> {
        if self.scripts.is_empty() {
            return Ok(Replies(Vec::new().into_iter()));
        }
        let count = self.scripts.len();
        let mut replies = connection.send_packed_commands(&self.pipeline, 0, count).await?;
        let (sources, places) = self.unknown(&replies);
        if !places.is_empty() {
            let again = connection.send_packed_commands(&sources, 0, places.len()).await?;
            for (place, reply) in places.into_iter().zip(again) {
                replies[place] = reply;
            }
        }
        Ok(Replies(replies.into_iter()))
    }

    /// The calls of scripts that the server does not know, now with their sources, and their places in the batch.
    /// The others have had their effect, and must not have it twice, unless their order counts.
    fn unknown(&self, replies: &[Value]) -> (Pipeline, Vec<usize>) {
        let (mut sources, mut places) = (Pipeline::new(), Vec::new());
        for (place, ((reply, script), command)) in
            replies.iter().zip(&self.scripts).zip(self.pipeline.cmd_iter()).enumerate()
        {
            let is_unknown = matches!(reply, Value::ServerError(error)
                if error.kind() == Some(ServerErrorKind::NoScript));
            if is_unknown || (self.is_ordered && !places.is_empty()) {
                let again = script.map_or_else(|| command.clone(), |script| with_source(command, script));
                sources.add_command(again);
                places.push(place);
            }
        }
        (sources, places)
    }
}

/// The call of a script by its source: this also makes the server know it.
fn with_source(command: &Cmd, script: &Script) -> Cmd {
    let mut with_source = redis::cmd("EVAL");
    with_source.arg(script.source);
    for arg in command.args_iter().skip(2) {
        if let Arg::Simple(arg) = arg {
            with_source.arg(arg);
        }
    }
    with_source
}

/// The answers to a batch, in order.
#[derive(Debug)]
pub(crate) struct Replies(vec::IntoIter<Value>);

impl Replies {
    /// The next answer; fails if it is a refusal, or not of this type.
    pub(crate) fn next<T: FromRedisValue>(&mut self) -> RedisResult<T> {
        let value = self.0.next().ok_or_else(|| {
            RedisError::from((ErrorKind::UnexpectedReturnType, "there are fewer answers than commands"))
        })?;
        match value {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(redis::from_redis_value(value)?),
        }
    }
}
