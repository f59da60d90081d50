//! Counts of the outcomes of calls.

use std::time::{Duration, Instant};

use crate::traffic::{Answer, Outcome, Sample, Telling};

/// The default budget of a read.
pub(crate) const BUDGET: Duration = Duration::from_millis(50);

/// Counts of the calls from the beginning of a fault until all was well again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    pub(crate) old: usize,
    pub(crate) wrong: usize,
    /// Calls that took at least four fifths of the budget longer than their load.
    pub(crate) paid: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
    pub(crate) acknowledged: usize,
    pub(crate) not_propagated: usize,
    /// Invalidations in `not_propagated` that are not excused by a slow machine.
    pub(crate) untold: usize,
    pub(crate) failed_tellings: usize,
    pub(crate) longest_telling: Duration,
}

impl Tally {
    pub(crate) fn of(samples: &[Sample], tellings: &[Telling], from: Instant, to: Instant) -> Self {
        let all = |answer| samples.iter().filter(|sample| sample.answer == answer).count();
        let is_in = |began: Instant| from <= began && began < to;
        let mut added: Vec<_> = samples.iter().filter(|one| is_in(one.began)).map(|one| one.added).collect();
        added.sort_unstable();
        let tellings: Vec<_> = tellings.iter().filter(|telling| is_in(telling.began)).collect();
        let outcomes = |outcome| tellings.iter().filter(|telling| telling.outcome == outcome).count();
        Self {
            calls: added.len(),
            // These are counts of all calls: such outcomes must not occur afterwards either.
            failed: all(Answer::Failed),
            old: all(Answer::Old),
            wrong: all(Answer::Wrong),
            paid: added.iter().filter(|added| **added >= BUDGET * 4 / 5).count(),
            p50: percentile(&added, 50),
            p99: percentile(&added, 99),
            longest: added.last().copied().unwrap_or_default(),
            acknowledged: outcomes(Outcome::Acknowledged),
            not_propagated: outcomes(Outcome::NotPropagated),
            untold: tellings
                .iter()
                .filter(|telling| telling.outcome == Outcome::NotPropagated && !telling.is_excused)
                .count(),
            failed_tellings: outcomes(Outcome::Failed),
            longest_telling: tellings.iter().map(|telling| telling.took).max().unwrap_or_default(),
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or_default()
}
