//! The schedule of faults, which depends on the seed alone.

use super::{FaultKind, HARMLESS_DELAY, Target};
use crate::rng::Rng;

/// Relative frequency of each fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FaultMix {
    pub(crate) redis_kill: u32,
    pub(crate) redis_freeze: u32,
    pub(crate) worker_kill: u32,
    pub(crate) worker_freeze: u32,
    pub(crate) worker_leave: u32,
    pub(crate) deny_delete: u32,
    pub(crate) flush: u32,
    pub(crate) foreign_delete: u32,
    pub(crate) slot_move: u32,
    pub(crate) slow: u32,
    pub(crate) very_slow: u32,
    pub(crate) reset: u32,
    pub(crate) swallow: u32,
    /// Frequency of [`FaultKind::Swallow`] for all workers at once.
    pub(crate) silence: u32,
    pub(crate) refuse: u32,
    pub(crate) truncate: u32,
    /// Shortest and longest calm between two steps, in milliseconds.
    pub(crate) calm: (u64, u64),
    /// Longest duration of a fault, in milliseconds.
    pub(crate) longest: u64,
}

impl FaultMix {
    /// No faults at all.
    pub(crate) const NONE: Self = Self {
        redis_kill: 0,
        redis_freeze: 0,
        worker_kill: 0,
        worker_freeze: 0,
        worker_leave: 0,
        deny_delete: 0,
        flush: 0,
        foreign_delete: 0,
        slot_move: 0,
        slow: 0,
        very_slow: 0,
        reset: 0,
        swallow: 0,
        silence: 0,
        refuse: 0,
        truncate: 0,
        calm: (800, 3_500),
        longest: 3_000,
    };

    /// Default mix for a single server.
    pub(crate) const ALL: Self = Self {
        redis_kill: 2,
        redis_freeze: 3,
        worker_kill: 3,
        worker_freeze: 3,
        worker_leave: 2,
        deny_delete: 2,
        flush: 2,
        foreign_delete: 4,
        slow: 3,
        very_slow: 3,
        reset: 3,
        swallow: 4,
        refuse: 3,
        truncate: 2,
        ..Self::NONE
    };

    /// Faults of a cluster. No server is away long enough for the others to consider it failed.
    pub(crate) const CLUSTER: Self = Self {
        redis_kill: 1,
        redis_freeze: 3,
        worker_kill: 3,
        worker_freeze: 3,
        worker_leave: 2,
        deny_delete: 2,
        flush: 2,
        foreign_delete: 4,
        slot_move: 12,
        longest: 1_500,
        ..Self::NONE
    };

    fn weights(&self) -> [u32; 16] {
        [
            self.redis_kill,
            self.redis_freeze,
            self.worker_kill,
            self.worker_freeze,
            self.flush,
            self.foreign_delete,
            self.slow,
            self.very_slow,
            self.reset,
            self.swallow,
            self.refuse,
            self.truncate,
            self.deny_delete,
            self.slot_move,
            self.silence,
            self.worker_leave,
        ]
    }
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlannedFault {
    pub(crate) kind: FaultKind,
    pub(crate) target: Target,
    /// Duration in milliseconds; 0 for a fault that is over at once.
    pub(crate) duration: u64,
    /// Key for faults that need one. In a cluster, it also selects the server.
    pub(crate) key: u32,
}

/// One step of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Time without new faults before the step, in milliseconds.
    pub(crate) calm: u64,
    /// Faults that then begin at once.
    pub(crate) faults: Vec<PlannedFault>,
}

/// Endless sequence of the steps of a run.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    rng: Rng,
    mix: FaultMix,
    slots: usize,
    keys: u32,
}

impl Schedule {
    pub(crate) fn new(seed: u64, mix: FaultMix, slots: usize, keys: u32) -> Self {
        Self { rng: Rng::derive(seed, &[0xFA]), mix, slots, keys }
    }

