//! A worker process: it calls cached functions at random, as a plan says, and writes down what happened.

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
    history::{Event, Mark, What},
};
use state::{Phase, State};

/// What the orchestrator says on stdin, a word a line.
pub(crate) const HUSH: &str = "hush";
pub(crate) const LEAVE: &str = "leave";
pub(crate) const STOP: &str = "stop";
pub(crate) const FINAL: &str = "final";

/// Works until it is told to stop. It ends at once when stdin does, so it does not outlive the orchestrator.
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
    operations::tell_all(&state).await;
    if state.is_leaving() {
        functions::close().await;
        state.log.flush();
        process::exit(0);
    }
    mark(&state, Mark::Stopped);

    state.wait_for(Phase::Final).await;
    for _ in 0..2 {
        operations::read_all(&state).await;
        sleep(Duration::from_millis(state.job.settings.bound)).await;
    }
    mark(&state, Mark::Finished);
    state.log.flush();
    std::future::pending::<()>().await;
    Ok(())
}

fn mark(state: &State, mark: Mark) {
    let at = now();
    let what = What::Mark(mark);
    state.log.write(&Event { process: 0, what, key: 0, start: at, end: at, version: 0, began: 0, load: 0 });
}

/// Follows stdin, in a thread of its own: it is read blocking.
fn listen(state: Arc<State>) {
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.as_str() {
                HUSH => state.enter(Phase::Hush),
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
