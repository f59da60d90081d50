//! The layout of a value and a lease in one string of Redis.
//!
//! The string is the value's bytes and a trailer of [`TRAILER`] bytes. The trailer is at the end, so that
//! removing it copies nothing. A string without a trailer was written by another program, and all of it is
//! the value.
//!
//! | bytes | content |
//! |---|---|
//! | 0..16 | the token of the lease; zeros if there is none |
//! | 16..24 | the end of the lease, in milliseconds of the server's clock, big-endian; 0 if there is none |
//! | 24..32 | the revision of the value, little-endian; 0 if there is no value, or another program wrote it |
//! | 32..40 | the end of the value, as above; 0 if there is no value, or another program wrote it |
//! | 40 | 0: no lease, 1: leased, 2: a load had nothing to share, 3: leased after that, 4: a load failed |
//! | 41..48 | [`MAGIC`] |
//!
//! If the trailer shows that a load failed, the bytes before it are no value, but the note that the load left
//! about its error.

use std::{ops::Range, time::Duration};

use cached_core::tier::{Note, Record, Revision, Stored};

/// Length of a trailer, in bytes.
pub(crate) const TRAILER: usize = 48;

/// Mark at the end of a trailer.
///
/// The last byte is the version of the layout. The first byte occurs in no text, so no JSON ends in this
/// mark.
pub(crate) const MAGIC: &[u8; 7] = b"\xffaside\x02";

const LEASE_END: Range<usize> = 16..24;
const REVISION: Range<usize> = 24..32;
const VALUE_END: Range<usize> = 32..40;
const STATE: usize = 40;

/// The trailer at the end of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) state: RecordState,
    pub(crate) revision: Revision,
    lease_end: u64,
    value_end: u64,
}

/// State of the load of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordState {
    Idle,
    Leased,
    Unshared,
    LeasedAgain,
    Failed,
}

impl Trailer {
    /// Parses the trailer of a string, or its last [`TRAILER`] bytes.
    ///
    /// Returns `None` if another program wrote the string.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let trailer: &[u8; TRAILER] = bytes.last_chunk()?;
        if !trailer.ends_with(MAGIC) {
            return None;
        }
        let state = match trailer[STATE] {
            0 => RecordState::Idle,
            1 => RecordState::Leased,
            2 => RecordState::Unshared,
            3 => RecordState::LeasedAgain,
            4 => RecordState::Failed,
            _ => return None,
        };
        let revision = trailer[REVISION].try_into().map_or(0, Revision::from_le_bytes);
        let time = |range: Range<usize>| trailer[range].try_into().map_or(0, u64::from_be_bytes);
        Some(Self { state, revision, lease_end: time(LEASE_END), value_end: time(VALUE_END) })
    }

    fn without_value(self, bytes: Vec<u8>, lease_left: Duration) -> Record {
        match self.state {
            RecordState::Leased | RecordState::LeasedAgain => {
                Record::Leased { left: lease_left, is_retry: self.state == RecordState::LeasedAgain }
            }
            RecordState::Unshared => Record::Failed,
            RecordState::Failed => Record::Error(Note(without_trailer(bytes))),
            RecordState::Idle => Record::Absent,
        }
    }

    /// Returns whether the value has expired, so that only a lease over it keeps the string.
    pub(crate) fn is_expired(self, now: u64) -> bool {
        self.value_end != 0 && self.value_end <= now
    }

    /// Returns whether a string of `length` bytes with this trailer holds a value.
    ///
    /// An empty value is recognized by its revision.
    pub(crate) fn has_value(self, length: usize) -> bool {
        self.state != RecordState::Failed && (length > TRAILER || self.revision != 0)
    }
}

/// Appends the trailer of a value without a lease and without an end.
pub(crate) fn append_trailer(bytes: &mut Vec<u8>, revision: Revision) {
    bytes.reserve_exact(TRAILER);
    bytes.extend_from_slice(&[0; REVISION.start]);
    bytes.extend_from_slice(&revision.to_le_bytes());
    bytes.extend_from_slice(&[0; VALUE_END.end - VALUE_END.start + 1]);
    bytes.extend_from_slice(MAGIC);
}

