//! What was handed on to a recorder, of one function.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::telemetry::{latency::BUCKETS, stats::COUNTERS};

/// What was handed on of one function. The lock also keeps two exports at the same time from handing on the same.
#[derive(Default)]
pub(crate) struct Exported(Mutex<Last>);

pub(crate) struct Last {
    pub(crate) counts: [u64; COUNTERS],
    /// Of hits, looks and loads.
    pub(crate) latencies: [Option<Box<[u64; BUCKETS]>>; 3],
}

impl Default for Last {
    fn default() -> Self {
        Self { counts: [0; COUNTERS], latencies: [None, None, None] }
    }
}

impl Exported {
    pub(crate) fn last(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
