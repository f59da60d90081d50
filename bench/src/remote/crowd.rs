//! Tasks that ask at the same time.

use std::time::{Duration, Instant};

use super::Reader;
use crate::work::runtime;

/// How long it takes until `tasks` tasks have asked for all keys in between, each for its share, one after the other.
pub(crate) fn crowd<R: Reader>(reader: &R, tasks: u32, keys: std::ops::Range<u32>) -> Duration {
    runtime().block_on(async {
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
