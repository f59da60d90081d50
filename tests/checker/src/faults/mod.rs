//! The faults of a run and their schedule.

mod inject;
mod plan;

pub(crate) use inject::Injector;
pub(crate) use plan::{FaultMix, PlannedFault, Schedule};

use crate::clock::ms;

/// Kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// Redis is killed, and an empty one takes its place.
    RedisKill,
    /// Redis is frozen.
    RedisFreeze,
    /// A worker is killed, and another one takes its place.
    WorkerKill,
    /// A worker is frozen.
    WorkerFreeze,
    /// A worker ends in an orderly way, and another one takes its place.
    WorkerLeave,
    /// Redis refuses to delete, and does everything else.
    DenyDelete,
    /// Another program empties Redis.
    Flush,
    /// Another program writes a version and deletes the key in Redis.
    ForeignDelete,
    /// The slot of a key moves to another server, with its keys.
    SlotMove,
    /// Each answer to a worker is this many milliseconds late.
    Delay(u64),
    /// The connections of a worker are reset.
    Reset,
    /// The connections of a worker go silent; open ones stay silent for good.
    ///
    /// If the fault hits all workers, another program writes and deletes all keys after it has begun.
    Swallow,
    /// A worker cannot connect.
    Refuse,
    /// Answers to a worker are cut in the middle.
    Truncate,
}

/// Longest delay, in milliseconds, of a slow network that is no outage: every promise holds.
pub(crate) const HARMLESS_DELAY: u64 = 10;

impl FaultKind {
    /// Returns whether Redis is unreachable for the workers that the fault hits, at least for some
    /// operations.
    ///
    /// A refused deletion counts: a process that cannot send an invalidation does not read the name either.
    pub(crate) fn is_outage(self) -> bool {
        match self {
            Self::Delay(millis) => millis > HARMLESS_DELAY,
            Self::Flush | Self::ForeignDelete | Self::SlotMove | Self::WorkerKill | Self::WorkerLeave => {
                false
            }
            _ => true,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RedisKill => "redis killed",
            Self::RedisFreeze => "redis frozen",
            Self::WorkerKill => "worker killed",
            Self::WorkerFreeze => "worker frozen",
            Self::WorkerLeave => "worker left",
            Self::DenyDelete => "deletions denied",
            Self::Flush => "flushall",
            Self::ForeignDelete => "foreign del",
            Self::SlotMove => "slot moved",
            Self::Delay(millis) if millis <= HARMLESS_DELAY => "slow network",
            Self::Delay(_) => "very slow network",
            Self::Reset => "reset",
            Self::Swallow => "silent connection",
            Self::Refuse => "refused",
            Self::Truncate => "truncated",
        }
    }
}

/// Workers that a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Everyone,
    Slot(usize),
}

/// Injected fault, with its start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) target: Target,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Fault {
    pub(crate) fn hits(&self, slot: usize) -> bool {
        match self.target {
            Target::Everyone => true,
            Target::Slot(hit) => hit == slot,
        }
    }
}

/// Longest part of its log that a killed worker may have lost, in nanoseconds. It flushes far more often.
pub(crate) const UNFLUSHED: u64 = ms(1_000);
