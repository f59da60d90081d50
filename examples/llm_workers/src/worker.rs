//! A worker process: questions come in on stdin, and what became of them goes out on stdout, as lines of JSON.

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

/// What makes this program a worker.
pub(crate) const ARGUMENT: &str = "worker";

/// The first line in. It comes this way because everybody on a machine can read a command line, and a URL may hold a
/// password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) upstream: SocketAddr,
    pub(crate) redis: Option<String>,
    pub(crate) namespace: String,
}

/// Every further line in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) user_id: u64,
    pub(crate) note_id: u64,
    pub(crate) question: String,
}

/// A line out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Done(Done),
    /// The last one.
    End(Totals),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    /// From the call of the cached function to its return.
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

/// What the cache itself counted: values that Redis took, and reads that it failed to answer.
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
    // The input ends when the parent has all answers, or is no more. Then `jobs` is dropped, and nobody waits for what
    // it still holds.
    while let Ok(Some(line)) = lines.next_line().await {
        let job: Job = serde_json::from_str(&line).map_err(|error| format!("not a question: {error}"))?;
        let llm = llm.clone();
        jobs.spawn(async move { say(&Line::Done(work(&llm, &job).await)) });
        while jobs.try_join_next().is_some() {}
    }
    default_cache().flush().await;
    let stats = default_cache().stats();
    say(&Line::End(Totals { stored: stats.shared_fills, failed_reads: stats.shared_read_errors }));
    Ok(())
}

/// The set-up of the cache. It connects in the background, so only settings can be wrong.
pub(crate) fn set_up(redis: Option<&str>, namespace: &str) -> Result<(), cached_aside::Error> {
    match redis {
        Some(url) => cached_aside::use_redis(url, namespace).map(drop),
        // Said as well, or a `REDIS_URL` in the environment would be used.
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

fn say(line: &Line) {
    if let Ok(mut text) = serde_json::to_string(line) {
        text.push('\n');
        // When the parent is gone there is nobody to tell, and the input ends too.
        let _ = io::stdout().write_all(text.as_bytes());
    }
}
