//! Deadlines: trouble with Redis delays no caller by more than a budget.
//!
//! Every operation ends within the time of its load plus [`BUDGET`]. Time in which its own worker was frozen
//! or starved does not count. A call may wait for one load that is rejected, and then load by itself, so two
//! loads are allowed for.
//!
//! A confirmed invalidation may wait longer, by at most the bound and the grace: for a process that is cut
//! off, until it is back, and for a process that was killed, until it has lost its right to serve. It does
//! not wait for a process that ended in order. If Redis loses all data meanwhile, the registered processes
//! are unknown, and that time begins again.

use super::{Findings, Prepared, Promise};
use crate::{
    clock::ms,
    faults::FaultKind,
    history::{EventKind, Strength},
    worker::LONGEST_LOAD,
};

const BUDGET: u64 = ms(3_000);

pub(super) fn check(prepared: &Prepared<'_>, findings: &mut Findings) {
    if let Some(message) = &prepared.history.stuck {
        findings.report(Promise::Deadline, &[], || message.clone());
    }
    let settings = &prepared.history.settings;
    let losses = DataLosses::new(prepared);
    let rights = ServingRights::new(prepared, &losses);
    for (index, event) in prepared.history.events.iter().enumerate() {
        let allowed = match event.kind {
            EventKind::Read(_) | EventKind::FinalRead(_) | EventKind::Refresh(_) => {
                BUDGET + 2 * ms(LONGEST_LOAD)
            }
            EventKind::Invalidate(_, Strength::Confirmed, _) => {
                let is_unknown = rights.overlaps(event.start, event.end);
                let outage_time = prepared.outages.outage_time(event.start, event.end);
                BUDGET + if is_unknown { settings.outage_ns() } else { outage_time.min(settings.outage_ns()) }
            }
            EventKind::Invalidate(..) | EventKind::Set(_) => BUDGET,
            EventKind::Load(_) | EventKind::Stall | EventKind::Milestone(_) => continue,
        };
        findings.count(Promise::Deadline, 1);
        let began = match event.kind {
            EventKind::Invalidate(_, Strength::Confirmed, _) => event.start.max(losses.last_until(event.end)),
            _ => event.start,
        };
        let took = event.end - began;
        if took > allowed
            && took > allowed + prepared.outages.starved_time(event.process, event.start, event.end)
        {
            findings.report(Promise::Deadline, &[index], || format!("it took {} ms", took / ms(1)));
        }
    }
}

/// Times at which Redis was empty, in order.
struct DataLosses(Vec<u64>);

impl DataLosses {
    fn new(prepared: &Prepared<'_>) -> Self {
        let faults = prepared.history.faults.iter();
        let emptied = faults.filter(|fault| matches!(fault.kind, FaultKind::Flush | FaultKind::RedisKill));
        let mut ends: Vec<_> = emptied.map(|fault| fault.to).collect();
        ends.sort_unstable();
        Self(ends)
    }

    fn last_until(&self, moment: u64) -> u64 {
        let after = self.0.partition_point(|end| *end <= moment);
        after.checked_sub(1).map_or(0, |last| self.0[last])
    }
}

/// Times since which processes that are gone or unknown have had a right to serve.
struct ServingRights {
    since: Vec<u64>,
    length: u64,
}

impl ServingRights {
    fn new(prepared: &Prepared<'_>, losses: &DataLosses) -> Self {
        let history = prepared.history;
        let killed = history.processes.iter().filter_map(|process| process.killed);
        let since = killed.chain(losses.0.iter().copied()).collect();
        Self { since, length: history.settings.outage_ns() + history.settings.recovery_ns() }
    }

    /// Returns whether such a right existed at any time from `from` to `to`.
    fn overlaps(&self, from: u64, to: u64) -> bool {
        self.since.iter().any(|since| *since <= to && from <= since + self.length)
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

    #[test]
    fn late_operation_is_reported_unless_frozen() {
        let mut builder = HistoryBuilder::new(1);
        builder.read(0, 0, Answer::Miss, (1_000, 4_500), (1, 1_000));
        builder.confirmed(0, 0, (1_000, 4_000), 2);
        assert_eq!(broken(&builder), 0);
        builder.invalidate(0, Form::Key, 0, (1_000, 4_500), 2);
        assert_eq!(broken(&builder), 1);
        builder.fault(FaultKind::Refuse, Target::Slot(0), 1_000, 4_500);
        assert_eq!(broken(&builder), 1);
        builder.fault(FaultKind::WorkerFreeze, Target::Slot(0), 1_000, 2_000);
        assert_eq!(broken(&builder), 0);
        builder.confirmed(0, 0, (10_000, 16_000), 2);
        assert_eq!(broken(&builder), 1);
        builder.fault(FaultKind::Flush, Target::Everyone, 12_000, 12_001);
        assert_eq!(broken(&builder), 0);
        builder.mark_stuck();
        assert_eq!(broken(&builder), 1);
    }

    #[test]
    fn confirmation_waits_only_for_possible_servers() {
        let confirmed = || {
            let mut builder = HistoryBuilder::new(2);
            builder.confirmed(0, 0, (10_000, 15_200), 2);
            builder
        };
        assert_eq!(broken(&confirmed()), 1);
        let causes: [fn(&mut HistoryBuilder); 3] = [
            |builder| builder.kill(1, 8_000),
            |builder| builder.fault(FaultKind::Flush, Target::Everyone, 8_000, 8_001),
            |builder| builder.fault(FaultKind::Swallow, Target::Slot(1), 9_000, 11_000),
        ];
        for cause in causes {
            let mut builder = confirmed();
            cause(&mut builder);
            assert_eq!(broken(&builder), 0);
        }
        let mut builder = confirmed();
        builder.fault(FaultKind::WorkerLeave, Target::Slot(1), 8_000, 8_010);
        assert_eq!(broken(&builder), 1);
    }
}
