//! Wire format of events, from a worker to the orchestrator.
//!
//! All records have the same length. A worker that is killed while it writes a record loses only that one.

use super::event::{Ack, Answer, Event, EventKind, LoadEnd, Milestone, Strength};
use crate::universe::Form;

/// Length of a record, in bytes.
pub(crate) const LENGTH: usize = 48;

/// Encodes an event without its process, which the receiver knows.
pub(crate) fn encode(event: &Event) -> [u8; LENGTH] {
    let (tag, detail, ack) = codes(event.kind);
    let mut record = [0; LENGTH];
    record[..4].copy_from_slice(&[tag, detail, ack, 0]);
    record[4..8].copy_from_slice(&event.key.to_le_bytes());
    let numbers = [event.start, event.end, event.version, event.began, event.load];
    for (field, number) in record[8..].chunks_exact_mut(8).zip(numbers) {
        field.copy_from_slice(&number.to_le_bytes());
    }
    record
}

/// Decodes an event of `process`; returns `None` if the bytes are not a record.
pub(crate) fn decode(process: u16, record: &[u8; LENGTH]) -> Option<Event> {
    let mut numbers = [0; 5];
    for (number, field) in numbers.iter_mut().zip(record[8..].chunks_exact(8)) {
        *number = u64::from_le_bytes(field.try_into().ok()?);
    }
    let [start, end, version, began, load] = numbers;
    let key = u32::from_le_bytes(record[4..8].try_into().ok()?);
    Some(Event {
        process,
        kind: event_kind(record[0], record[1], record[2])?,
        key,
        start,
        end,
        version,
        began,
        load,
    })
}

fn codes(kind: EventKind) -> (u8, u8, u8) {
    match kind {
        EventKind::Read(answer) => (0, answer as u8, 0),
        EventKind::FinalRead(answer) => (1, answer as u8, 0),
        EventKind::Refresh(answer) => (2, answer as u8, 0),
        EventKind::Invalidate(form, Strength::Plain, ack) => (3, form as u8, ack as u8),
        EventKind::Invalidate(form, Strength::Confirmed, ack) => (4, form as u8, ack as u8),
        EventKind::Set(ack) => (5, 0, ack as u8),
        EventKind::Load(end) => (6, end as u8, 0),
        EventKind::Stall => (7, 0, 0),
        EventKind::Milestone(milestone) => (8, milestone as u8, 0),
    }
}

fn event_kind(tag: u8, detail: u8, ack: u8) -> Option<EventKind> {
    let detail = usize::from(detail);
    let answer = || Answer::ALL.get(detail).copied();
    let form = || Form::ALL.get(detail).copied();
    let ack = Ack::ALL.get(usize::from(ack)).copied()?;
    Some(match tag {
        0 => EventKind::Read(answer()?),
        1 => EventKind::FinalRead(answer()?),
        2 => EventKind::Refresh(answer()?),
        3 => EventKind::Invalidate(form()?, Strength::Plain, ack),
        4 => EventKind::Invalidate(form()?, Strength::Confirmed, ack),
        5 => EventKind::Set(ack),
        6 => EventKind::Load(LoadEnd::ALL.get(detail).copied()?),
        7 => EventKind::Stall,
        8 => EventKind::Milestone(Milestone::ALL.get(detail).copied()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_survives_encoding() {
        let mut kinds = vec![EventKind::Stall];
        kinds.extend(Answer::ALL.into_iter().flat_map(|answer| {
            [EventKind::Read(answer), EventKind::FinalRead(answer), EventKind::Refresh(answer)]
        }));
        for ack in Ack::ALL {
            kinds.push(EventKind::Set(ack));
            for form in Form::ALL {
                kinds.push(EventKind::Invalidate(form, Strength::Plain, ack));
                kinds.push(EventKind::Invalidate(form, Strength::Confirmed, ack));
            }
        }
        kinds.extend(LoadEnd::ALL.map(EventKind::Load));
        kinds.extend(Milestone::ALL.map(EventKind::Milestone));
        for kind in kinds {
            let event =
                Event { process: 3, kind, key: 9, start: 1, end: u64::MAX, version: 4, began: 5, load: 6 };
            assert_eq!(decode(3, &encode(&event)), Some(event));
        }
    }

    #[test]
    fn invalid_record_is_rejected() {
        for bytes in [[255; LENGTH], {
            let mut bytes = [0; LENGTH];
            bytes[1] = 99;
            bytes
        }] {
            assert_eq!(decode(0, &bytes), None);
        }
    }
}
