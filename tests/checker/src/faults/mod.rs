//! What goes wrong in a run, and when.

mod inject;
mod plan;

pub(crate) use inject::Injector;
pub(crate) use plan::{FaultMix, Planned, Schedule};

use crate::clock::ms;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// Redis is killed, and an empty one takes its place.
    RedisKill,
    /// Redis stands still.
    RedisFreeze,
    /// A worker is killed, and another one takes its place.
    WorkerKill,
    /// A worker stands still.
    WorkerFreeze,
    /// A worker ends in an orderly way, and another one takes its place.
    WorkerLeave,
    /// Redis refuses to delete, and does everything else.
    DenyDelete,
    /// Another program empties Redis.
    Flush,
    /// Another program writes a version and deletes the key in Redis.
    ForeignDelete,
    /// The slot of a key moves to another server, and its keys with it.
    SlotMove,
    /// Each answer to a worker is late by so many milliseconds.
    Delay(u64),
    /// A worker's connections are reset.
    Reset,
    /// A worker's connections go silent, and those that were open stay so. If it hits everyone, another program writes and
    /// deletes all keys when it has begun.
    Swallow,
    /// A worker cannot connect.
    Refuse,
    /// Answers to a worker are cut in the middle.
    Truncate,
}

/// A delay up to this many milliseconds is a slow network and no outage: every promise holds.
pub(crate) const HARMLESS_DELAY: u64 = 10;

impl FaultKind {
    /// Whether Redis is out of reach for those whom it hits, at least for some of what they want: a process that
    /// cannot tell what it has to does not read either.
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

/// Whom it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Everyone,
    Slot(usize),
}

/// One that was injected, from when to when.
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

/// What a worker may have lost of its log when it was killed: it flushes far more often.
pub(crate) const UNFLUSHED: u64 = ms(1_000);
