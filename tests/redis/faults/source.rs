//! The source of truth, the invalidations that have returned, and the function that reads it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cached_aside::{Cache, cached};
use serde::{Deserialize, Serialize};

/// Number of keys that are read often and written now and then.
pub(crate) const HOT_KEYS: u64 = 16;

/// Shortest time that a load takes.
const LOAD: Duration = Duration::from_millis(1);

/// One process.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) number: usize,
    pub(crate) cache: Cache,
    pub(crate) source: Arc<Source>,
}

/// The cached value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) version: u64,
}

/// Reads a row.
///
/// The function never fails, so it is not the origin of any error that a caller gets.
#[cached("row:{id}", ttl = "1h", cache = process.cache, skip(process))]
pub(crate) async fn row(process: &Process, id: u64) -> Row {
    process.source.load(id).await
}

/// Stand-in for a database.
#[derive(Default)]
pub(crate) struct Source {
    hot: Mutex<HashMap<u64, KeyHistory>>,
    /// Number of loads of each key, and the duration of the last one.
    loads: Mutex<HashMap<u64, (u64, Duration)>>,
    next_cold: AtomicU64,
}

/// History of one key.
#[derive(Default)]
struct KeyHistory {
    version: u64,
    invalidations: Vec<ReturnedInvalidation>,
}

/// An invalidation that has returned.
struct ReturnedInvalidation {
    version: u64,
    by: usize,
    at: Instant,
    is_acknowledged: bool,
}

impl Source {
    async fn load(&self, id: u64) -> Row {
        let began = Instant::now();
        let version = self.version(id);
        tokio::time::sleep(LOAD).await;
        let mut loads = lock(&self.loads);
        let (runs, took) = loads.entry(id).or_default();
        (*runs, *took) = (*runs + 1, began.elapsed());
        Row { id, version }
    }

    /// Returns a key that was never requested.
    pub(crate) fn unused_key(&self) -> u64 {
        1000 + self.next_cold.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn version(&self, id: u64) -> u64 {
        lock(&self.hot).get(&id).map_or(0, |hot| hot.version)
    }

    /// Returns how long the last load of the key took.
    pub(crate) fn last_load_time(&self, id: u64) -> Duration {
        lock(&self.loads).get(&id).map_or(Duration::ZERO, |(_, took)| *took)
    }

    /// Returns how often the key was loaded.
    pub(crate) fn runs(&self, id: u64) -> u64 {
        lock(&self.loads).get(&id).map_or(0, |(runs, _)| *runs)
    }

    /// Writes a new version, and returns it.
    pub(crate) fn write(&self, id: u64) -> u64 {
        let mut hot = lock(&self.hot);
        let hot = hot.entry(id).or_default();
        hot.version += 1;
        hot.version
    }

    /// Records that the invalidation after a write has returned.
    pub(crate) fn record_invalidation(&self, id: u64, version: u64, by: usize, is_acknowledged: bool) {
        let invalidation = ReturnedInvalidation { version, by, at: Instant::now(), is_acknowledged };
        lock(&self.hot).entry(id).or_default().invalidations.push(invalidation);
    }

    /// Returns the oldest version that this process may return to a call that began at this time.
    ///
    /// Own invalidations hold at once. An acknowledged invalidation of another process holds after `allowed`.
    pub(crate) fn oldest_allowed(&self, id: u64, by: usize, began: Instant, allowed: Duration) -> u64 {
        let hot = lock(&self.hot);
        let invalidations = hot.get(&id).into_iter().flat_map(|hot| &hot.invalidations);
        let holds = |returned: &&ReturnedInvalidation| match began.checked_duration_since(returned.at) {
            Some(age) => returned.by == by || (returned.is_acknowledged && age >= allowed),
            None => false,
        };
        invalidations.filter(holds).map(|invalidation| invalidation.version).max().unwrap_or(0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
