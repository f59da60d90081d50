//! What a run does.

use std::{path::PathBuf, time::Duration};

use redis_harness::Mode;

use crate::{faults::FaultMix, plants::Plant, settings::Settings, worker::Mix};

/// All that decides about a run, besides what the operating system does.
#[derive(Clone, Debug, PartialEq)]
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
    /// How many operations of a task come at once, at most.
    pub(crate) burst: u64,
    /// The only key that all is about, if there is one.
    pub(crate) only: Option<u32>,
    /// Whether the first worker writes and the others read, each of their answers being late by so many milliseconds: what is
    /// acknowledged to the one is not known to the others yet. Otherwise all do the same.
    pub(crate) roles: Option<Roles>,
    /// What proxies do as long as no fault has them do something else.
    pub(crate) usual: Mode,
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

/// A worker that writes, and others that read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Writes a second.
    pub(crate) writes: u64,
    /// By how many milliseconds answers to those who read are late. It is a [slow network](crate::faults::HARMLESS_DELAY) and
    /// no outage.
    pub(crate) late: u64,
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
            burst: 31,
            only: None,
            roles: None,
            usual: Mode::Pass,
            settings: Settings::default(),
            mix: Mix::default(),
            faults: FaultMix::ALL,
            is_cluster: false,
            plant: None,
            history: None,
        }
    }
}
