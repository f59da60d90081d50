//! A soak test: makes mixed calls of cached functions for a long time, and checks that nothing grows.
//!
//! Redis is killed, frozen and emptied now and then. The test observes memory, tasks, file descriptors,
//! threads, entries, and operations in flight.
//!
//! ```sh
//! cargo run --release -p soak -- --minutes 30
//! ```
//!
//! It starts its own redis-server and prints a line per sample. At the end it prints the measures that are
//! flat: the median of the last quarter is compared with that of the first quarter after warm-up (the first
//! tenth). The exit status is 1 if a measure grows, or if a caller saw a wrong value or an error that is not
//! its function's.

mod arguments;
mod calls;
mod faults;
mod sample;
mod verdict;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use cached_aside::{Cache, RedisTier};
use redis_harness::RedisServer;
use tokio::{runtime::Handle, task::JoinSet, time::sleep};

use crate::{
    arguments::Plan,
    calls::{Calls, Process},
    faults::Faults,
    sample::Sample,
};

/// Number of tasks that make calls, over both caches together.
const CALLERS: u64 = 4;

/// Capacity of L1 in each cache, in bytes. It is full long before the first quarter is over.
const L1_BYTES: u64 = 128 * 1024;

#[tokio::main]
async fn main() -> ExitCode {
    let plan = match Plan::parse(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("{error}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let samples = soak(plan).await;
    let flat = verdict::judge(&samples);
    if flat { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn soak(plan: Plan) -> Vec<Sample> {
    let redis = RedisServer::start_with(&["--maxmemory", "32mb", "--maxmemory-policy", "allkeys-lru"]);
    let url = redis.url();
    let calls = Arc::new(Calls::default());
    let processes = [0, 1].map(|_| {
        let tier = RedisTier::builder(&url).build().expect("the address is valid");
        let builder = Cache::builder().namespace("soak").tier(tier).l1_max_bytes(L1_BYTES);
        let cache = builder.outage_grace(Duration::from_secs(2)).build().expect("the settings are valid");
        Process { cache, calls: calls.clone() }
    });

    let began = Instant::now();
    let until = began + plan.length;
    let mut tasks = JoinSet::new();
    for (number, process) in (0..CALLERS).zip([&processes[0], &processes[1]].into_iter().cycle()) {
        tasks.spawn(calls::call(process.clone(), number, until));
    }
    let leak = plan.leak.then(|| tokio::spawn(calls::leak(until)));
    let mut faults = Faults::new(redis, plan.fault_every());
    tasks.spawn(async move { faults.run(until).await });

    let mut samples = Vec::new();
    while Instant::now() < until {
        sleep(plan.sample_every()).await;
        let sample = Sample::take(began.elapsed(), &processes, &Handle::current().metrics(), &calls);
        println!("{sample}");
        samples.push(sample);
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("what calls does not panic itself");
    }
    if let Some(leak) = leak {
        leak.abort();
    }
    for process in &processes {
        process.cache.flush().await;
    }
    samples
}
