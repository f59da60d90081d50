//! A worker that calls cached functions, as an application does, on commands from stdin.
//!
//! It configures nothing, unless `PATIENT_REDIS_URL` names a Redis. It then waits for that Redis for longer
//! than an application would, so that a test of shared values does not depend on the load of the machine.
//!
//! | line in | line out |
//! |---|---|
//! | `ask KEY` | `VALUE OUTCOME` |
//! | `burst KEY CALLERS MS` | `loading` when a load begins, then `VALUES LOADS LONGEST` |
//! | `invalidate KEY` | `done`, or the error |
//! | `confirm KEY` | `done` once no process has the value any more, or the error; then the time in ms |
//! | `stats` | the cache's counters as JSON |
//! | `stats off` | a sign that the worker runs, without a use of the cache |
//!
//! A load of a burst takes `MS`. `VALUES` is the number of different values that the callers got, `LOADS` the
//! number of loads in this process, and `LONGEST` the time in ms that the longest call took.

use std::{
    collections::HashSet,
    env, process,
    time::{Duration, Instant},
};

use cached_aside::{Cache, CacheControl, Error, RedisTier, cached, default_cache};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    task::JoinSet,
    time::sleep,
};

/// Returns a value that names the process that loaded it.
#[cached("answer:{key}", ttl = "1h")]
async fn answer(key: &str) -> String {
    format!("{key}-of-{}", process::id())
}

/// Returns such a value, and takes as long as `takes`.
#[cached("slow:{key}", ttl = "1h", skip(takes))]
async fn slow(key: &str, takes: Duration) -> String {
    println!("loading");
    sleep(takes).await;
    format!("{key}-of-{}", process::id())
}

async fn burst(key: &str, callers: usize, takes: Duration) -> String {
    let before = default_cache().stats().loads;
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        let key = key.to_owned();
        calls.spawn(async move {
            let began = Instant::now();
            (slow(&key, takes).await, began.elapsed())
        });
    }
    let answers = calls.join_all().await;
    let values: HashSet<_> = answers.iter().map(|(value, _)| value).collect();
    let longest = answers.iter().map(|(_, took)| took.as_millis()).max().unwrap_or_default();
    let loads = default_cache().stats().loads - before;
    format!("{} {loads} {longest}", values.len())
}

fn install_patient_cache(url: &str) -> Result<(), Error> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let tier = RedisTier::builder(url).operation_timeout(PATIENCE).write_timeout(PATIENCE).build()?;
    let lease = env::var("LEASE_MS").ok().and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    let builder = Cache::builder().namespace("fleet").tier(tier);
    match lease {
        Some(lease) => builder.lease(lease),
        None => builder,
    }
    .build()?
    .install()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Ok(url) = env::var("PATIENT_REDIS_URL") {
        install_patient_cache(&url)?;
    }
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            Some(("ask", key)) => {
                let reply = answer::with(CacheControl::new(), key).await;
                default_cache().flush().await;
                println!("{} {:?}", reply.value, reply.outcome);
            }
            Some(("burst", rest)) => {
                let mut words = rest.split(' ');
                let mut word = || words.next().ok_or("burst KEY CALLERS MS");
                let (key, callers, takes) = (word()?, word()?.parse()?, word()?.parse()?);
                println!("{}", burst(key, callers, Duration::from_millis(takes)).await);
            }
            Some(("invalidate", key)) => match answer::invalidate(key).await {
                Ok(()) => println!("done"),
                Err(error) => println!("{error}"),
            },
            Some(("confirm", key)) => {
                let began = Instant::now();
                let outcome = answer::invalidate(key).confirmed().await;
                let outcome = outcome.map_or_else(|error| error.to_string(), |()| "done".to_owned());
                println!("{outcome} {}", began.elapsed().as_secs_f64() * 1e3);
            }
            Some(("stats", _)) => println!("no cache was asked for"),
            _ => println!("{}", serde_json::to_string(&default_cache().stats())?),
        }
    }
    Ok(())
}
