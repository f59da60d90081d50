//! What happened in a run: the events that the workers wrote, the faults that were injected, and whose life was when.

mod event;
mod wire;

pub(crate) use event::{Ack, Answer, Event, LoadEnd, Mark, Strength, What};
pub(crate) use wire::{LENGTH, decode, encode};

use crate::{faults::Fault, settings::Settings};

/// Who is no worker: the orchestrator, when it acts as another program on the same Redis.
pub(crate) const FOREIGN: u16 = u16::MAX;

/// A whole run.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) settings: Settings,
    pub(crate) keys: u32,
    pub(crate) events: Vec<Event>,
    pub(crate) faults: Vec<Fault>,
    /// By their number, as [`Event::process`] says it.
    pub(crate) processes: Vec<Process>,
    /// When the run began: reports count from here.
    pub(crate) origin: u64,
    /// Who did not end what it was doing, if anybody: it was killed in the end.
    pub(crate) stuck: Option<String>,
}

/// One life of one worker. A worker that is killed and started again is another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Which worker.
    pub(crate) slot: usize,
    pub(crate) born: u64,
    /// When it was killed, unless it lived to the end.
    pub(crate) killed: Option<u64>,
}
