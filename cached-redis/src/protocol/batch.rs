//! Several commands in one round trip.

use std::{sync::LazyLock, vec};

use redis::{
    Arg, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerError, ServerErrorKind,
    ToRedisArgs, Value, aio::MultiplexedConnection,
};

use crate::protocol::scripts::Script;

/// Commands and calls of scripts, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The only command, as of a hit, which then pays for nothing that only several need.
    single: Option<Cmd>,
    /// All of them, if they are several.
    pipeline: Pipeline,
    scripts: Vec<Option<&'static Script>>,
    is_ordered: bool,
    /// Before which commands all others must have had their effect.
    steps: Vec<usize>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let pipeline = Pipeline::with_capacity(0);
        Self { single: None, pipeline, scripts: Vec::new(), is_ordered: false, steps: Vec::new() }
    }

    /// One in which what comes after a script that the server does not know is sent again after it, and so may have its
    /// effect twice.
    pub(crate) fn ordered() -> Self {
        Self { is_ordered: true, ..Self::new() }
    }

    /// What was added until now has its effect before what is added from now on. Of one server it is enough that the batch is
    /// [ordered](Self::ordered).
    pub(crate) fn then(&mut self) {
        self.steps.push(self.scripts.len());
    }

    /// A batch of one command.
    pub(crate) fn of(command: Cmd) -> Self {
        Self { single: Some(command), ..Self::new() }
    }

    /// A batch of one call of a script on one key, or on none if its name is empty.
    pub(crate) fn of_script(script: &'static LazyLock<Script>, key: &str, args: impl ToRedisArgs) -> Self {
        let mut batch = Self::new();
        batch.add_script(script, key, args);
        batch
    }

    pub(crate) fn add(&mut self, command: Cmd) {
        self.add_next(command, None);
    }

    /// Adds all commands of another one.
    pub(crate) fn append(&mut self, other: Self) {
        if let Some(command) = other.single {
            self.add(command);
        }
        for (command, script) in other.pipeline.cmd_iter().zip(other.scripts) {
            self.add_next(command.clone(), script);
        }
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

    /// The same on several keys of one slot.
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

    /// As [`add_script`](Self::add_script) without arguments, with the whole of a short script: one round trip, whether the
    /// server knows it or not.
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

    /// The commands, by what must come after what.
    #[cfg(feature = "cluster")]
    pub(crate) fn steps(&self) -> Vec<Vec<Piece<'_>>> {
        if let Some(command) = &self.single {
            return vec![vec![Piece { command, script: None }]];
        }
        let mut steps = vec![Vec::new()];
        for (place, (command, script)) in self.pipeline.cmd_iter().zip(&self.scripts).enumerate() {
            if self.steps.contains(&place) {
                steps.push(Vec::new());
            }
            if let Some(step) = steps.last_mut() {
                step.push(Piece { command, script: *script });
            }
        }
        steps
    }

    /// Some of the commands of another batch, for a server. Who is sent to it by another one has to say so before each.
    #[cfg(feature = "cluster")]
    pub(crate) fn of_pieces(pieces: &[&Piece<'_>], is_asking: bool) -> Self {
        let mut batch = Self::new();
        for Piece { command, script } in pieces {
            match script {
                // One that the server did not know could not be sent again without asking again.
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

    /// Sends everything and returns the answers. Fails only when there are none; a refusal is an answer.
    pub(crate) async fn send(&self, connection: &mut MultiplexedConnection) -> RedisResult<Replies> {
        if let Some(command) = &self.single {
            return connection.send_packed_command(command).await.map(Replies::of);
        }
        if self.scripts.is_empty() {
            return Ok(Replies::default());
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
        Ok(Replies { several: replies.into_iter(), ..Replies::default() })
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

/// One command of a batch.
#[cfg(feature = "cluster")]
pub(crate) struct Piece<'a> {
    command: &'a Cmd,
    script: Option<&'static Script>,
}

#[cfg(feature = "cluster")]
impl Piece<'_> {
    /// The key that it is about.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        let place = if self.script.is_some() { 3 } else { 1 };
        match self.command.args_iter().nth(place)? {
            Arg::Simple(key) => Some(key),
            _ => None,
        }
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
#[derive(Debug, Default)]
pub(crate) struct Replies {
    single: Option<Value>,
    several: vec::IntoIter<Value>,
    /// What the clock of the server showed at most when it had answered.
    clock: Option<u64>,
    /// The same of each answer, if they are several servers'.
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

    /// Says when they came, by the server's clock.
    pub(crate) fn came_at(&mut self, clock: Option<u64>) {
        self.clock = clock;
    }

    /// When the answer that was taken last came, by the clock of its server.
    pub(crate) fn clock(&self) -> Option<u64> {
        self.clock
    }

    /// As they are; where it was asked before each command, without the answers to that.
    #[cfg(feature = "cluster")]
    pub(crate) fn values(self, is_asking: bool) -> impl Iterator<Item = (Value, Option<u64>)> {
        let clock = self.clock;
        let values = self.single.into_iter().chain(self.several).map(move |value| (value, clock));
        values.skip(usize::from(is_asking)).step_by(if is_asking { 2 } else { 1 })
    }

    /// What the server refuses.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = &ServerError> {
        self.single.iter().chain(self.several.as_slice()).filter_map(|value| match value {
            Value::ServerError(error) => Some(error),
            _ => None,
        })
    }

    /// The next answer; fails if it is a refusal, or not of this type.
    pub(crate) fn next<T: FromRedisValue>(&mut self) -> RedisResult<T> {
        if let Some(clock) = self.clocks.next() {
            self.clock = clock;
        }
        let value = self.single.take().or_else(|| self.several.next()).ok_or_else(|| {
            RedisError::from((ErrorKind::UnexpectedReturnType, "there are fewer answers than commands"))
        })?;
        match value {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(redis::from_redis_value(value)?),
        }
    }
}
