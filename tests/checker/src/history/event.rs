//! An event of a worker.

use crate::universe::Form;

/// Operation, load, or observation of the worker. It is logged when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Number of the process: an index into `History::processes`, or `FOREIGN`.
    pub(crate) process: u16,
    pub(crate) kind: EventKind,
    pub(crate) key: u32,
    /// Time at which the event began.
    pub(crate) start: u64,
    /// Time at which the event ended.
    pub(crate) end: u64,
    /// Version that was read, loaded or written; 0 without one.
    pub(crate) version: u64,
    /// Time at which the load of the value began, or at which `set` was called with it.
    pub(crate) began: u64,
    /// Identifier of the load or the `set`, unique in the run; 0 without one.
    pub(crate) load: u64,
}

/// Kind of an event, with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventKind {
    /// Call of a cached function, or lookup in the keyspace.
    Read(Answer),
    /// Call like [`Read`](Self::Read), after all faults were healed.
    FinalRead(Answer),
    /// Call that loads in any case.
    Refresh(Answer),
    /// Invalidation, after a new version was written. The event starts after the write.
    Invalidate(Form, Strength, Ack),
    /// Value that was set in the keyspace.
    Set(Ack),
    /// Execution of the body of a cached function.
    Load(LoadEnd),
    /// Time without a timely answer from Redis to the worker's witness.
    Stall,
    /// Progress of the worker.
    Milestone(Milestone),
}

/// Kind of acknowledgement that an invalidation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Strength {
    Plain,
    Confirmed,
}

/// Outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    L1,
    L2,
    Miss,
    Joined,
    Bypass,
    /// A tier had the value. A keyspace does not report which one.
    Found,
    /// No tier had the value.
    Absent,
    /// The load returned its own error.
    Failed,
    /// The load panicked.
    Panicked,
    /// The caller went away.
    Cancelled,
    /// The value belonged to another key or function version, or differed from the value that was stored.
    Mixed,
}

/// Acknowledgement of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ack {
    Done,
    NotPropagated,
    NotConfirmed,
    /// Any other error. There should be none.
    Error,
}

/// Outcome of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LoadEnd {
    Done,
    Failed,
    Panicked,
    /// The load was dropped before it ended.
    Aborted,
}

/// Progress of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Milestone {
    /// The witness has reached Redis for the first time.
    Ready,
    /// The worker has ended its operations.
    Stopped,
    /// The worker has read every key for the last time.
    Finished,
}

impl Answer {
    pub(crate) const ALL: [Self; 11] = [
        Self::L1,
        Self::L2,
        Self::Miss,
        Self::Joined,
        Self::Bypass,
        Self::Found,
        Self::Absent,
        Self::Failed,
        Self::Panicked,
        Self::Cancelled,
        Self::Mixed,
    ];

    /// Returns whether the call returned a value.
    pub(crate) fn has_value(self) -> bool {
        matches!(self, Self::L1 | Self::L2 | Self::Miss | Self::Joined | Self::Bypass | Self::Found)
    }
}

impl Ack {
    pub(crate) const ALL: [Self; 4] = [Self::Done, Self::NotPropagated, Self::NotConfirmed, Self::Error];
}

impl LoadEnd {
    pub(crate) const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Panicked, Self::Aborted];
}

impl Milestone {
    pub(crate) const ALL: [Self; 3] = [Self::Ready, Self::Stopped, Self::Finished];
}

impl Event {
    /// Returns the outcome of the call, if the event is one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        match self.kind {
            EventKind::Read(answer) | EventKind::FinalRead(answer) | EventKind::Refresh(answer) => {
                Some(answer)
            }
            _ => None,
        }
    }
}
