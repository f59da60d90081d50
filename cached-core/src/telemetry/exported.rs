//! Record of the numbers of a function that were already exported to a recorder.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::telemetry::{latency::BUCKETS, stats::COUNTERS};

/// Numbers of one function at its last export. The lock also prevents two concurrent exports from exporting
/// the same increments.
#[derive(Default)]
pub(crate) struct Exported(Mutex<Last>);

pub(crate) struct Last {
    pub(crate) counts: [u64; COUNTERS],
    /// Bucket counts of hits, lookups and loads, in this order; `None` before the first export.
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