/// Parses a string at the time `now` of the server's clock.
///
/// Returns the string as the error if it holds a value without a recorded end.
pub(crate) fn parse(bytes: Vec<u8>, now: u64) -> Result<Record, Vec<u8>> {
    let Some(trailer) = Trailer::of(&bytes) else { return Err(bytes) };
    if !trailer.has_value(bytes.len()) || trailer.is_expired(now) {
        return Ok(trailer.without_value(bytes, time_until(trailer.lease_end, now)));
    }
    if trailer.value_end == 0 {
        Err(bytes)
    } else {
        Ok(value(bytes, trailer.revision, Some(time_until(trailer.value_end, now))))
    }
}

/// Parses a string by the server's clock, if that is known.
///
/// Otherwise, and for a value without a recorded end, `pttl` is used: the reply to a `PTTL` before the read.
pub(crate) fn parse_with_clock(now: Option<u64>, pttl: i64, bytes: Vec<u8>) -> Record {
    let undated = match now {
        Some(now) => parse(bytes, now),
        None => Err(bytes),
    };
    undated.unwrap_or_else(|bytes| parse_with_pttl(pttl, Some(bytes)))
}

/// Parses a string by the reply to a `PTTL` that was sent before the read.
pub(crate) fn parse_with_pttl(pttl: i64, bytes: Option<Vec<u8>>) -> Record {
    let Some(bytes) = bytes else { return Record::Absent };
    match Trailer::of(&bytes) {
        None => Record::Value(Stored { bytes, remaining: remaining(pttl), revision: 0 }),
        Some(trailer) if trailer.has_value(bytes.len()) => value(bytes, trailer.revision, remaining(pttl)),
        // A lease without an expiry is not from this crate. A request for the lease returns how long it
        // lasts.
        Some(trailer) => trailer.without_value(bytes, remaining(pttl).unwrap_or_default()),
    }
}

fn value(bytes: Vec<u8>, revision: Revision, remaining: Option<Duration>) -> Record {
    Record::Value(Stored { bytes: without_trailer(bytes), remaining, revision })
}

fn without_trailer(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(TRAILER));
    bytes
}

/// Compares the trailer in the reply to `GETRANGE` with the known revision.
pub(crate) fn compare(trailer: &[u8], known_revision: Revision) -> Record {
    match Trailer::of(trailer) {
        Some(trailer) if trailer.revision == known_revision && known_revision != 0 => Record::Unchanged,
        _ => Record::Changed,
    }
}

/// Returns the time until a point in time, by the server's clock.
fn time_until(until: u64, now: u64) -> Duration {
    Duration::from_millis(until.saturating_sub(now))
}

