//! The history of a run: the events of the workers, the injected faults, and the lifetimes of the processes.

mod event;
mod wire;

pub(crate) use event::{Ack, Answer, Event, EventKind, LoadEnd, Milestone, Strength};
pub(crate) use wire::{LENGTH, decode, encode};

use crate::{faults::Fault, settings::Settings};

/// Number in place of a process for the orchestrator, when it acts as another program on the same Redis.
pub(crate) const FOREIGN: u16 = u16::MAX;

/// History of a whole run.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) settings: Settings,
    pub(crate) keys: u32,
    pub(crate) events: Vec<Event>,
    pub(crate) faults: Vec<Fault>,
    /// Processes of the run, indexed by [`Event::process`].
    pub(crate) processes: Vec<Process>,
    /// Time at which the run began. Reports count from here.
    pub(crate) origin: u64,
    /// Message about a worker that did not reach a phase in time, if there is one. The run was ended all the
    /// same.
    pub(crate) stuck: Option<String>,
}

/// Lifetime of one worker process. A worker that is killed and started again is another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Number of the worker.
    pub(crate) slot: usize,
    pub(crate) started: u64,
    /// Time at which it was killed, unless it lived to the end.
    pub(crate) killed: Option<u64>,
}
