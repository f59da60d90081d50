//! The job of a worker, which it gets when it starts.

use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Longest time that a load takes by itself, in milliseconds.
pub(crate) const LONGEST_LOAD: u64 = 300;

/// Configuration of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) settings: Settings,
    pub(crate) mix: Mix,
    pub(crate) seed: u64,
    /// Number of the worker.
    pub(crate) slot: usize,
    /// Number of earlier processes of the worker.
    pub(crate) restarts: u64,
    /// Number of the process in the run.
    pub(crate) process: u16,
    pub(crate) keys: u32,
    /// Number of operations in progress at a time.
    pub(crate) tasks: u64,
    pub(crate) threads: usize,
    /// Operations a second, of all tasks together.
    pub(crate) rate: u64,
    /// Largest number of operations in a burst of a task.
    pub(crate) burst: u64,
    /// Only key that the operations use, if set.
    pub(crate) only_key: Option<u32>,
    /// Address at which the worker reaches Redis.
    pub(crate) url: String,
    /// Addresses of all servers behind it.
    pub(crate) servers: Vec<String>,
    /// Address of the database.
    pub(crate) database: String,
}

/// Frequency of each operation, per million operations. The rest are reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mix {
    /// Writes that invalidate.
    pub(crate) write: u32,
    /// Divisors of the write frequency. Each season uses one of them.
    pub(crate) seasons: [u32; 3],
    /// Relative frequencies of invalidations by key, by tag, by pattern, and of everything.
    pub(crate) forms: [u32; 4],
    /// Number of writes per million that ask for a confirmation.
    pub(crate) confirmed: u32,
    pub(crate) refresh: u32,
    /// Calls that are dropped if they take longer than a random time below 2 ms.
    pub(crate) cancel: u32,
    /// Number of loads per million that take up to 20 ms.
    pub(crate) slow: u32,
    /// Number of loads per million that take 300 ms.
    pub(crate) very_slow: u32,
    /// Number of loads per million that fail.
    pub(crate) fail: u32,
    /// Number of loads per million that panic.
    pub(crate) panic: u32,
    /// Number of loads per million that are held until the version they read is superseded.
    ///
    /// That is the case once a later write was acknowledged. A call of the key begins just before the load
    /// ends.
    pub(crate) held: u32,
}

impl Mix {
    /// Returns a mix of writes only, which invalidate by key.
    pub(crate) fn writing(self) -> Self {
        Self { write: 1_000_000, seasons: [1; 3], forms: [1, 0, 0, 0], refresh: 0, cancel: 0, ..self }
    }

    /// Returns a mix of reads only.
    pub(crate) fn reading(self) -> Self {
        Self { write: 0, refresh: 0, cancel: 0, ..self }
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            write: 40_000,
            seasons: [1, 10, 50],
            forms: [70, 15, 10, 1],
            confirmed: 10_000,
            refresh: 500,
            cancel: 50_000,
            slow: 300_000,
            very_slow: 15_000,
            fail: 5_000,
            panic: 2_000,
            held: 0,
        }
    }
}
