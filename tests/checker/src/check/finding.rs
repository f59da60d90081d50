//! What the checks say.

use std::collections::BTreeMap;

/// A promise of the design, or what must hold besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Promise {
    Fence,
    Bound,
    OneLoad,
    Acknowledged,
    Confirmed,
    Deadline,
    Answers,
    /// Not the cache's fault: the run itself is not what it should be.
    Source,
}

impl Promise {
    pub(crate) const ALL: [Self; 8] = [
        Self::Fence,
        Self::Bound,
        Self::OneLoad,
        Self::Acknowledged,
        Self::Confirmed,
        Self::Deadline,
        Self::Answers,
        Self::Source,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fence => "P1",
            Self::Bound => "P2",
            Self::OneLoad => "P3",
            Self::Acknowledged => "P4",
            Self::Confirmed => "P5",
            Self::Deadline => "deadline",
            Self::Answers => "answers",
            Self::Source => "source",
        }
    }
}

/// One case of a broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) promise: Promise,
    /// In one line, what is wrong.
    pub(crate) why: String,
    /// The events that show it, by their index in the history, the offender first.
    pub(crate) events: Vec<usize>,
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// How many times each promise could have been broken.
    pub(crate) checked: BTreeMap<Promise, u64>,
    /// Of each promise the first ones that differ in more than the read: one bug breaks thousands of reads.
    pub(crate) violations: Vec<Violation>,
    /// How many there were of each.
    pub(crate) counts: BTreeMap<Promise, u64>,
    /// The longest that a superseded value was served from memory while Redis was in reach, in nanoseconds.
    pub(crate) longest_calm: u64,
    /// The longest at all.
    pub(crate) longest: u64,
}

const KEPT: usize = 4;

impl Findings {
    pub(crate) fn count(&mut self, promise: Promise, times: u64) {
        *self.checked.entry(promise).or_default() += times;
    }

    pub(crate) fn report(&mut self, promise: Promise, events: &[usize], why: impl FnOnce() -> String) {
        *self.counts.entry(promise).or_default() += 1;
        let is_known =
            |other: &Violation| other.promise == promise && other.events.get(1..) == events.get(1..);
        let kept = self.violations.iter().filter(|other| other.promise == promise).count();
        if kept < KEPT && !self.violations.iter().any(is_known) {
            self.violations.push(Violation { promise, why: why(), events: events.to_vec() });
        }
    }

    /// How many in all.
    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
