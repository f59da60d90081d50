//! Fuzz target for the strings under keys.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use cached_core::tier::{Note, Record, Revision, Stored};

use crate::protocol::record::{MAGIC, TRAILER, Trailer, append_trailer, compare, parse, parse_with_pttl};

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
    let now = timestamp(input)?;
    let pttl = if input.arbitrary()? { input.int_in_range(-3..=3)? } else { input.arbitrary()? };
    let known_revision = input.arbitrary::<Revision>()?;
    let has_trailer = input.arbitrary::<bool>()?;
    let fields = Fields {
        lease_end: timestamp(input)?,
        revision: if input.arbitrary()? { known_revision } else { input.arbitrary()? },
        end: timestamp(input)?,
        state: input.int_in_range(0..=6)?,
    };
    let mut bytes = input.bytes(input.len())?.to_vec();
    let content = bytes.clone();
    if has_trailer {
        fields.append(&mut bytes);
    }
    check_parsers(&bytes, now, pttl, known_revision);

    let mut sealed = content.clone();
    append_trailer(&mut sealed, fields.revision);
    assert!(sealed.starts_with(&content) && sealed.len() == content.len() + TRAILER);
    assert_eq!(Trailer::of(&sealed).map(|trailer| trailer.revision), Some(fields.revision));
    if fields.revision != 0 {
        let value = Stored { bytes: content, remaining: remaining(pttl), revision: fields.revision };
        assert_eq!(parse(sealed.clone(), now).ok(), None, "it does not say when it ends");
        assert_eq!(parse_with_pttl(pttl, Some(sealed)), Record::Value(value));
    }
    Ok(())
}

/// The significant fields of a trailer.
struct Fields {
    lease_end: u64,
    revision: Revision,
    end: u64,
    state: u8,
}

impl Fields {
    /// Parses the fields by the table, independently of the code under test.
    fn read(bytes: &[u8]) -> Option<(&[u8], Self)> {
        let (content, trailer) = bytes.split_at(bytes.len().checked_sub(48)?);
        let bytes_at = |from: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&trailer[from..from + 8]);
            field
        };
        let state = trailer[40];
        let has_trailer = trailer[41..] == *b"\xffaside\x02" && state <= 4;
        let (lease_end, end) = (u64::from_be_bytes(bytes_at(16)), u64::from_be_bytes(bytes_at(32)));
        has_trailer
            .then(|| (content, Self { lease_end, revision: u64::from_le_bytes(bytes_at(24)), end, state }))
    }

    fn append(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&[7; 16]);
        bytes.extend_from_slice(&self.lease_end.to_be_bytes());
        bytes.extend_from_slice(&self.revision.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_be_bytes());
        bytes.push(self.state);
        bytes.extend_from_slice(MAGIC);
    }
}

fn check_parsers(bytes: &[u8], now: u64, pttl: i64, known_revision: Revision) {
    let (parsed, parsed_with_pttl) =
        (parse(bytes.to_vec(), now).ok(), parse_with_pttl(pttl, Some(bytes.to_vec())));
    let compared = compare(bytes, known_revision);
    assert_eq!(parse_with_pttl(pttl, None), Record::Absent);
    let value = |bytes: &[u8], remaining, revision| {
        Record::Value(Stored { bytes: bytes.to_vec(), remaining, revision })
    };
    let Some((content, fields)) = Fields::read(bytes) else {
        assert!(Trailer::of(bytes).is_none() && parsed.is_none());
        assert_eq!(parsed_with_pttl, value(bytes, remaining(pttl), 0));
        assert_eq!(compared, Record::Changed);
        return;
    };
    let is_known = known_revision != 0 && known_revision == fields.revision;
    assert_eq!(compared, if is_known { Record::Unchanged } else { Record::Changed });
    let without_value = |left| match fields.state {
        0 => Record::Absent,
        1 | 3 => Record::Leased { left, is_retry: fields.state == 3 },
        2 => Record::Failed,
        _ => Record::Error(Note(content.to_vec())),
    };
    let has_value = fields.state != 4 && !(content.is_empty() && fields.revision == 0);
    assert_eq!(Trailer::of(bytes).map(|trailer| trailer.has_value(bytes.len())), Some(has_value));
    let lease_remaining = Duration::from_millis(fields.lease_end.saturating_sub(now));
    let left = Duration::from_millis(fields.end.saturating_sub(now));
    let expected = match fields.end {
        0 if has_value => None,
        end if has_value && end > now => Some(value(content, Some(left), fields.revision)),
        _ => Some(without_value(lease_remaining)),
    };
    assert_eq!(parsed, expected);
    let expected = if has_value {
        value(content, remaining(pttl), fields.revision)
    } else {
        without_value(remaining(pttl).unwrap_or_default())
    };
    assert_eq!(parsed_with_pttl, expected);
}

fn remaining(pttl: i64) -> Option<Duration> {
    (pttl != -1).then(|| Duration::from_millis(pttl.max(0).unsigned_abs()))
}

/// Generates a time, usually one close to others.
fn timestamp(input: &mut Unstructured<'_>) -> Result<u64> {
    if input.arbitrary()? { input.int_in_range(0..=3) } else { input.arbitrary() }
}
