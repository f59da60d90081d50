//! The plan of a run.

use std::{path::PathBuf, time::Duration};

use redis_harness::Mode;

use crate::{faults::FaultMix, plants::Plant, settings::Settings, worker::Mix};

/// All settings of a run. Only the operating system influences it besides them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Number of operations after which the run ends.
    pub(crate) operations: u64,
    /// Time after which the run ends, even if there were fewer operations.
    pub(crate) time_limit: Option<Duration>,
    pub(crate) workers: usize,
    /// Number of operations of a worker in progress at a time.
    pub(crate) tasks: u64,
    /// Number of threads of a worker.
    pub(crate) threads: usize,
    pub(crate) keys: u32,
    /// Operations a second, of all workers together.
    pub(crate) rate: u64,
    /// Largest number of operations in a burst of a task.
    pub(crate) burst: u64,
    /// Only key that all operations use, if set.
    pub(crate) only_key: Option<u32>,
    /// Roles of the workers: the first one writes, and the others read. Without roles, all do the same.
    ///
    /// The answers to the readers are late, so they do not know yet of a change that was acknowledged to the
    /// writer.
    pub(crate) roles: Option<Roles>,
    /// Mode of the proxies while no fault sets another one.
    pub(crate) default_mode: Mode,
    pub(crate) settings: Settings,
    pub(crate) mix: Mix,
    pub(crate) faults: FaultMix,
    /// Redis is a cluster.
    pub(crate) is_cluster: bool,
    /// Bug that is compiled in and turned on.
    pub(crate) plant: Option<&'static Plant>,
    /// File to which all events are written.
    pub(crate) history: Option<PathBuf>,
}

/// A worker that writes, and others that read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Writes a second.
    pub(crate) writes: u64,
    /// Delay of the answers to readers, in milliseconds.
    ///
    /// It is a [slow network](crate::faults::HARMLESS_DELAY) and no outage.
    pub(crate) reader_delay: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            operations: 1_000_000,
            time_limit: None,
            workers: 4,
            tasks: 8,
            threads: 2,
            keys: 8,
            rate: 12_000,
            burst: 31,
            only_key: None,
            roles: None,
            default_mode: Mode::Pass,
            settings: Settings::default(),
            mix: Mix::default(),
            faults: FaultMix::ALL,
            is_cluster: false,
            plant: None,
            history: None,
        }
    }
}
