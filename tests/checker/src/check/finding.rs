//! The findings of the checks.

use std::collections::BTreeMap;

/// Promise of the design, or another condition that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Promise {
    Fence,
    Bound,
    OneLoad,
    Acknowledged,
    Confirmed,
    Deadline,
    Answers,
    /// Soundness of the run itself. A violation is not the fault of the cache.
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

/// One violation of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) promise: Promise,
    /// Description in one line.
    pub(crate) description: String,
    /// Indices in the history of the events that show it, the offending event first.
    pub(crate) events: Vec<usize>,
}

/// All findings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Number of times that each promise could have been broken.
    pub(crate) checked: BTreeMap<Promise, u64>,
    /// First violations of each promise that differ in more than the read. One bug breaks thousands of reads.
    pub(crate) violations: Vec<Violation>,
    /// Number of violations of each promise.
    pub(crate) counts: BTreeMap<Promise, u64>,
    /// Longest time, in nanoseconds, after which a superseded value was returned while Redis was reachable.
    ///
    /// The time counts from the acknowledgement.
    pub(crate) longest_calm: u64,
    /// Longest such time, whether or not Redis was reachable.
    pub(crate) longest: u64,
}

const MAX_REPORTED: usize = 4;

impl Findings {
    pub(crate) fn count(&mut self, promise: Promise, times: u64) {
        *self.checked.entry(promise).or_default() += times;
    }

    pub(crate) fn report(
        &mut self,
        promise: Promise,
        events: &[usize],
        description: impl FnOnce() -> String,
    ) {
        *self.counts.entry(promise).or_default() += 1;
        let is_known =
            |other: &Violation| other.promise == promise && other.events.get(1..) == events.get(1..);
        let reported = self.violations.iter().filter(|other| other.promise == promise).count();
        if reported < MAX_REPORTED && !self.violations.iter().any(is_known) {
            self.violations.push(Violation { promise, description: description(), events: events.to_vec() });
        }
    }

    /// Returns the number of all violations.
    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
