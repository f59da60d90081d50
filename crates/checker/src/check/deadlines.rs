//! Trouble with Redis costs no caller more than a budget.
//!
//! Every operation ends within its load's time and [`BUDGET`], not counting the time in which its own worker stood
//! still or was starved. A call may wait for one load that is rejected and then load by itself, so two loads are
//! allowed for. A confirmed invalidation may wait until a process that is gone has lost its right: the bound and
//! the grace. If Redis loses everything meanwhile, nobody knows who is there, and that time begins again.

use super::{Findings, Prepared, Promise};
use crate::{
    clock::ms,
    faults::FaultKind,
    history::{Strength, What},
    worker::LONGEST_LOAD,
};

const BUDGET: u64 = ms(3_000);

pub(super) fn check(prepared: &Prepared<'_>, findings: &mut Findings) {
    if let Some(why) = &prepared.history.stuck {
        findings.report(Promise::Deadline, &[], || why.clone());
    }
    let settings = &prepared.history.settings;
    let losses = Losses::new(prepared);
    for (index, event) in prepared.history.events.iter().enumerate() {
        let allowed = match event.what {
            What::Read(_) | What::FinalRead(_) | What::Refresh(_) => BUDGET + 2 * ms(LONGEST_LOAD),
            What::Invalidate(_, Strength::Confirmed, _) => BUDGET + settings.outage_ns(),
            What::Invalidate(..) | What::Set(_) => BUDGET,
            What::Load(_) | What::Stall | What::Mark(_) => continue,
        };
        findings.count(Promise::Deadline, 1);
        let began = match event.what {
            What::Invalidate(_, Strength::Confirmed, _) => event.start.max(losses.last_until(event.end)),
            _ => event.start,
        };
        let took = event.end - began;
        if took > allowed && took > allowed + prepared.outages.starved(event.process, event.start, event.end)
        {
            findings.report(Promise::Deadline, &[index], || format!("it took {} ms", took / ms(1)));
        }
    }
}

/// When Redis was empty, by and by.
struct Losses(Vec<u64>);

impl Losses {
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

#[cfg(test)]
mod tests {
    use crate::{
        check::{Findings, Prepared, synthetic::Story},
        faults::{FaultKind, Target},
        history::Answer,
        universe::Form,
    };

    fn broken(story: &Story) -> u64 {
        let mut findings = Findings::default();
        super::check(&Prepared::new(&story.history()), &mut findings);
        findings.total()
    }

    #[test]
    fn who_waits_too_long_is_found_unless_it_stood_still() {
        let mut story = Story::new(1);
        story.read(0, 0, Answer::Miss, (1_000, 4_500), (1, 1_000));
        story.confirmed(0, 0, (1_000, 6_200), 2);
        assert_eq!(broken(&story), 0);
        story.invalidate(0, Form::Key, 0, (1_000, 4_500), 2);
        assert_eq!(broken(&story), 1);
        story.fault(FaultKind::Refuse, Target::Slot(0), 1_000, 4_500);
        assert_eq!(broken(&story), 1);
        story.fault(FaultKind::WorkerFreeze, Target::Slot(0), 1_000, 2_000);
        assert_eq!(broken(&story), 0);
        story.confirmed(0, 0, (10_000, 16_000), 2);
        assert_eq!(broken(&story), 1);
        story.fault(FaultKind::Flush, Target::Everyone, 12_000, 12_001);
        assert_eq!(broken(&story), 0);
        story.stick();
        assert_eq!(broken(&story), 1);
    }
}
