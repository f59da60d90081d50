//! Batches: several commands in one round trip.
//!
//! A script is called by its hash. If the server does not know the script, only that call is sent again, with
//! the source, so that no other command takes effect twice. In an ordered batch, all commands after it are
//! sent again as well.

use std::{sync::LazyLock, vec};

use redis::{
    Arg, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerError, ServerErrorKind,
    ToRedisArgs, Value, aio::MultiplexedConnection,
};

use crate::protocol::scripts::Script;

/// Commands and script calls, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The only command, as in a hit, without the cost of a pipeline.
    single: Option<Cmd>,
    /// All commands, if there are several.
    pipeline: Pipeline,
    scripts: Vec<Option<&'static Script>>,
    is_ordered: bool,
    /// Positions of the commands before which all earlier ones must have taken effect.
    steps: Vec<usize>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let pipeline = Pipeline::with_capacity(0);
        Self { single: None, pipeline, scripts: Vec::new(), is_ordered: false, steps: Vec::new() }
    }

    /// Creates a batch that keeps its order even if the server does not know a script.
    ///
    /// The commands after that script are sent again after it, and so may take effect twice.
    pub(crate) fn ordered() -> Self {
        Self { is_ordered: true, ..Self::new() }
    }

    /// Starts a new step: commands added so far take effect before those that are added later.
    ///
    /// For a single server it is enough that the batch is [ordered](Self::ordered).
    pub(crate) fn start_step(&mut self) {
        self.steps.push(self.scripts.len());
    }

    /// Creates a batch of one command.
    pub(crate) fn of(command: Cmd) -> Self {
        Self { single: Some(command), ..Self::new() }
    }

    /// Creates a batch of one script call on one key, or on none if `key` is empty.
    pub(crate) fn of_script(script: &'static LazyLock<Script>, key: &str, args: impl ToRedisArgs) -> Self {
        let mut batch = Self::new();
        batch.add_script(script, key, args);
        batch
    }

    pub(crate) fn add(&mut self, command: Cmd) {
        self.add_next(command, None);
    }

    fn add_next(&mut self, command: Cmd, script: Option<&'static Script>) {
        if let Some(first) = self.single.take() {
            self.pipeline.add_command(first);
            self.scripts.push(None);
        }
        self.pipeline.add_command(command);
        self.scripts.push(script);
    }

    pub(crate) fn add_script(
        &mut self,
        script: &'static LazyLock<Script>,
        key: &str,
        args: impl ToRedisArgs,
    ) {
        let keys = [key];
        self.add_script_on(script, if key.is_empty() { &[] } else { &keys }, args);
    }

    /// Adds a script call on several keys of one slot.
    pub(crate) fn add_script_on(
        &mut self,
        script: &'static LazyLock<Script>,
        keys: &[&str],
        args: impl ToRedisArgs,
    ) {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&script.hash).arg(keys.len()).arg(keys).arg(args);
        self.add_next(command, Some(script));
    }

    /// Adds a call of a short script by its source, without arguments.
    ///
    /// Unlike [`add_script`](Self::add_script), this takes one round trip even if the server does not know
    /// the script.
    pub(crate) fn add_source(&mut self, script: &'static LazyLock<Script>, key: &str) {
        let mut command = redis::cmd("EVAL");
        command.arg(script.source);
        if key.is_empty() {
            command.arg(0);
        } else {
            command.arg(1).arg(key);
        }
        self.add_next(command, None);
    }

    /// Returns the commands by steps, each of which must follow the one before it.
    #[cfg(feature = "cluster")]
    pub(crate) fn steps(&self) -> Vec<Vec<Piece<'_>>> {
        if let Some(command) = &self.single {
            return vec![vec![Piece { command, script: None }]];
        }
        let mut steps = vec![Vec::new()];
        for (position, (command, script)) in self.pipeline.cmd_iter().zip(&self.scripts).enumerate() {
            if self.steps.contains(&position) {
                steps.push(Vec::new());
            }
            if let Some(step) = steps.last_mut() {
                step.push(Piece { command, script: *script });
            }
        }
        steps
    }

    /// Creates a batch for one server from some commands of another batch.
    ///
    /// With `is_asking`, the commands were redirected to a server that requires `ASKING` before each of them.
    #[cfg(feature = "cluster")]
    pub(crate) fn of_pieces(pieces: &[&Piece<'_>], is_asking: bool) -> Self {
        let mut batch = Self::new();
        for Piece { command, script } in pieces {
            match script {
                // Sent with its source: if the server did not know it, a retry would need another `ASKING`.
                Some(script) if is_asking => {
                    batch.add(redis::cmd("ASKING"));
                    batch.add(with_source(command, script));
                }
                None if is_asking => {
                    batch.add(redis::cmd("ASKING"));
                    batch.add((*command).clone());
                }
                _ => batch.add_next((*command).clone(), *script),
            }
        }
        batch
    }

    /// Sends all commands and returns the replies.
    ///
    /// Fails only if there are none; a refusal is a reply.
    pub(crate) async fn send(&self, connection: &mut MultiplexedConnection) -> RedisResult<Replies> {
        if let Some(command) = &self.single {
            return connection.send_packed_command(command).await.map(Replies::of);
        }
        if self.scripts.is_empty() {
            return Ok(Replies::default());
        }
        let count = self.scripts.len();
        let mut replies = connection.send_packed_commands(&self.pipeline, 0, count).await?;
        let (calls, positions) = self.unknown_scripts(&replies);
        if !positions.is_empty() {
            let resent = connection.send_packed_commands(&calls, 0, positions.len()).await?;
            for (position, reply) in positions.into_iter().zip(resent) {
                replies[position] = reply;
            }
        }
        Ok(Replies { several: replies.into_iter(), ..Replies::default() })
    }

    /// Returns the calls of unknown scripts, with their sources and their positions in the batch.
    ///
    /// All other commands have taken effect, and must not do so twice, unless their order counts: then those
    /// after an unknown script are returned as well.
    fn unknown_scripts(&self, replies: &[Value]) -> (Pipeline, Vec<usize>) {
        let (mut calls, mut positions) = (Pipeline::new(), Vec::new());
        for (position, ((reply, script), command)) in
            replies.iter().zip(&self.scripts).zip(self.pipeline.cmd_iter()).enumerate()
        {
            let is_unknown = matches!(reply, Value::ServerError(error)
                if error.kind() == Some(ServerErrorKind::NoScript));
            if is_unknown || (self.is_ordered && !positions.is_empty()) {
                let again = script.map_or_else(|| command.clone(), |script| with_source(command, script));
                calls.add_command(again);
                positions.push(position);
            }
        }
        (calls, positions)
    }
}

