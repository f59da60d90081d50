//! A worker process. It calls cached functions at random, according to its job, and logs the results.

mod functions;
mod job;
mod load;
mod log;
mod operations;
mod state;
mod witness;

pub(crate) use functions::{NAMESPACE, stored_name};
pub(crate) use job::{Job, LONGEST_LOAD, Mix};

use std::{error::Error, io::BufRead, process, sync::Arc, thread, time::Duration};

use tokio::{runtime, task::JoinSet, time::sleep};

use crate::{
    clock::now,
    history::{Event, EventKind, Milestone},
};
use state::{Phase, State};

/// Command on stdin, one per line: stop writing.
pub(crate) const STOP_WRITES: &str = "hush";
/// Command on stdin: end the operations, close the cache, and exit.
pub(crate) const LEAVE: &str = "leave";
/// Command on stdin: end the operations.
pub(crate) const STOP: &str = "stop";
/// Command on stdin: read every key for the last time.
pub(crate) const FINAL: &str = "final";

/// Runs a worker. It exits as soon as stdin is closed, so it does not outlive the orchestrator.
pub(crate) fn main(job: Job) -> Result<(), Box<dyn Error>> {
    load::silence_planned_panics();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(job.threads).enable_all().build()?;
    runtime.block_on(work(job))
}

async fn work(job: Job) -> Result<(), Box<dyn Error>> {
    functions::install(&job)?;
    let state = Arc::new(State::new(job).await?);
    state::publish(&state);
    listen(state.clone());
    tokio::spawn(witness::watch(state.clone()));

    let mut tasks = JoinSet::new();
    for number in 0..state.job.tasks {
        tasks.spawn(operations::perform(state.clone(), number));
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    operations::drain_outbox(&state).await;
    if state.is_leaving() {
        functions::close().await;
        state.log.flush();
        process::exit(0);
    }
    log_milestone(&state, Milestone::Stopped);

    state.wait_for(Phase::Final).await;
    for _ in 0..2 {
        operations::read_all(&state).await;
        sleep(Duration::from_millis(state.job.settings.bound)).await;
    }
    log_milestone(&state, Milestone::Finished);
    state.log.flush();
    std::future::pending::<()>().await;
    Ok(())
}

fn log_milestone(state: &State, milestone: Milestone) {
    let at = now();
    let kind = EventKind::Milestone(milestone);
    state.log.write(&Event { process: 0, kind, key: 0, start: at, end: at, version: 0, began: 0, load: 0 });
}

/// Executes the commands on stdin, in a thread of its own, because the reads block.
fn listen(state: Arc<State>) {
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.as_str() {
                STOP_WRITES => state.enter(Phase::NoWrites),
                LEAVE => state.leave(),
                STOP => state.enter(Phase::Stop),
                FINAL => state.enter(Phase::Final),
                _ => {}
            }
        }
        state.log.flush();
        process::exit(0);
    });
}
