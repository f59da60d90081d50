//! Wire format of events, from a worker to the orchestrator.
//!
//! All records have the same length. A worker that is killed while it writes a record loses only that one.

use super::event::{Ack, Answer, Event, LoadEnd, Mark, Strength, What};
use crate::universe::Form;

/// Length of a record, in bytes.
pub(crate) const LENGTH: usize = 48;

/// Encodes an event without its process, which the receiver knows.
pub(crate) fn encode(event: &Event) -> [u8; LENGTH] {
    let (tag, detail, ack) = tags(event.what);
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
        what: what(record[0], record[1], record[2])?,
        key,
        start,
        end,
        version,
        began,
        load,
    })
}

fn tags(what: What) -> (u8, u8, u8) {
    match what {
        What::Read(answer) => (0, answer as u8, 0),
        What::FinalRead(answer) => (1, answer as u8, 0),
        What::Refresh(answer) => (2, answer as u8, 0),
        What::Invalidate(form, Strength::Plain, ack) => (3, form as u8, ack as u8),
        What::Invalidate(form, Strength::Confirmed, ack) => (4, form as u8, ack as u8),
        What::Set(ack) => (5, 0, ack as u8),
        What::Load(end) => (6, end as u8, 0),
        What::Stall => (7, 0, 0),
        What::Mark(mark) => (8, mark as u8, 0),
    }
}

fn what(tag: u8, detail: u8, ack: u8) -> Option<What> {
    let detail = usize::from(detail);
    let answer = || Answer::ALL.get(detail).copied();
    let form = || Form::ALL.get(detail).copied();
    let ack = Ack::ALL.get(usize::from(ack)).copied()?;
    Some(match tag {
        0 => What::Read(answer()?),
        1 => What::FinalRead(answer()?),
        2 => What::Refresh(answer()?),
        3 => What::Invalidate(form()?, Strength::Plain, ack),
        4 => What::Invalidate(form()?, Strength::Confirmed, ack),
        5 => What::Set(ack),
        6 => What::Load(LoadEnd::ALL.get(detail).copied()?),
        7 => What::Stall,
        8 => What::Mark(Mark::ALL.get(detail).copied()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back() {
        let mut whats = vec![What::Stall];
        whats.extend(
            Answer::ALL
                .into_iter()
                .flat_map(|answer| [What::Read(answer), What::FinalRead(answer), What::Refresh(answer)]),
        );
        for ack in Ack::ALL {
            whats.push(What::Set(ack));
            for form in Form::ALL {
                whats.push(What::Invalidate(form, Strength::Plain, ack));
                whats.push(What::Invalidate(form, Strength::Confirmed, ack));
            }
        }
        whats.extend(LoadEnd::ALL.map(What::Load));
        whats.extend(Mark::ALL.map(What::Mark));
        for what in whats {
            let event =
                Event { process: 3, what, key: 9, start: 1, end: u64::MAX, version: 4, began: 5, load: 6 };
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
