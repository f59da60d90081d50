//! P4: an undelivered invalidation reports that, holds in its own process at once, and in all processes in
//! the end.
//!
//! * After `NotPropagated`, the process that got it never again returns a superseded value, from any tier.
//! * After all faults were healed and the invalidations were repeated, no process does. Invalidations of a
//!   process that was killed are lost with it. All others count, however they were acknowledged, including
//!   those of other programs.

use super::{Findings, Prepared, Promise};
use crate::history::{Ack, EventKind};

pub(super) fn check(prepared: &Prepared<'_>, findings: &mut Findings) {
    let is_undelivered = |ack| ack == Ack::NotPropagated;
    let own = prepared.timelines_by_process(|_, _, ack| is_undelivered(ack));
    let is_killed = |process: u16| {
        let process = prepared.history.processes.get(usize::from(process));
        process.is_some_and(|process| process.killed.is_some())
    };
    let lasting = prepared.timelines(|event, _, ack| ack != Ack::Error && !is_killed(event.process));

    for (index, read, began) in prepared.reads() {
        let before = own.get(&(read.process, read.key)).and_then(|timeline| timeline.superseding(began));
        findings.count(Promise::Acknowledged, 1);
        if let Some(invalidation) = before.filter(|invalidation| invalidation.end < read.start) {
            findings.report(Promise::Acknowledged, &[index, invalidation.event], || {
                format!("a process could not tell others that key {} changed, and forgot it itself", read.key)
            });
        }
        let in_the_end = lasting[read.key as usize].superseding(began);
        if let (EventKind::FinalRead(_), Some(invalidation)) = (read.kind, in_the_end) {
            findings.report(Promise::Acknowledged, &[index, invalidation.event], || {
                format!(
                    "an invalidation of key {} has not reached process {} in the end",
                    read.key, read.process
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        check::{Findings, Prepared, synthetic::HistoryBuilder},
        history::{Ack, Answer},
        universe::Form,
    };

    fn broken(builder: &HistoryBuilder) -> u64 {
        let mut findings = Findings::default();
        super::check(&Prepared::new(&builder.history()), &mut findings);
        findings.total()
    }

    fn undelivered() -> HistoryBuilder {
        let mut builder = HistoryBuilder::new(2);
        builder.invalidate_with_ack(0, Form::Tag, 0, (5_000, 5_010), 2, Ack::NotPropagated);
        builder
    }

    #[test]
    fn only_other_processes_may_return_undelivered() {
        let mut builder = undelivered();
        builder.read(1, 0, Answer::L2, (5_100, 5_101), (1, 1_000));
        builder.read(0, 0, Answer::L2, (5_100, 5_101), (2, 5_050));
        builder.read(0, 1, Answer::L2, (5_100, 5_101), (3, 1_000));
        assert_eq!(broken(&builder), 0);
        builder.read(0, 0, Answer::L2, (5_100, 5_101), (1, 1_000));
        assert_eq!(broken(&builder), 1);
    }

    #[test]
    fn final_read_of_superseded_value_is_violation() {
        let mut builder = undelivered();
        builder.final_read(1, 0, (20_000, 20_001), (2, 5_050));
        assert_eq!(broken(&builder), 0);
        builder.final_read(1, 2, (20_000, 20_001), (1, 1_000));
        assert_eq!(broken(&builder), 1);
    }

    #[test]
    fn killed_process_need_not_resend() {
        let mut builder = undelivered();
        builder.final_read(1, 0, (20_000, 20_001), (1, 1_000));
        assert_eq!(broken(&builder), 1);
        builder.kill(0, 5_100);
        assert_eq!(broken(&builder), 0);
    }
}
