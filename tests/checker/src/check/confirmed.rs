//! P5: after a confirmed invalidation was acknowledged, not even memory returns a superseded value.
//!
//! The bound and the grace give no allowance: each process has confirmed, or has lost the right to serve its
//! entries. Two kinds of reads are left out:
//!
//! * Reads of a value that a process loaded, or got by `set`, **by itself in an outage**. The value lives for
//!   a grace of its own, since the process cannot be asked. P2 checks that these reads keep to its bound.
//! * Reads of a follower of a call with an answer from Redis on its way, as in
//!   [`allowance`](super::allowance): such a read ends at most [`SLOW`] after the acknowledgement.
//!
//! Reads from L2 and own loads have no allowance anyway. P1 covers them.

use super::{Findings, Prepared, Promise};
use crate::{
    clock::ms,
    history::{Ack, Answer, Strength},
    settings::SLOW,
};

pub(super) fn check(prepared: &Prepared<'_>, findings: &mut Findings) {
    let confirmed =
        prepared.timelines(|_, strength, ack| strength == Strength::Confirmed && ack == Ack::Done);
    for (index, read, began) in prepared.reads() {
        let Some(answer) = read.answer() else { continue };
        if !matches!(answer, Answer::L1 | Answer::Found | Answer::Joined) {
            continue;
        }
        findings.count(Promise::Confirmed, 1);
        let Some(invalidation) = confirmed[read.key as usize]
            .superseding(began)
            .filter(|invalidation| invalidation.end < read.start)
        else {
            continue;
        };
        let load = prepared.load(read.load).or_else(|| prepared.set(read.load));
        let by_itself = load.is_some_and(|(_, load)| {
            load.process == read.process && prepared.outages.overlaps(load.process, load.start, load.end)
        });
        if by_itself || (answer == Answer::Joined && read.end <= invalidation.end + SLOW) {
            continue;
        }
        let events: Vec<_> = [index, invalidation.event].into_iter().chain(load.map(|(at, _)| at)).collect();
        findings.report(Promise::Confirmed, &events, || {
            let after = (read.start - invalidation.end) / ms(1);
            format!("key {} was confirmed as invalidated, and served from memory {after} ms later", read.key)
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        check::{Findings, Prepared, synthetic::HistoryBuilder},
        faults::{FaultKind, Target},
        history::Answer,
        universe::Form,
    };

    fn broken(builder: &HistoryBuilder) -> u64 {
        let mut findings = Findings::default();
        super::check(&Prepared::new(&builder.history()), &mut findings);
        findings.total()
    }

    fn confirmed() -> HistoryBuilder {
        let mut builder = HistoryBuilder::new(2);
        builder.load(1, 0, 1, (1_000, 1_005));
        builder.confirmed(0, 0, (5_000, 5_100), 2);
        builder
    }

    #[test]
    fn read_from_memory_after_confirmation_is_violation() {
        let mut builder = confirmed();
        builder.read(1, 0, Answer::L1, (5_099, 5_101), (1, 1_000));
        builder.read(1, 0, Answer::L1, (5_101, 5_101), (2, 5_001));
        assert_eq!(broken(&builder), 0);
        builder.read(1, 0, Answer::L1, (5_101, 5_101), (1, 1_000));
        assert_eq!(broken(&builder), 1);
    }

    #[test]
    fn outage_excuses_only_value_loaded_during_it() {
        let mut builder = confirmed();
        builder.read(1, 0, Answer::L1, (5_101, 5_101), (1, 1_000));
        builder.fault(FaultKind::Refuse, Target::Slot(1), 4_000, 6_000);
        assert_eq!(broken(&builder), 1);
        let mut builder = confirmed();
        builder.fault(FaultKind::Refuse, Target::Slot(1), 4_000, 6_000);
        builder.load(1, 0, 3, (4_500, 4_501));
        builder.read(1, 0, Answer::L1, (5_101, 5_101), (3, 4_500));
        assert_eq!(broken(&builder), 0);
        // The load of another process is no excuse.
        builder.load(0, 0, 4, (4_500, 4_501));
        builder.read(1, 0, Answer::L1, (5_101, 5_101), (4, 4_500));
        assert_eq!(broken(&builder), 1);
    }

    #[test]
    fn outage_excuses_value_set_during_it() {
        let mut builder = HistoryBuilder::new(2);
        builder.set(1, 7, (4_500, 4_501), 1);
        builder.confirmed(0, 7, (5_000, 5_100), 2);
        builder.read(1, 7, Answer::Found, (5_101, 5_101), (1, 4_500));
        assert_eq!(broken(&builder), 1);
        builder.fault(FaultKind::Refuse, Target::Slot(1), 4_000, 6_000);
        assert_eq!(broken(&builder), 0);
    }

    #[test]
    fn plain_invalidation_forbids_no_read_from_memory() {
        let mut builder = HistoryBuilder::new(2);
        builder.invalidate(0, Form::Key, 0, (5_000, 5_100), 2);
        builder.read(1, 0, Answer::L1, (5_101, 5_101), (1, 1_000));
        assert_eq!(broken(&builder), 0);
    }
}
