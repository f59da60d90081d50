//! Answers: callers get correct values, no errors but those of loads, and only the documented errors of
//! changes.
//!
//! The failure or panic of a load is a valid answer only for callers that waited for it, in its own process.
//! A caller that comes just after the end of the load may still find the result on its way to the followers.
//! That moment is shorter than [`SLOW`].

use std::collections::HashMap;

use super::{Findings, Prepared, Promise};
use crate::{
    history::{Ack, Answer, EventKind, LoadEnd, Strength},
    settings::SLOW,
};

pub(super) fn check(prepared: &Prepared<'_>, findings: &mut Findings) {
    let mut failures: HashMap<(u16, u32, LoadEnd), Vec<u64>> = HashMap::new();
    for event in &prepared.history.events {
        if let EventKind::Load(end @ (LoadEnd::Failed | LoadEnd::Panicked)) = event.kind {
            failures.entry((event.process, event.key, end)).or_default().push(event.end);
        }
    }
    for ends in failures.values_mut() {
        ends.sort_unstable();
    }

    for (index, event) in prepared.history.events.iter().enumerate() {
        let waited_for = |end| {
            let ends = failures.get(&(event.process, event.key, end)).map(Vec::as_slice).unwrap_or_default();
            ends.get(ends.partition_point(|&ended| ended + SLOW < event.start))
                .is_some_and(|&ended| ended <= event.end)
        };
        let description = match (event.kind, event.answer()) {
            (_, Some(Answer::Mixed)) => "the value was not one of this function and key, or was changed",
            (_, Some(Answer::Bypass)) => "the cache took no part",
            (_, Some(Answer::Failed)) if !waited_for(LoadEnd::Failed) => "an error that no load returned",
            (_, Some(Answer::Panicked)) if !waited_for(LoadEnd::Panicked) => "a panic that no load made",
            (EventKind::Invalidate(_, _, Ack::Error) | EventKind::Set(Ack::Error), _) => {
                "an error that is not allowed"
            }
            (EventKind::Invalidate(_, Strength::Plain, Ack::NotConfirmed), _) => {
                "no confirmation was asked for"
            }
            _ => {
                findings.count(Promise::Answers, 1);
                continue;
            }
        };
        findings.report(Promise::Answers, &[index], || description.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        check::{Findings, Prepared, synthetic::HistoryBuilder},
        history::{Ack, Answer, EventKind},
        universe::Form,
    };

    fn broken(builder: &HistoryBuilder) -> u64 {
        let mut findings = Findings::default();
        super::check(&Prepared::new(&builder.history()), &mut findings);
        findings.total()
    }

    #[test]
    fn failure_needs_failed_load() {
        let mut builder = HistoryBuilder::new(2);
        builder.failed_load(0, 0, 1, (1_000, 1_010));
        builder.push(0, EventKind::Read(Answer::Failed), 0, (1_005, 1_011), (0, 0, 0));
        assert_eq!(broken(&builder), 0);
        builder.push(0, EventKind::Read(Answer::Failed), 0, (1_060, 1_061), (0, 0, 0));
        assert_eq!(broken(&builder), 0);
        builder.push(0, EventKind::Read(Answer::Failed), 0, (1_061, 1_062), (0, 0, 0));
        builder.push(1, EventKind::Read(Answer::Failed), 0, (1_005, 1_011), (0, 0, 0));
        builder.push(0, EventKind::Read(Answer::Panicked), 0, (1_005, 1_011), (0, 0, 0));
        assert_eq!(broken(&builder), 3);
    }

    #[test]
    fn undocumented_errors_are_violations() {
        let mut builder = HistoryBuilder::new(1);
        builder.invalidate_with_ack(0, Form::Key, 0, (1, 2), 1, Ack::NotPropagated);
        assert_eq!(broken(&builder), 0);
        builder.invalidate_with_ack(0, Form::Key, 0, (1, 2), 1, Ack::Error);
        builder.invalidate_with_ack(0, Form::Key, 0, (1, 2), 1, Ack::NotConfirmed);
        builder.push(0, EventKind::Read(Answer::Mixed), 0, (1, 2), (1, 1, 1));
        builder.push(0, EventKind::Read(Answer::Bypass), 0, (1, 2), (1, 1, 1));
        assert_eq!(broken(&builder), 4);
    }
}
