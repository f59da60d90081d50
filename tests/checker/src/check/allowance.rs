//! The longest time after an acknowledged invalidation for which a superseded value may be returned.
//!
//! A read that **starts** after the acknowledgement, and returns a value that the invalidation superseded, is
//! legal only as follows:
//!
//! * **In the process that invalidated**: never. The process evicts its own entry and supersedes its own
//!   flights before it asks Redis. All values that it reads from Redis afterwards were read after the `DEL`.
//! * **From L2, or loaded by this very call**: never, with or without an outage. Redis was asked, or the load
//!   began, after the read started, and so after the `DEL`. In an outage there is no answer from L2 at all.
//! * **From L1**: an entry is served only with a proof of freshness that is younger than the bound `B`. If
//!   the proof is younger than the acknowledgement, the push has arrived. So a process that can reach Redis
//!   serves the value for up to `B` after the acknowledgement. In an outage it may continue for the grace
//!   `G`, until `B + G` after the acknowledgement. The same limit holds for values that it loaded by itself
//!   in the outage, because each lives for `B + G` from its load. After the outage, the process has no more
//!   rights than others: from the end of the outage, plus the time to notice it, `B` counts anew. With
//!   `bound = 0` each hit is checked with Redis, and `B` is zero.
//! * **From L1, if the load ended after the acknowledgement**: never while Redis can be reached. The lease
//!   was gone before the load ended, the fill was rejected, and a rejected value is not stored. This is the
//!   fence, P1. A process in an outage loads without a lease; then the rule above holds.
//! * **From the load or lookup of another call** ("joined"): a follower gets only values that its leader may
//!   store, so the fence holds for it as well. If the load ended before the acknowledgement, or there was
//!   none, the answer of Redis is on its way for a moment, and the `DEL` may come in that moment. So while
//!   Redis can be reached, such a read ends at most [`SLOW`] after the acknowledgement. In an outage it may
//!   wait for any load under way in its process. Otherwise the rule for L1 holds, with the ordinary bound, as
//!   the value is not stored.
//!
//! All processes share one clock on one host, so no tolerance is added anywhere.

use super::Outages;
use crate::{
    history::{Answer, Event},
    settings::{SLOW, Settings},
    universe::{Flavor, flavor},
};

/// Facts about a read that returned a superseded value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub(super) read: &'a Event,
    pub(super) answer: Answer,
    /// Time at which the invalidation was acknowledged, before the read started.
    pub(super) acknowledged: u64,
    pub(super) is_same_process: bool,
    /// Time at which the load of the value ended, if known.
    pub(super) load_ended: Option<u64>,
}

/// Promise that a read breaks, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Legal,
    /// The value was stored although it was superseded, or served where it may not be.
    Fence,
    /// The value was served for too long.
    Bound,
}

impl Case<'_> {
    pub(super) fn judge(&self, settings: &Settings, outages: &Outages) -> Verdict {
        if self.is_same_process {
            return Verdict::Fence;
        }
        let read = self.read;
        let late_load = self.load_ended.is_some_and(|ended| ended > self.acknowledged);
        let calm_since = outages.calm_since(read.process, read.start);
        let is_calm = calm_since <= self.acknowledged;
        let bound = match flavor(read.key) {
            Flavor::Checked => 0,
            _ => settings.bound_ns(),
        };
        let legal_until = |bound: u64| {
            let last = self.acknowledged + settings.outage_ns() - settings.bound_ns() + bound;
            last.min(self.acknowledged.max(calm_since) + bound)
        };
        match self.answer {
            Answer::L2 | Answer::Miss | Answer::Bypass => Verdict::Fence,
            Answer::L1 | Answer::Joined if is_calm && late_load => Verdict::Fence,
            Answer::Joined if is_calm && read.end > self.acknowledged + SLOW => Verdict::Fence,
            Answer::Joined if is_calm => Verdict::Legal,
            Answer::Joined if self.load_ended.is_some_and(|ended| ended >= read.start) => Verdict::Legal,
            Answer::Joined if read.start > legal_until(settings.bound_ns()) => Verdict::Bound,
            Answer::Joined => Verdict::Legal,
            _ if read.start > legal_until(bound) => Verdict::Bound,
            _ => Verdict::Legal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::synthetic::HistoryBuilder,
        clock::ms,
        faults::{FaultKind, Target},
        history::EventKind,
    };

    /// Judges a read of worker 1 that started `after` ms after an acknowledgement at 10 s.
    ///
    /// With `is_outage`, there is an outage from 9 s to 10.5 s.
    fn judge(answer: Answer, key: u32, after: u64, is_outage: bool) -> Verdict {
        let mut builder = HistoryBuilder::new(2);
        if is_outage {
            builder.fault(FaultKind::Refuse, Target::Slot(1), 9_000, 10_500);
        }
        builder.read(1, key, answer, (10_000 + after, 10_000 + after), (1, 1_000));
        let history = builder.history();
        let read = history
            .events
            .iter()
            .find(|event| matches!(event.kind, EventKind::Read(_)))
            .expect("it is there");
        let case =
            Case { read, answer, acknowledged: builder.at(10_000), is_same_process: false, load_ended: None };
        case.judge(&history.settings, &Outages::new(&history))
    }

    #[test]
    fn l1_is_allowed_bound_and_in_outage_grace() {
        assert_eq!(judge(Answer::L1, 0, 300, false), Verdict::Legal);
        assert_eq!(judge(Answer::L1, 0, 301, false), Verdict::Bound);
        assert_eq!(judge(Answer::L1, 0, 2_000, true), Verdict::Legal);
        assert_eq!(judge(Answer::L1, 0, 2_301, true), Verdict::Bound);
        assert_eq!(judge(Answer::Found, 7, 301, false), Verdict::Bound);
    }

    #[test]
    fn bound_starts_again_after_an_outage() {
        let settings = Settings::default();
        let recovered = 500 + settings.recovery_ns() / ms(1);
        assert!(recovered + 301 < 2_300);
        assert_eq!(judge(Answer::L1, 0, recovered + 300, true), Verdict::Legal);
        assert_eq!(judge(Answer::L1, 0, recovered + 301, true), Verdict::Bound);
    }

    #[test]
    fn zero_bound_still_has_grace() {
        assert_eq!(judge(Answer::L1, 2, 1, false), Verdict::Bound);
        assert_eq!(judge(Answer::L1, 2, 1_500, true), Verdict::Legal);
        assert_eq!(judge(Answer::L1, 2, 2_001, true), Verdict::Bound);
    }

    #[test]
    fn l2_reads_and_own_loads_have_no_allowance() {
        for answer in [Answer::L2, Answer::Miss, Answer::Bypass] {
            assert_eq!(judge(answer, 0, 1, false), Verdict::Fence);
            assert_eq!(judge(answer, 0, 1, true), Verdict::Fence);
        }
        assert_eq!(judge(Answer::Joined, 0, 50, false), Verdict::Legal);
        assert_eq!(judge(Answer::Joined, 0, 51, false), Verdict::Fence);
        assert_eq!(judge(Answer::Joined, 0, 1_900, true), Verdict::Legal);
        assert_eq!(judge(Answer::Joined, 0, 2_301, true), Verdict::Bound);
    }
}
