//! One thing that happened in a worker.

use crate::universe::Form;

/// An operation, a load, or something that the worker notices. It is written down when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Which process, as the collector numbers them.
    pub(crate) process: u16,
    pub(crate) what: What,
    pub(crate) key: u32,
    /// When it began, and when it ended.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The version that was read, loaded or written; 0 if none was.
    pub(crate) version: u64,
    /// When the load of the value began, or when the caller of `set` had it.
    pub(crate) began: u64,
    /// Names the load, or the `set`, among all of the run; 0 if there was none.
    pub(crate) load: u64,
}

/// What it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// A call of a cached function, or a look into the keyspace.
    Read(Answer),
    /// As [`Read`](Self::Read), after everything was healed.
    FinalRead(Answer),
    /// A call that loads in any case.
    Refresh(Answer),
    /// A new version was written, and then something was invalidated. It starts after the write.
    Invalidate(Form, Strength, Ack),
    /// A value was put into the keyspace.
    Set(Ack),
    /// The body of a cached function ran.
    Load(LoadEnd),
    /// The worker's witness could not reach Redis in time.
    Stall,
    /// The worker says how far it is.
    Mark(Mark),
}

/// Which invalidation was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Strength {
    Plain,
    Confirmed,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    L1,
    L2,
    Miss,
    Joined,
    Bypass,
    /// A tier had it, and nobody says which.
    Found,
    /// No tier had it.
    Absent,
    /// The load's own error.
    Failed,
    /// The load panicked.
    Panicked,
    /// The caller went away.
    Cancelled,
    /// The value was another key's or another version's, or not the one that was stored.
    Mixed,
}

/// How a change was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ack {
    Done,
    NotPropagated,
    NotConfirmed,
    /// Any other error: there should be none.
    Error,
}

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LoadEnd {
    Done,
    Failed,
    Panicked,
    /// It was dropped before it ended.
    Aborted,
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    /// Its witness has reached Redis for the first time.
    Ready,
    /// It has ended its operations.
    Stopped,
    /// It has read every key for the last time.
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

    /// Whether there was a value.
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

impl Mark {
    pub(crate) const ALL: [Self; 3] = [Self::Ready, Self::Stopped, Self::Finished];
}

impl Event {
    /// How the call ended, if it was one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        match self.what {
            What::Read(answer) | What::FinalRead(answer) | What::Refresh(answer) => Some(answer),
            _ => None,
        }
    }
}
