//! Fuzz target for the strings under keys.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use cached_core::{Note, Record, Revision, Stored};

use crate::protocol::record::{MAGIC, TRAILER, Trailer, compare, open, open_with_life, seal};

/// Checks the record parser on arbitrary bytes.
///
/// Asserts that bytes are parsed as the table in `record.rs` defines, and that a sealed value is returned
/// unchanged.
///
/// # Panics
/// If this does not hold.
pub fn trailer(data: &[u8]) {
    let _ = check(&mut Unstructured::new(data));
}

fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let now = moment(input)?;
    let life = if input.arbitrary()? { input.int_in_range(-3..=3)? } else { input.arbitrary()? };
    let known = input.arbitrary::<Revision>()?;
    let is_ours = input.arbitrary::<bool>()?;
    let fields = Fields {
        lease_end: moment(input)?,
        stamp: if input.arbitrary()? { known } else { input.arbitrary()? },
        end: moment(input)?,
        state: input.int_in_range(0..=6)?,
    };
    let mut bytes = input.bytes(input.len())?.to_vec();
    let content = bytes.clone();
    if is_ours {
        fields.append(&mut bytes);
    }
    reads(&bytes, now, life, known);

    let mut sealed = content.clone();
    seal(&mut sealed, fields.stamp);
    assert!(sealed.starts_with(&content) && sealed.len() == content.len() + TRAILER);
    assert_eq!(Trailer::of(&sealed).map(|trailer| trailer.stamp), Some(fields.stamp));
    if fields.stamp != 0 {
        let value = Stored { bytes: content, remaining: remaining(life), stamp: fields.stamp };
        assert_eq!(open(sealed.clone(), now).ok(), None, "it does not say when it ends");
        assert_eq!(open_with_life(life, Some(sealed)), Record::Value(value));
    }
    Ok(())
}

/// The significant fields of a trailer.
struct Fields {
    lease_end: u64,
    stamp: Revision,
    end: u64,
    state: u8,
}

impl Fields {
    /// Parses the fields by the table, independently of the code under test.
    fn read(bytes: &[u8]) -> Option<(&[u8], Self)> {
        let (content, trailer) = bytes.split_at(bytes.len().checked_sub(48)?);
        let number = |from: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&trailer[from..from + 8]);
            field
        };
        let state = trailer[40];
        let is_ours = trailer[41..] == *b"\xffaside\x02" && state <= 4;
        let (lease_end, end) = (u64::from_be_bytes(number(16)), u64::from_be_bytes(number(32)));
        is_ours.then(|| (content, Self { lease_end, stamp: u64::from_le_bytes(number(24)), end, state }))
    }

    fn append(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&[7; 16]);
        bytes.extend_from_slice(&self.lease_end.to_be_bytes());
        bytes.extend_from_slice(&self.stamp.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_be_bytes());
        bytes.push(self.state);
        bytes.extend_from_slice(MAGIC);
    }
}

fn reads(bytes: &[u8], now: u64, life: i64, known: Revision) {
    let (opened, lived) = (open(bytes.to_vec(), now).ok(), open_with_life(life, Some(bytes.to_vec())));
    let compared = compare(bytes, known);
    assert_eq!(open_with_life(life, None), Record::Absent);
    let value =
        |bytes: &[u8], remaining, stamp| Record::Value(Stored { bytes: bytes.to_vec(), remaining, stamp });
    let Some((content, fields)) = Fields::read(bytes) else {
        assert!(Trailer::of(bytes).is_none() && opened.is_none());
        assert_eq!(lived, value(bytes, remaining(life), 0));
        assert_eq!(compared, Record::Changed);
        return;
    };
    let is_known = known != 0 && known == fields.stamp;
    assert_eq!(compared, if is_known { Record::Unchanged } else { Record::Changed });
    let without_value = |left| match fields.state {
        0 => Record::Absent,
        1 | 3 => Record::Leased { left, is_retry: fields.state == 3 },
        2 => Record::Failed,
        _ => Record::Error(Note(content.to_vec())),
    };
    let has_value = fields.state != 4 && !(content.is_empty() && fields.stamp == 0);
    assert_eq!(Trailer::of(bytes).map(|trailer| trailer.has_value(bytes.len())), Some(has_value));
    let of_lease = Duration::from_millis(fields.lease_end.saturating_sub(now));
    let left = Duration::from_millis(fields.end.saturating_sub(now));
    let expected = match fields.end {
        0 if has_value => None,
        end if has_value && end > now => Some(value(content, Some(left), fields.stamp)),
        _ => Some(without_value(of_lease)),
    };
    assert_eq!(opened, expected);
    let expected = if has_value {
        value(content, remaining(life), fields.stamp)
    } else {
        without_value(remaining(life).unwrap_or_default())
    };
    assert_eq!(lived, expected);
}

fn remaining(life: i64) -> Option<Duration> {
    (life != -1).then(|| Duration::from_millis(life.max(0).unsigned_abs()))
}

/// Generates a time, usually one close to others.
fn moment(input: &mut Unstructured<'_>) -> Result<u64> {
    if input.arbitrary()? { input.int_in_range(0..=3) } else { input.arbitrary() }
}
