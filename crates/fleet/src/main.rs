//! A worker that does on stdin's word what an application does: it calls a cached function. It sets nothing up, unless
//! `PATIENT_REDIS_URL` names a Redis that it waits for longer than an application would, so that a test of *what* is
//! shared does not depend on how busy the machine is.
//!
//! | line in | line out |
//! |---|---|
//! | `ask KEY` | `VALUE OUTCOME` |
//! | `invalidate KEY` | `done`, or the error |
//! | `stats` | the cache's counters as JSON |

use std::{env, process, time::Duration};

use cached_aside::{Cache, CacheControl, Error, RedisTier, cached, default_cache};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

/// Tells who loaded it.
#[cached("answer:{key}", ttl = "1h")]
async fn answer(key: &str) -> String {
    format!("{key}-of-{}", process::id())
}

fn be_patient(url: &str) -> Result<(), Error> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let tier = RedisTier::builder(url).operation_timeout(PATIENCE).write_timeout(PATIENCE).build()?;
    Cache::builder().namespace("fleet").tier(tier).build()?.install()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Ok(url) = env::var("PATIENT_REDIS_URL") {
        be_patient(&url)?;
    }
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            Some(("ask", key)) => {
                let reply = answer::with(CacheControl::new(), key).await;
                default_cache().flush().await;
                println!("{} {:?}", reply.value, reply.outcome);
            }
            Some(("invalidate", key)) => match answer::invalidate(key).await {
                Ok(()) => println!("done"),
                Err(error) => println!("{error}"),
            },
            _ => println!("{}", serde_json::to_string(&default_cache().stats())?),
        }
    }
    Ok(())
}