/// One command of a batch.
#[cfg(feature = "cluster")]
pub(crate) struct Piece<'a> {
    command: &'a Cmd,
    script: Option<&'static Script>,
}

#[cfg(feature = "cluster")]
impl Piece<'_> {
    /// Returns the key of the command.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        let position = if self.script.is_some() { 3 } else { 1 };
        match self.command.args_iter().nth(position)? {
            Arg::Simple(key) => Some(key),
            _ => None,
        }
    }
}

/// Returns the script call with its source, by which the server also learns the script.
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

/// The replies to a batch, in order.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    single: Option<Value>,
    several: vec::IntoIter<Value>,
    /// Upper bound of the server's clock at the arrival of the replies.
    clock: Option<u64>,
    /// Clock bound of each reply, if the replies are from several servers.
    clocks: vec::IntoIter<Option<u64>>,
}

impl Replies {
    fn of(value: Value) -> Self {
        Self { single: Some(value), ..Self::default() }
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn new(values: Vec<(Value, Option<u64>)>) -> Self {
        let (values, clocks): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        Self { several: values.into_iter(), clocks: clocks.into_iter(), ..Self::default() }
    }

    /// Sets the time of arrival, by the server's clock.
    pub(crate) fn set_clock(&mut self, clock: Option<u64>) {
        self.clock = clock;
    }

    /// Returns the time at which the last reply taken arrived, by the clock of its server.
    pub(crate) fn clock(&self) -> Option<u64> {
        self.clock
    }

    /// Returns the raw replies. With `is_asking`, the replies to `ASKING` are left out.
    #[cfg(feature = "cluster")]
    pub(crate) fn values(self, is_asking: bool) -> impl Iterator<Item = (Value, Option<u64>)> {
        let clock = self.clock;
        let values = self.single.into_iter().chain(self.several).map(move |value| (value, clock));
        values.skip(usize::from(is_asking)).step_by(if is_asking { 2 } else { 1 })
    }

    /// Returns the refusals.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = &ServerError> {
        self.single.iter().chain(self.several.as_slice()).filter_map(|value| match value {
            Value::ServerError(error) => Some(error),
            _ => None,
        })
    }

    /// Returns the next reply. Fails if it is a refusal, or not of this type.
    pub(crate) fn next<T: FromRedisValue>(&mut self) -> RedisResult<T> {
        if let Some(clock) = self.clocks.next() {
            self.clock = clock;
        }
        let value = self.single.take().or_else(|| self.several.next()).ok_or_else(|| {
            RedisError::from((ErrorKind::UnexpectedReturnType, "there are fewer replies than commands"))
        })?;
        match value {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(redis::from_redis_value(value)?),
        }
    }
}
