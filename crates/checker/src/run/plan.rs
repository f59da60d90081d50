//! What a run does.

use std::{path::PathBuf, time::Duration};

use crate::{faults::FaultMix, plants::Plant, settings::Settings, worker::Mix};

/// All that decides about a run, besides what the operating system does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// It ends after so many operations …
    pub(crate) operations: u64,
    /// … or after so long.
    pub(crate) longest: Option<Duration>,
    pub(crate) workers: usize,
    /// Operations of one worker that go on at a time.
    pub(crate) tasks: u64,
    /// Threads of one worker.
    pub(crate) threads: usize,
    pub(crate) keys: u32,
    /// Operations a second, of all workers.
    pub(crate) rate: u64,
    pub(crate) settings: Settings,
    pub(crate) mix: Mix,
    pub(crate) faults: FaultMix,
    /// Whether Redis is a cluster.
    pub(crate) is_cluster: bool,
    /// The bug that is compiled in and turned on.
    pub(crate) plant: Option<&'static Plant>,
    /// Where all events are to be written to.
    pub(crate) history: Option<PathBuf>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            operations: 1_000_000,
            longest: None,
            workers: 4,
            tasks: 8,
            threads: 2,
            keys: 8,
            rate: 12_000,
            settings: Settings::default(),
            mix: Mix::default(),
            faults: FaultMix::ALL,
            is_cluster: false,
            plant: None,
            history: None,
        }
    }
}
