//! State that the tasks of a worker share.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, RedisResult, aio::MultiplexedConnection};
use tokio::{sync::watch, time::sleep};

use super::{job::Job, log::Log};

/// Phase that the orchestrator has requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Run,
    /// No more writes.
    NoWrites,
    Stop,
    Final,
}

/// State of this process.
#[derive(Debug)]
pub(super) struct State {
    pub(super) job: Job,
    pub(super) log: Log,
    database: MultiplexedConnection,
    phase: watch::Sender<Phase>,
    loads: AtomicU64,
    is_leaving: AtomicBool,
}

static STATE: OnceLock<Arc<State>> = OnceLock::new();

/// Publishes the state for the cached functions, which get only keys as arguments.
pub(super) fn publish(state: &Arc<State>) {
    let _ = STATE.set(state.clone());
}

/// Returns the [published](publish) state, and waits for it. Never ends if none is published.
pub(super) async fn published() -> &'static Arc<State> {
    loop {
        if let Some(state) = STATE.get() {
            return state;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

impl State {
    pub(super) async fn new(job: Job) -> RedisResult<Self> {
        // No timeouts: a worker that was frozen must not lose its database.
        let patient = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let client = Client::open(job.database.as_str())?;
        let database = client.get_multiplexed_async_connection_with_config(&patient).await?;
        let (phase, _) = watch::channel(Phase::Run);
        Ok(Self {
            job,
            log: Log::start(),
            database,
            phase,
            loads: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
        })
    }

    /// Writes the next version of a key to the database.
    pub(super) async fn write(&self, key: u32) -> RedisResult<u64> {
        redis::cmd("INCR").arg(format!("v:{key}")).query_async(&mut self.database.clone()).await
    }

    /// Returns the version in the database.
    pub(super) async fn version(&self, key: u32) -> RedisResult<u64> {
        let version: Option<u64> =
            redis::cmd("GET").arg(format!("v:{key}")).query_async(&mut self.database.clone()).await?;
        Ok(version.unwrap_or(0))
    }

    /// Records for held loads that a write was acknowledged.
    pub(super) async fn acknowledge(&self, key: u32, version: u64) {
        if self.job.mix.held > 0 {
            let mut command = redis::cmd("SET");
            command.arg(format!("a:{key}")).arg(version);
            let _ = command.query_async::<()>(&mut self.database.clone()).await;
        }
    }

    /// Returns whether an [acknowledged](Self::acknowledge) write is later than `version`.
    pub(super) async fn is_superseded(&self, key: u32, version: u64) -> bool {
        let mut command = redis::cmd("GET");
        command.arg(format!("a:{key}"));
        let acknowledged = command.query_async::<Option<u64>>(&mut self.database.clone()).await;
        acknowledged.is_ok_and(|acknowledged| acknowledged.is_some_and(|newer| newer > version))
    }

    /// Returns a new identifier for a load or a `set`, unique in the run.
    pub(super) fn next_load_id(&self) -> u64 {
        let number = 1 + self.loads.fetch_add(1, Ordering::Relaxed);
        (u64::from(self.job.process) << 40) | number
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Ends the operations, and then the worker.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.enter(Phase::Stop);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) async fn wait_for(&self, phase: Phase) {
        // An error would mean that the sender is dropped, but `self` holds it.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}
