//! A worker process: reads questions from stdin and writes results to stdout, as lines of JSON.

use std::{
    io::{self, Write},
    net::SocketAddr,
    ops::AddAssign,
    time::Instant,
};

use cached_aside::{Cache, CacheControl, CacheOutcome, Layer, default_cache};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinSet,
};

use crate::llm::{Llm, answer};

/// Argument that starts this program as a worker.
pub(crate) const ARGUMENT: &str = "worker";

/// First line of the input.
///
/// The settings are not on the command line, because every user of the machine can read that, and the URL may
/// contain a password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) upstream: SocketAddr,
    pub(crate) redis: Option<String>,
    pub(crate) namespace: String,
}

/// Question. Every further line of the input holds one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) user_id: u64,
    pub(crate) note_id: u64,
    pub(crate) question: String,
}

/// Line of the output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Done(Done),
    /// Last line.
    End(Totals),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    /// Time from the call of the cached function to its return, in nanoseconds.
    pub(crate) nanos: u64,
    pub(crate) error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    L1,
    L2,
    Joined,
    Miss,
    /// The cache was turned off by `CACHED_ASIDE=off` in the environment.
    Bypass,
}

/// Counters of the cache: values stored in Redis, and reads that Redis failed to answer.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) stored: u64,
    pub(crate) failed_reads: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.stored += other.stored;
        self.failed_reads += other.failed_reads;
    }
}

pub(crate) async fn run() -> Result<(), String> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let first = lines.next_line().await.ok().flatten().ok_or("a worker is started by its parent")?;
    let setup: Setup = serde_json::from_str(&first).map_err(|error| format!("not a setup: {error}"))?;
    set_up(setup.redis.as_deref(), &setup.namespace).map_err(|error| error.to_string())?;
    let llm = Llm::new(setup.upstream)?;

    let mut jobs = JoinSet::new();
    // The input ends when the parent has all answers, or has died. In the second case `jobs` may still hold
    // tasks. The worker does not wait for them; they are aborted when `jobs` is dropped.
    while let Ok(Some(line)) = lines.next_line().await {
        let job: Job = serde_json::from_str(&line).map_err(|error| format!("not a question: {error}"))?;
        let llm = llm.clone();
        jobs.spawn(async move { write_line(&Line::Done(work(&llm, &job).await)) });
        while jobs.try_join_next().is_some() {}
    }
    default_cache().flush().await;
    let stats = default_cache().stats();
    write_line(&Line::End(Totals { stored: stats.shared_fills, failed_reads: stats.shared_read_errors }));
    Ok(())
}

/// Sets up the cache. Redis is connected in the background, so only an invalid setting is an error.
pub(crate) fn set_up(redis: Option<&str>, namespace: &str) -> Result<(), cached_aside::Error> {
    match redis {
        Some(url) => cached_aside::use_redis(url, namespace).map(drop),
        // Without this explicit installation, the default cache would use a `REDIS_URL` of the environment.
        None => Cache::builder().build()?.install(),
    }
}

async fn work(llm: &Llm, job: &Job) -> Done {
    let start = Instant::now();
    let reply = answer::with(CacheControl::new(), llm, job.user_id, job.note_id, &job.question).await;
    let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let outcome = match reply.outcome {
        CacheOutcome::Hit { tier: Layer::L1, .. } => Outcome::L1,
        CacheOutcome::Hit { tier: Layer::L2, .. } => Outcome::L2,
        CacheOutcome::Joined => Outcome::Joined,
        CacheOutcome::Miss => Outcome::Miss,
        _ => Outcome::Bypass,
    };
    Done { outcome, nanos, error: reply.value.err().map(|error| error.to_string()) }
}

fn write_line(line: &Line) {
    if let Ok(mut text) = serde_json::to_string(line) {
        text.push('\n');
        // An error means that the parent is gone. In that case the input ends as well.
        let _ = io::stdout().write_all(text.as_bytes());
    }
}
