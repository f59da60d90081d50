//! P3: while Redis is healthy, a key is loaded once per epoch, over all processes.
//!
//! Two successful loads of a key, with no other one in between, need a cause for the second one. Causes are
//! an invalidation that reaches the key, a refresh, and a load that failed. An invalidation counts even if it
//! was not acknowledged, because it may have removed the value or the lease.
//!
//! The cause must overlap the time from the first of their two leases to the start of the second load. A
//! cause that ended earlier found neither a lease of the two loads nor the value. (The second load may have
//! taken its lease first, and lost it before the first load took its own.) A lease was taken after the start
//! of the call that loaded. If that call is not known, because its caller went away, the lease was taken a
//! round trip before the load began, which is up to [`SLOW`] while there is no outage. An undelivered
//! invalidation is repeated later, so it counts for longer.
//!
//! A pair is judged only if, all the time, no process was in an outage or recovering from one. Then no fill
//! was lost, and no process loaded without a lease. No lease expired either, unless the machine was a little
//! late several times: a lease is taken some time after the call, and first renewed when the load has run for
//! a third of the lease. So a pair is not judged if the first load began too long after its call. The ttl is
//! longer than a run.

use super::{Findings, Prepared, Promise};
use crate::{
    clock::ms,
    history::{Ack, Event, EventKind, LoadEnd},
    settings::SLOW,
    universe::{Flavor, flavor, reaches},
};

/// Longest time for which an invalidation that was not acknowledged may be repeated.
const REPEATED: u64 = ms(5_000);
/// Longest time for which waiting callers may learn of a failed load, and then load by themselves.
const FAILED: u64 = ms(1_500);

/// Times of the events that may make a load of one key necessary.
#[derive(Clone, Debug, Default)]
struct Causes {
    spans: Vec<(u64, u64)>,
    /// Latest end in each prefix of `spans`.
    ends: Vec<u64>,
}

impl Causes {
    fn new(mut spans: Vec<(u64, u64)>) -> Self {
        spans.sort_unstable();
        let ends = spans.iter().scan(0, |last, span| {
            *last = span.1.max(*last);
            Some(*last)
        });
        Self { ends: ends.collect(), spans }
    }

    fn overlaps(&self, from: u64, to: u64) -> bool {
        let begun = self.spans.partition_point(|span| span.0 <= to);
        begun.checked_sub(1).is_some_and(|last| self.ends[last] >= from)
    }
}

pub(super) fn check(prepared: &Prepared<'_>, findings: &mut Findings) {
    let keys = prepared.history.keys as usize;
    let (mut causes, mut loads) = (vec![Vec::new(); keys], vec![Vec::new(); keys]);
    for (index, event) in prepared.history.events.iter().enumerate() {
        let key = event.key as usize;
        match event.kind {
            EventKind::Invalidate(form, _, ack) => {
                let end = if ack == Ack::Done { event.end } else { event.end + REPEATED };
                let reached = (0..prepared.history.keys).filter(|&key| reaches(form, event.key, key));
                reached.for_each(|key| causes[key as usize].push((event.start, end)));
            }
            EventKind::Refresh(_) => causes[key].push((event.start, event.end)),
            EventKind::Load(LoadEnd::Done) if is_shared(event.key) => loads[key].push(index),
            EventKind::Load(_) => causes[key].push((event.start, event.end + FAILED)),
            _ => {}
        }
    }
    for (spans, mut loads) in causes.into_iter().zip(loads) {
        let causes = Causes::new(spans);
        loads.sort_unstable_by_key(|&index| prepared.history.events[index].began);
        for pair in loads.windows(2) {
            judge(prepared, &causes, pair[0], pair[1], findings);
        }
    }
}

/// Returns whether all processes share the loads of a key. Two versions load beside each other.
fn is_shared(key: u32) -> bool {
    !matches!(flavor(key), Flavor::Own | Flavor::Stored | Flavor::Twofold)
}