/// Returns the time left, from the reply to a `PTTL` before the read.
pub(crate) fn remaining(pttl: i64) -> Option<Duration> {
    match pttl {
        // The key does not expire.
        -1 => None,
        // There was no key (-2), and the value was stored after that: its lifetime is unknown, and counts as
        // over.
        left => Some(Duration::from_millis(u64::try_from(left).unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME_REVISION: Revision = 0x0807_0605_0403_0201;

    /// Returns the trailer of a value and of a lease that end when the clock shows 1005.
    fn trailer(revision: Revision, state: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        append_trailer(&mut bytes, revision);
        bytes[STATE] = state;
        for (range, is_there) in [(LEASE_END, state % 2 == 1), (VALUE_END, revision != 0)] {
            bytes[range].copy_from_slice(&if is_there { 1005_u64 } else { 0 }.to_be_bytes());
        }
        bytes
    }

    fn value(bytes: &[u8], revision: Revision, left: u64) -> Record {
        Record::Value(Stored {
            bytes: bytes.to_vec(),
            remaining: Some(Duration::from_millis(left)),
            revision,
        })
    }

    fn leased(left: u64, is_retry: bool) -> Record {
        Record::Leased { left: Duration::from_millis(left), is_retry }
    }

    #[test]
    fn sealed_value_keeps_its_byte_layout() {
        let mut bytes = b"value".to_vec();
        append_trailer(&mut bytes, SOME_REVISION);
        let mut golden = b"value".to_vec();
        golden.extend_from_slice(&[0; 24]);
        golden.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        golden.extend_from_slice(&[0; 8]);
        golden.extend_from_slice(&[0, 0xff, b'a', b's', b'i', b'd', b'e', 2]);
        assert_eq!(bytes, golden);
    }

    #[test]
    fn value_is_read_unchanged_in_every_lease_state() {
        for content in [&b"value"[..], b"", MAGIC, &trailer(7, 1)] {
            for state in 0..=3 {
                let bytes = [content, &trailer(SOME_REVISION, state)].concat();
                assert_eq!(
                    parse(bytes.clone(), 1000).ok(),
                    Some(value(content, SOME_REVISION, 5)),
                    "{state}"
                );
                // The value has expired, and only the lease keeps it.
                let without_value = [Record::Absent, leased(0, false), Record::Failed, leased(0, true)];
                assert_eq!(
                    parse(bytes.clone(), 1006).ok().as_ref(),
                    without_value.get(usize::from(state)),
                    "{state}"
                );
                assert_eq!(parse_with_pttl(7, Some(bytes)), value(content, SOME_REVISION, 7), "{state}");
            }
        }
    }

    #[test]
    fn trailer_alone_is_no_value() {
        for (state, record) in [
            (0, Record::Absent),
            (1, leased(5, false)),
            (2, Record::Failed),
            (3, leased(5, true)),
            (4, Record::Error(Note::default())),
        ] {
            assert_eq!(parse(trailer(0, state), 1000).ok(), Some(record.clone()));
            assert_eq!(parse_with_pttl(5, Some(trailer(0, state))), record);
        }
        assert_eq!(parse(trailer(0, 1), 1007).ok(), Some(leased(0, false)));
        assert_eq!(parse_with_pttl(-1, Some(trailer(0, 1))), leased(0, false));
        assert_eq!(parse_with_pttl(-2, Some(trailer(0, 1))), leased(0, false));
        assert_eq!(parse_with_pttl(-2, None), Record::Absent);
    }

    #[test]
    fn note_of_failed_load_is_no_value() {
        for left in [&b"note"[..], b"", MAGIC, &trailer(7, 4)] {
            let bytes = [left, &trailer(0, 4)].concat();
            assert_eq!(parse(bytes.clone(), 1000).ok(), Some(Record::Error(Note(left.to_vec()))));
            assert_eq!(parse_with_pttl(5, Some(bytes.clone())), Record::Error(Note(left.to_vec())));
            assert!(!Trailer::of(&bytes).unwrap().has_value(bytes.len()));
            assert_eq!(compare(&bytes, 7), Record::Changed);
        }
    }

    #[test]
    fn foreign_string_is_all_value_without_recorded_end() {
        let mut unknown_state = trailer(1, 0);
        unknown_state[STATE] = 5;
        let mut next_version = trailer(1, 0);
        next_version[TRAILER - 1] = 3;
        let cut = trailer(1, 0)[1..].to_vec();
        for bytes in [Vec::new(), b"{}".to_vec(), MAGIC.to_vec(), unknown_state, next_version, cut] {
            assert_eq!(parse(bytes.clone(), 1000).ok(), None);
            assert_eq!(parse_with_pttl(5, Some(bytes.clone())), value(&bytes, 0, 5));
            assert_eq!(compare(&bytes, 0), Record::Changed, "nobody knows a value without a revision");
        }
        // A value of another program, with a lease over it.
        let bytes = [&b"{}"[..], &trailer(0, 1)].concat();
        assert_eq!(parse(bytes.clone(), 1000).ok(), None);
        assert_eq!(parse_with_pttl(5, Some(bytes)), value(b"{}", 0, 5));
    }

    #[test]
    fn only_value_with_known_revision_is_unchanged() {
        assert_eq!(compare(&trailer(7, 1), 7), Record::Unchanged);
        assert_eq!(compare(&trailer(7, 0), 7), Record::Unchanged);
        assert_eq!(compare(&trailer(8, 0), 7), Record::Changed);
        assert_eq!(compare(&trailer(0, 1), 7), Record::Changed);
        assert_eq!(compare(b"", 7), Record::Changed);
    }

    #[test]
    fn value_stored_after_pttl_counts_as_expired() {
        assert_eq!(remaining(-2), Some(Duration::ZERO));
        assert_eq!(remaining(-1), None);
        assert_eq!(remaining(0), Some(Duration::ZERO));
        assert_eq!(remaining(1500), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn parser_never_panics() {
        let mut noise = crate::protocol::random::number();
        for length in 0..200 {
            let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                noise.to_be_bytes()[0]
            })
            .take(length)
            .collect();
            let _ = parse(bytes.clone(), noise);
            parse_with_pttl(noise.cast_signed(), Some(bytes.clone()));
            compare(&bytes, noise);
            // Bytes before the magic are parsed as a trailer.
            bytes.extend_from_slice(MAGIC);
            let _ = parse(bytes.clone(), 1);
            compare(&bytes, noise);
        }
    }
}