    fn fault(&mut self) -> Option<PlannedFault> {
        let weights = self.mix.weights();
        if weights.iter().all(|weight| *weight == 0) {
            return None;
        }
        let rng = &mut self.rng;
        let slot = Target::Slot(usize::try_from(rng.below(self.slots as u64)).unwrap_or_default());
        let key = u32::try_from(rng.below(u64::from(self.keys))).unwrap_or_default();
        let chosen = rng.weighted(weights.into_iter());
        let mut draw = |low: u64, high: u64| rng.between(low, high).min(self.mix.longest);
        let (kind, target, duration) = match chosen {
            0 => (FaultKind::RedisKill, Target::Everyone, draw(0, 1_500)),
            1 => (FaultKind::RedisFreeze, Target::Everyone, draw(50, 3_000)),
            2 => (FaultKind::WorkerKill, slot, 0),
            3 => (FaultKind::WorkerFreeze, slot, draw(50, 3_000)),
            4 => (FaultKind::Flush, Target::Everyone, 0),
            5 => (FaultKind::ForeignDelete, Target::Everyone, 0),
            6 => (FaultKind::Delay(1 + draw(0, HARMLESS_DELAY)), slot, draw(200, 1_500)),
            7 => (FaultKind::Delay(draw(50, 200)), slot, draw(200, 1_500)),
            8 => (FaultKind::Reset, slot, draw(1, 300)),
            9 => (FaultKind::Swallow, slot, draw(200, 3_000)),
            10 => (FaultKind::Refuse, slot, draw(50, 3_000)),
            11 => (FaultKind::Truncate, slot, draw(50, 500)),
            13 => (FaultKind::SlotMove, Target::Everyone, 0),
            14 => (FaultKind::Swallow, Target::Everyone, self.mix.longest),
            15 => (FaultKind::WorkerLeave, slot, 0),
            _ => (FaultKind::DenyDelete, Target::Everyone, draw(100, 1_000)),
        };
        Some(PlannedFault { kind, target, duration, key })
    }

    /// Draws a fault that begins together with `first`, in 30 % of the cases.
    ///
    /// The two never hit the same worker. A fault of all workers comes alone: Redis may be away, and the
    /// harness would wait for it.
    fn second_fault(&mut self, first: PlannedFault) -> Option<PlannedFault> {
        if first.target == Target::Everyone || !self.rng.chance(300_000) {
            return None;
        }
        self.fault().filter(|other| other.target != Target::Everyone && other.target != first.target)
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let (low, high) = self.mix.calm;
        let calm = self.rng.between(low, high);
        let first = self.fault();
        let second = first.and_then(|first| self.second_fault(first));
        Some(Step { calm, faults: first.into_iter().chain(second).collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_repeats_the_plan() {
        let plan = |seed| Schedule::new(seed, FaultMix::ALL, 4, 8).take(50).collect::<Vec<_>>();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn schedule_contains_every_fault_of_its_mix() {
        let steps = Schedule::new(3, FaultMix::ALL, 4, 8).take(500);
        let names: HashSet<_> = steps.flat_map(|step| step.faults).map(|fault| fault.kind.name()).collect();
        assert_eq!(names.len(), 14, "{names:?}");
        let steps = Schedule::new(3, FaultMix::CLUSTER, 4, 8).take(500);
        let names: HashSet<_> = steps.flat_map(|step| step.faults).map(|fault| fault.kind.name()).collect();
        assert_eq!(names.len(), 9, "{names:?}");
        assert!(Schedule::new(3, FaultMix::NONE, 4, 8).take(50).all(|step| step.faults.is_empty()));
    }

    #[test]
    fn simultaneous_faults_hit_different_workers() {
        for step in Schedule::new(5, FaultMix::ALL, 4, 8).take(500) {
            if let [first, second] = step.faults[..] {
                assert_ne!(first.target, second.target);
                assert!(![first.target, second.target].contains(&Target::Everyone));
            }
        }
    }
}
