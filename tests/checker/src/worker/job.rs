//! What a worker is told when it starts.

use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// The longest that a load takes by itself, in milliseconds.
pub(crate) const LONGEST_LOAD: u64 = 300;

/// All that a worker needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) settings: Settings,
    pub(crate) mix: Mix,
    pub(crate) seed: u64,
    /// Which worker it is, and which life of it.
    pub(crate) slot: usize,
    pub(crate) life: u64,
    /// Its number among all processes of the run.
    pub(crate) process: u16,
    pub(crate) keys: u32,
    /// How many operations go on at a time.
    pub(crate) tasks: u64,
    pub(crate) threads: usize,
    /// Operations a second, of all its tasks.
    pub(crate) rate: u64,
    /// How many of them a task performs at once, at most.
    pub(crate) burst: u64,
    /// The only key that they are about, if there is one.
    pub(crate) only: Option<u32>,
    /// The worker's own way to Redis.
    pub(crate) url: String,
    /// Each server behind it.
    pub(crate) servers: Vec<String>,
    /// The database.
    pub(crate) truth: String,
}

/// How often each operation comes, in a million operations; what is left is reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mix {
    /// Writes that invalidate.
    pub(crate) write: u32,
    /// By what the writes of a season are divided: one of these.
    pub(crate) seasons: [u32; 3],
    /// How often a write invalidates by key, tag, pattern and everything, in proportion.
    pub(crate) forms: [u32; 4],
    /// Of a million writes, how many ask for a confirmation.
    pub(crate) confirmed: u32,
    pub(crate) refresh: u32,
    /// Calls that are dropped if they take longer than a moment.
    pub(crate) cancel: u32,
    /// Of a million loads, how many take up to 20 ms, take 300 ms, fail, and panic.
    pub(crate) slow: u32,
    pub(crate) very_slow: u32,
    pub(crate) fail: u32,
    pub(crate) panic: u32,
    /// Of a million loads, how many end when what they have read is superseded: a write that came after it was acknowledged. A call
    /// of the key begins just before.
    pub(crate) held: u32,
}

impl Mix {
    /// Writes only, by key.
    pub(crate) fn writing(self) -> Self {
        Self { write: 1_000_000, seasons: [1; 3], forms: [1, 0, 0, 0], refresh: 0, cancel: 0, ..self }
    }

    /// Reads only.
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
