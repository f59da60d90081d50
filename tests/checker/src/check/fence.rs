//! P1 and P2: superseded values are not returned after the acknowledgement of the invalidation.
//!
//! The only exceptions are those of [`allowance`](super::allowance).

use super::{
    Findings, Prepared, Promise,
    allowance::{Case, Verdict},
};
use crate::{clock::ms, history::Ack};

pub(super) fn check(prepared: &Prepared<'_>, findings: &mut Findings) {
    let (history, outages) = (prepared.history, &prepared.outages);
    // An invalidation that was not confirmed was delivered all the same.
    let is_delivered = |ack| matches!(ack, Ack::Done | Ack::NotConfirmed);
    let by_key = prepared.timelines(|_, _, ack| is_delivered(ack));
    let own_by_process = prepared.timelines_by_process(|_, _, ack| is_delivered(ack));

    for (index, read, began) in prepared.reads() {
        let Some(answer) = read.answer() else { continue };
        findings.count(Promise::Fence, 1);
        findings.count(Promise::Bound, 1);
        let load = prepared.load(read.load);
        let own_invalidation =
            own_by_process.get(&(read.process, read.key)).and_then(|timeline| timeline.superseding(began));
        let any_invalidation = by_key[read.key as usize].superseding(began);
        for (invalidation, is_same_process) in [(own_invalidation, true), (any_invalidation, false)] {
            let Some(invalidation) = invalidation.filter(|invalidation| invalidation.end < read.start) else {
                continue;
            };
            let age = read.start - invalidation.end;
            findings.longest = findings.longest.max(age);
            if outages.calm_since(read.process, read.start) <= invalidation.end {
                findings.longest_calm = findings.longest_calm.max(age);
            }
            let load_ended = load.map(|(_, load)| load.end);
            let case = Case { read, answer, acknowledged: invalidation.end, is_same_process, load_ended };
            let promise = match case.judge(&history.settings, outages) {
                Verdict::Legal => continue,
                Verdict::Fence => Promise::Fence,
                Verdict::Bound => Promise::Bound,
            };
            let events: Vec<_> = [Some(index), Some(invalidation.event), load.map(|(at, _)| at)]
                .into_iter()
                .flatten()
                .collect();
            findings.report(promise, &events, || {
                let reader = if is_same_process { "the process that invalidated" } else { "another process" };
                format!(
                    "{reader} returned ({answer:?}) a superseded value of key {} {} ms after the acknowledgement",
                    read.key,
                    age / ms(1)
                )
            });
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        check::{Findings, Prepared, Promise, synthetic::HistoryBuilder},
        faults::{FaultKind, Target},
        history::{Ack, Answer},
        universe::Form,
    };

    fn broken(builder: &HistoryBuilder) -> Vec<Promise> {
        let mut findings = Findings::default();
        super::check(&Prepared::new(&builder.history()), &mut findings);
        findings.counts.into_keys().collect()
    }

    /// Returns load 1 of key 0 in worker 0, and an invalidation by worker 0 from 5,000 to 5,010.
    fn builder() -> HistoryBuilder {
        let mut builder = HistoryBuilder::new(3);
        builder.load(0, 0, 1, (1_000, 1_005));
        builder.invalidate(0, Form::Key, 0, (5_000, 5_010), 2);
        builder
    }

    #[test]
    fn reads_that_overlap_or_see_a_later_load_are_legal() {
        let mut builder = builder();
        builder.read(1, 0, Answer::L2, (5_009, 5_011), (1, 1_000));
        builder.read(1, 0, Answer::L1, (5_200, 5_200), (1, 1_000));
        builder.load(1, 0, 2, (5_005, 5_020));
        builder.read(0, 0, Answer::L2, (9_000, 9_001), (2, 5_005));
        assert_eq!(broken(&builder), []);
    }

    #[test]
    fn superseded_value_from_redis_breaks_the_fence() {
        let mut builder = builder();
        builder.read(1, 0, Answer::L2, (5_011, 5_012), (1, 1_000));
        assert_eq!(broken(&builder), [Promise::Fence]);
    }

    #[test]
    fn a_superseded_value_from_memory_breaks_the_bound() {
        let mut builder = builder();
        builder.read(1, 0, Answer::L1, (5_311, 5_311), (1, 1_000));
        assert_eq!(broken(&builder), [Promise::Bound]);
    }

    #[test]
    fn the_process_that_invalidated_has_no_allowance() {
        let mut builder = builder();
        builder.read(0, 0, Answer::L1, (5_011, 5_011), (1, 1_000));
        assert_eq!(broken(&builder), [Promise::Fence]);
    }

    #[test]
    fn a_load_that_ended_after_the_acknowledgement_is_not_stored() {
        let mut builder = HistoryBuilder::new(2);
        builder.load(1, 0, 1, (4_900, 5_100));
        builder.invalidate(0, Form::Key, 0, (5_000, 5_010), 2);
        builder.read(1, 0, Answer::Joined, (5_009, 5_100), (1, 4_900));
        assert_eq!(broken(&builder), []);
        let before = builder.clone();
        builder.read(1, 0, Answer::Joined, (5_011, 5_100), (1, 4_900));
        assert_eq!(broken(&builder), [Promise::Fence]);
        let mut builder = before;
        builder.read(1, 0, Answer::L1, (5_101, 5_101), (1, 4_900));
        assert_eq!(broken(&builder), [Promise::Fence]);
        // In an outage, the process could not know of the invalidation.
        builder.fault(FaultKind::Refuse, Target::Slot(1), 4_800, 5_200);
        assert_eq!(broken(&builder), []);
    }

    #[test]
    fn each_target_supersedes_keys_it_reaches() {
        for form in Form::ALL {
            for key in 0..7 {
                let mut builder = HistoryBuilder::new(2);
                builder.load(0, key, 1, (1_000, 1_005));
                builder.invalidate(0, form, 0, (5_000, 5_010), 2);
                builder.read(1, key, Answer::L2, (5_011, 5_012), (1, 1_000));
                let expected =
                    if crate::universe::reaches(form, 0, key) { vec![Promise::Fence] } else { vec![] };
                assert_eq!(broken(&builder), expected, "{form:?} {key}");
            }
        }
    }

    #[test]
    fn unacknowledged_invalidation_forbids_no_read() {
        let mut builder = HistoryBuilder::new(2);
        builder.invalidate_with_ack(0, Form::Key, 0, (5_000, 5_010), 2, Ack::NotPropagated);
        builder.read(1, 0, Answer::L2, (9_000, 9_001), (1, 1_000));
        assert_eq!(broken(&builder), []);
    }

    #[test]
    fn set_value_is_superseded_only_by_later_invalidation() {
        let mut builder = HistoryBuilder::new(2);
        builder.set(0, 7, (4_990, 5_005), 1);
        builder.invalidate(0, Form::Key, 7, (5_000, 5_010), 2);
        builder.read(1, 7, Answer::Found, (9_000, 9_000), (1, 4_990));
        assert_eq!(broken(&builder), []);
        builder.invalidate(0, Form::Key, 7, (6_000, 6_010), 3);
        assert_eq!(broken(&builder), [Promise::Bound]);
    }
}
