//! Counts of the outcomes of calls.

use std::time::{Duration, Instant};

use crate::traffic::{Answer, InvalidationSample, Outcome, Sample};

/// The default budget of a read.
pub(crate) const BUDGET: Duration = Duration::from_millis(50);

/// Counts of the calls from the beginning of a fault until all was well again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    pub(crate) outdated: usize,
    pub(crate) wrong: usize,
    /// Calls that took at least four fifths of the budget longer than their load.
    pub(crate) delayed: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
    pub(crate) acknowledged: usize,
    pub(crate) not_propagated: usize,
    /// Invalidations in `not_propagated` that are not excused by a slow machine.
    pub(crate) unexcused: usize,
    pub(crate) failed_invalidations: usize,
    pub(crate) longest_invalidation: Duration,
}

impl Tally {
    pub(crate) fn of(
        samples: &[Sample],
        invalidations: &[InvalidationSample],
        from: Instant,
        to: Instant,
    ) -> Self {
        let all = |answer| samples.iter().filter(|sample| sample.answer == answer).count();
        let is_in = |began: Instant| from <= began && began < to;
        let mut overheads: Vec<_> =
            samples.iter().filter(|one| is_in(one.began)).map(|one| one.overhead).collect();
        overheads.sort_unstable();
        let selected: Vec<_> =
            invalidations.iter().filter(|invalidation| is_in(invalidation.began)).collect();
        let outcomes = |outcome| selected.iter().filter(|sample| sample.outcome == outcome).count();
        Self {
            calls: overheads.len(),
            // These are counts of all calls: such outcomes must not occur afterwards either.
            failed: all(Answer::Failed),
            outdated: all(Answer::Outdated),
            wrong: all(Answer::Wrong),
            delayed: overheads.iter().filter(|overhead| **overhead >= BUDGET * 4 / 5).count(),
            p50: percentile(&overheads, 50),
            p99: percentile(&overheads, 99),
            longest: overheads.last().copied().unwrap_or_default(),
            acknowledged: outcomes(Outcome::Acknowledged),
            not_propagated: outcomes(Outcome::NotPropagated),
            unexcused: selected
                .iter()
                .filter(|sample| sample.outcome == Outcome::NotPropagated && !sample.is_excused)
                .count(),
            failed_invalidations: outcomes(Outcome::Failed),
            longest_invalidation: selected.iter().map(|sample| sample.took).max().unwrap_or_default(),
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or_default()
}