fn judge(prepared: &Prepared<'_>, causes: &Causes, first: usize, second: usize, findings: &mut Findings) {
    let (a, b) = (&prepared.history.events[first], &prepared.history.events[second]);
    let lease_of = |load: &Event| prepared.call_start(load.load).unwrap_or(load.began.saturating_sub(SLOW));
    let leased = lease_of(a).min(lease_of(b));
    if prepared.outages.calm_everywhere_since(b.end) >= leased {
        return;
    }
    let lease = ms(prepared.history.settings.lease);
    if a.began.saturating_sub(lease_of(a)) + lease / 3 + SLOW >= lease {
        return;
    }
    findings.count(Promise::OneLoad, 1);
    if !causes.overlaps(leased, b.began) {
        findings.report(Promise::OneLoad, &[second, first], || {
            format!(
                "key {} was loaded again after {} ms, and nothing asked for it",
                b.key,
                (b.began - a.began) / ms(1)
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        check::{Findings, Prepared, synthetic::HistoryBuilder},
        faults::{FaultKind, Target},
        history::{Ack, Answer},
        universe::Form,
    };

    fn broken(builder: &HistoryBuilder) -> u64 {
        let mut findings = Findings::default();
        super::check(&Prepared::new(&builder.history()), &mut findings);
        findings.total()
    }

    fn twice() -> HistoryBuilder {
        let mut builder = HistoryBuilder::new(2);
        builder.load(0, 0, 1, (5_000, 5_010));
        builder.load(1, 0, 2, (5_500, 5_510));
        builder
    }

    #[test]
    fn second_load_without_cause_is_violation() {
        assert_eq!(broken(&twice()), 1);
        let mut builder = twice();
        builder.load(0, 0, 3, (5_600, 5_610));
        assert_eq!(broken(&builder), 2);
        // An invalidation before the first lease, or of another key, is no cause.
        builder.invalidate(0, Form::Key, 0, (4_000, 4_800), 2);
        builder.invalidate(0, Form::Key, 1, (5_100, 5_200), 2);
        assert_eq!(broken(&builder), 2);
    }

    #[test]
    fn each_cause_allows_a_load() {
        let causes: [fn(&mut HistoryBuilder); 6] = [
            |builder| builder.invalidate(1, Form::Key, 0, (5_100, 5_101), 2),
            |builder| builder.invalidate(1, Form::Clear, 5, (4_980, 5_001), 2),
            |builder| builder.invalidate_with_ack(1, Form::Key, 0, (4_000, 4_500), 2, Ack::NotPropagated),
            |builder| builder.refresh(1, 0, (5_490, 5_520), 2),
            |builder| builder.failed_load(1, 0, 9, (5_400, 5_410)),
            |builder| builder.fault(FaultKind::Reset, Target::Slot(1), 5_300, 5_310),
        ];
        for cause in causes {
            let mut builder = twice();
            cause(&mut builder);
            assert_eq!(broken(&builder), 0);
        }
    }

    #[test]
    fn event_before_loading_call_is_no_cause() {
        let mut builder = twice();
        builder.invalidate(0, Form::Key, 0, (4_980, 4_990), 2);
        assert_eq!(broken(&builder), 0);
        builder.read(0, 0, Answer::Miss, (4_985, 5_011), (1, 5_000));
        assert_eq!(broken(&builder), 0);
        let mut builder = twice();
        builder.invalidate(0, Form::Key, 0, (4_980, 4_990), 2);
        builder.read(0, 0, Answer::Miss, (4_995, 5_011), (1, 5_000));
        assert_eq!(broken(&builder), 1);
    }

    #[test]
    fn late_first_load_is_not_judged() {
        for (called, is_one_too_many) in [(4_930, true), (4_910, false)] {
            let mut builder = twice();
            builder.read(0, 0, Answer::Miss, (called, 5_011), (1, 5_000));
            assert_eq!(broken(&builder), u64::from(is_one_too_many));
        }
    }

    #[test]
    fn some_functions_load_in_each_process() {
        let mut builder = HistoryBuilder::new(2);
        builder.load(0, 5, 1, (5_000, 5_010));
        builder.load(1, 5, 2, (5_500, 5_510));
        assert_eq!(broken(&builder), 0);
    }

    #[test]
    fn other_keys_have_their_own_loads() {
        let mut builder = HistoryBuilder::new(2);
        builder.load(0, 0, 1, (5_000, 5_010));
        builder.load(1, 1, 2, (5_500, 5_510));
        assert_eq!(broken(&builder), 0);
    }
}
