//! P3: while Redis is healthy, a key is loaded once per generation, over all processes.
//!
//! Two successful loads of a key, one after the other with no other in between, are legal only if something came
//! that can make a second one necessary: an invalidation that reaches the key (acknowledged or not: it may have
//! removed the value or the lease), a refresh, or a load that failed. It must overlap the time from the moment in which the first of their leases was taken until the
//! second load began: what ended before that found neither a lease of theirs nor the value. (The second load may have
//! had its lease first, and have lost it before the other one took his.) A lease was taken after the call that loaded
//! had started. If that call is not known, because its caller went away, it was taken a round trip before the load
//! began, which is up to [`SLOW`] while there is no outage. An invalidation that could not be told is repeated later,
//! so it counts for longer.
//!
//! Only pairs are judged that lie wholly in a time in which nobody was in an outage, or had not recovered from one:
//! then no fill was lost and nobody loaded without a lease. Nor did a lease run out, unless the machine was a little late again
//! and again: a lease is taken some time after the call and renewed for the first time when the load has gone on for a third of
//! it. So a first load that began too long after its call is not judged. The ttl is longer than a run.

use super::{Findings, Prepared, Promise};
use crate::{
    clock::ms,
    history::{Ack, Event, LoadEnd, What},
    settings::SLOW,
    universe::{Flavor, flavor, reaches},
};

/// An invalidation that was not acknowledged may be repeated for so long.
const REPEATED: u64 = ms(5_000);
/// Those who wait for a load that fails are told for so long, and load by themselves.
const FAILED: u64 = ms(1_500);

/// What may make a load necessary, of one key.
#[derive(Clone, Debug, Default)]
struct Causes {
    spans: Vec<(u64, u64)>,
    /// Of each prefix of `spans`, the latest end.
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

    fn meets(&self, from: u64, to: u64) -> bool {
        let begun = self.spans.partition_point(|span| span.0 <= to);
        begun.checked_sub(1).is_some_and(|last| self.ends[last] >= from)
    }
}

pub(super) fn check(prepared: &Prepared<'_>, findings: &mut Findings) {
    let keys = prepared.history.keys as usize;
    let (mut causes, mut loads) = (vec![Vec::new(); keys], vec![Vec::new(); keys]);
    for (index, event) in prepared.history.events.iter().enumerate() {
        let key = event.key as usize;
        match event.what {
            What::Invalidate(form, _, ack) => {
                let end = if ack == Ack::Done { event.end } else { event.end + REPEATED };
                let reached = (0..prepared.history.keys).filter(|&key| reaches(form, event.key, key));
                reached.for_each(|key| causes[key as usize].push((event.start, end)));
            }
            What::Refresh(_) => causes[key].push((event.start, event.end)),
            What::Load(LoadEnd::Done) if is_shared(event.key) => loads[key].push(index),
            What::Load(_) => causes[key].push((event.start, event.end + FAILED)),
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

/// Whether all processes share its loads. Two versions load beside each other.
fn is_shared(key: u32) -> bool {
    !matches!(flavor(key), Flavor::Own | Flavor::Stored | Flavor::Twofold)
}

fn judge(prepared: &Prepared<'_>, causes: &Causes, first: usize, second: usize, findings: &mut Findings) {
    let (a, b) = (&prepared.history.events[first], &prepared.history.events[second]);
    let lease_of = |load: &Event| prepared.call_of(load.load).unwrap_or(load.began.saturating_sub(SLOW));
    let leased = lease_of(a).min(lease_of(b));
    if prepared.outages.calm_everywhere_since(b.end) >= leased {
        return;
    }
    let lease = ms(prepared.history.settings.lease);
    if a.began.saturating_sub(lease_of(a)) + lease / 3 + SLOW >= lease {
        return;
    }
    findings.count(Promise::OneLoad, 1);
    if !causes.meets(leased, b.began) {
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
        check::{Findings, Prepared, synthetic::Story},
        faults::{FaultKind, Target},
        history::{Ack, Answer},
        universe::Form,
    };

    fn broken(story: &Story) -> u64 {
        let mut findings = Findings::default();
        super::check(&Prepared::new(&story.history()), &mut findings);
        findings.total()
    }

    fn twice() -> Story {
        let mut story = Story::new(2);
        story.load(0, 0, 1, (5_000, 5_010));
        story.load(1, 0, 2, (5_500, 5_510));
        story
    }

    #[test]
    fn two_loads_without_a_cause_are_one_too_many_wherever_they_are() {
        assert_eq!(broken(&twice()), 1);
        let mut story = twice();
        story.load(0, 0, 3, (5_600, 5_610));
        assert_eq!(broken(&story), 2);
        // What came before the first lease, or for another key, is no cause.
        story.invalidate(0, Form::Key, 0, (4_000, 4_800), 2);
        story.invalidate(0, Form::Key, 1, (5_100, 5_200), 2);
        assert_eq!(broken(&story), 2);
    }

    #[test]
    fn each_cause_allows_a_load() {
        let causes: [fn(&mut Story); 6] = [
            |story| story.invalidate(1, Form::Key, 0, (5_100, 5_101), 2),
            |story| story.invalidate(1, Form::Clear, 5, (4_980, 5_001), 2),
            |story| story.acked(1, Form::Key, 0, (4_000, 4_500), 2, Ack::NotPropagated),
            |story| story.refresh(1, 0, (5_490, 5_520), 2),
            |story| story.failed_load(1, 0, 9, (5_400, 5_410)),
            |story| story.fault(FaultKind::Reset, Target::Slot(1), 5_300, 5_310),
        ];
        for cause in causes {
            let mut story = twice();
            cause(&mut story);
            assert_eq!(broken(&story), 0);
        }
    }

    #[test]
    fn what_ended_before_the_call_that_loaded_is_no_cause() {
        let mut story = twice();
        story.invalidate(0, Form::Key, 0, (4_980, 4_990), 2);
        assert_eq!(broken(&story), 0);
        story.read(0, 0, Answer::Miss, (4_985, 5_011), (1, 5_000));
        assert_eq!(broken(&story), 0);
        let mut story = twice();
        story.invalidate(0, Form::Key, 0, (4_980, 4_990), 2);
        story.read(0, 0, Answer::Miss, (4_995, 5_011), (1, 5_000));
        assert_eq!(broken(&story), 1);
    }

    #[test]
    fn a_lease_may_have_run_out_before_its_load_could_renew_it() {
        for (called, is_one_too_many) in [(4_930, true), (4_910, false)] {
            let mut story = twice();
            story.read(0, 0, Answer::Miss, (called, 5_011), (1, 5_000));
            assert_eq!(broken(&story), u64::from(is_one_too_many));
        }
    }

    #[test]
    fn some_functions_load_in_each_process() {
        let mut story = Story::new(2);
        story.load(0, 5, 1, (5_000, 5_010));
        story.load(1, 5, 2, (5_500, 5_510));
        assert_eq!(broken(&story), 0);
    }

    #[test]
    fn other_keys_have_their_own_loads() {
        let mut story = Story::new(2);
        story.load(0, 0, 1, (5_000, 5_010));
        story.load(1, 1, 2, (5_500, 5_510));
        assert_eq!(broken(&story), 0);
    }
}
