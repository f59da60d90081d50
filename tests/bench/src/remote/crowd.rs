//! Tasks that read at the same time.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use super::Reader;
use crate::work::runtime;

/// Returns the runtime for a number of tasks.
///
/// A single task has a runtime with one thread, which it shares with the client's task that receives answers.
/// With two threads, the time would depend on the scheduler: an answer may or may not wake the other thread.
pub(crate) fn runtime_for(tasks: u32) -> &'static Runtime {
    static ALONE: OnceLock<Runtime> = OnceLock::new();
    if tasks > 1 {
        return runtime();
    }
    ALONE.get_or_init(|| {
        let builder = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        builder.expect("a thread can be started")
    })
}

/// Returns the time in which `tasks` tasks read all `keys`.
///
/// Each task reads its share of the keys, one after the other.
pub(crate) fn read_concurrently<R: Reader>(reader: &R, tasks: u32, keys: std::ops::Range<u32>) -> Duration {
    runtime_for(tasks).block_on(async {
        let began = Instant::now();
        let crowd: Vec<_> = (0..tasks)
            .map(|number| {
                let (mut reader, keys) = (reader.clone(), keys.clone());
                tokio::spawn(async move {
                    for id in keys.skip(number as usize).step_by(tasks as usize) {
                        reader.read(id).await;
                    }
                })
            })
            .collect();
        for task in crowd {
            task.await.expect("no reader panics");
        }
        began.elapsed()
    })
}
