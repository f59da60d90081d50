//! How a value and a lease lie in one string of Redis.
//!
//! The string is the value's bytes and a trailer of [`TRAILER`] bytes. The trailer stands at the end, so that
//! taking it off copies nothing. A string that does not end in one was written by another program, and is all
//! value.
//!
//! | bytes | what |
//! |---|---|
//! | 0..16 | the token of the lease; zeros if there is none |
//! | 16..24 | when the lease ends, in milliseconds of the server's clock, big-endian; 0 if there is none |
//! | 24..32 | the stamp of the value, little-endian; 0 if there is no value, or another program wrote it |
//! | 32 | 0: no lease, 1: leased, 2: a load failed, 3: leased after one that failed |
//! | 33..40 | [`MAGIC`] |

use std::time::Duration;

use cached_core::{Record, Stamp, Stored};

/// The length of a trailer.
pub(crate) const TRAILER: usize = 40;

/// The version of the layout is the last byte. The first one occurs in no text, so no JSON ends so.
pub(crate) const MAGIC: &[u8; 7] = b"\xffaside\x01";

const STAMP: std::ops::Range<usize> = 24..32;
const STATE: usize = 32;

/// What the end of a string says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) state: State,
    pub(crate) stamp: Stamp,
}

/// Who is at work on the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Leased,
    Failed,
    LeasedAgain,
}

impl Trailer {
    /// Of a string, or of its last [`TRAILER`] bytes; `None` if another program wrote it.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let trailer: &[u8; TRAILER] = bytes.last_chunk()?;
        if !trailer.ends_with(MAGIC) {
            return None;
        }
        let state = match trailer[STATE] {
            0 => State::Idle,
            1 => State::Leased,
            2 => State::Failed,
            3 => State::LeasedAgain,
            _ => return None,
        };
        let stamp = trailer[STAMP].try_into().map_or(0, Stamp::from_le_bytes);
        Some(Self { state, stamp })
    }

    /// Of a string of `length` bytes, whether it holds a value. One of no bytes is told by its stamp.
    pub(crate) fn has_value(self, length: usize) -> bool {
        length > TRAILER || self.stamp != 0
    }
}

/// Appends the trailer of a value that was filled in.
pub(crate) fn seal(bytes: &mut Vec<u8>, stamp: Stamp) {
    bytes.reserve_exact(TRAILER);
    bytes.extend_from_slice(&[0; STAMP.start]);
    bytes.extend_from_slice(&stamp.to_le_bytes());
    bytes.push(0);
    bytes.extend_from_slice(MAGIC);
}

/// What the answers to `PTTL` and `GET` say.
pub(crate) fn open(left: i64, bytes: Option<Vec<u8>>) -> Record {
    let Some(mut bytes) = bytes else { return Record::Absent };
    let Some(trailer) = Trailer::of(&bytes) else {
        return Record::Value(Stored { bytes, remaining: remaining(left), stamp: 0 });
    };
    if trailer.has_value(bytes.len()) {
        bytes.truncate(bytes.len() - TRAILER);
        return Record::Value(Stored { bytes, remaining: remaining(left), stamp: trailer.stamp });
    }
    match trailer.state {
        // One that does not expire is none of ours; whoever claims it learns how long it lasts.
        State::Leased | State::LeasedAgain => Record::Leased {
            left: remaining(left).unwrap_or_default(),
            is_retry: trailer.state == State::LeasedAgain,
        },
        State::Failed => Record::Failed,
        State::Idle => Record::Absent,
    }
}

/// What the answers to `PTTL` and to `GETRANGE` of the trailer say to somebody who has a value.
pub(crate) fn compare(left: i64, tail: &[u8], known: Stamp) -> Record {
    match Trailer::of(tail) {
        Some(trailer) if trailer.stamp == known && known != 0 => Record::Unchanged(remaining(left)),
        _ => Record::Changed,
    }
}

/// The time left, of what `PTTL` answered before the value was read.
fn remaining(left: i64) -> Option<Duration> {
    match left {
        // The key does not expire.
        -1 => None,
        // There was no key (-2), and the value has come since: nothing is known of its life.
        left => Some(Duration::from_millis(u64::try_from(left).unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPED: Stamp = 0x0807_0605_0403_0201;

    fn trailer(stamp: Stamp, state: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        seal(&mut bytes, stamp);
        bytes[STATE] = state;
        bytes
    }

    fn value(bytes: &[u8], stamp: Stamp) -> Record {
        Record::Value(Stored { bytes: bytes.to_vec(), remaining: Some(Duration::from_millis(5)), stamp })
    }

    fn leased(left: Duration, is_retry: bool) -> Record {
        Record::Leased { left, is_retry }
    }

    #[test]
    fn what_was_sealed_keeps_its_bytes_for_ever() {
        let mut bytes = b"value".to_vec();
        seal(&mut bytes, STAMPED);
        let mut golden = b"value".to_vec();
        golden.extend_from_slice(&[0; 24]);
        golden.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 0xff, b'a', b's', b'i', b'd', b'e', 1]);
        assert_eq!(bytes, golden);
    }

    #[test]
    fn a_value_comes_back_whole_whoever_leases_it() {
        for content in [&b"value"[..], b"", MAGIC, &trailer(7, 1)] {
            for state in 0..=3 {
                let bytes = [content, &trailer(STAMPED, state)].concat();
                assert_eq!(open(5, Some(bytes)), value(content, STAMPED), "{state}");
            }
        }
    }

    #[test]
    fn a_trailer_alone_is_no_value() {
        assert_eq!(open(5, Some(trailer(0, 1))), leased(Duration::from_millis(5), false));
        assert_eq!(open(-1, Some(trailer(0, 1))), leased(Duration::ZERO, false));
        assert_eq!(open(-2, Some(trailer(0, 1))), leased(Duration::ZERO, false));
        assert_eq!(open(5, Some(trailer(0, 2))), Record::Failed);
        assert_eq!(open(5, Some(trailer(0, 3))), leased(Duration::from_millis(5), true));
        assert_eq!(open(5, Some(trailer(0, 0))), Record::Absent);
        assert_eq!(open(-2, None), Record::Absent);
    }

    #[test]
    fn what_others_wrote_is_all_value() {
        let mut unknown_state = trailer(1, 0);
        unknown_state[STATE] = 4;
        let mut next_version = trailer(1, 0);
        next_version[TRAILER - 1] = 2;
        let cut = trailer(1, 0)[1..].to_vec();
        for bytes in [Vec::new(), b"{}".to_vec(), MAGIC.to_vec(), unknown_state, next_version, cut] {
            assert_eq!(open(5, Some(bytes.clone())), value(&bytes, 0));
            assert_eq!(compare(5, &bytes, 0), Record::Changed, "nobody knows a value without a stamp");
        }
    }

    #[test]
    fn only_the_value_that_is_known_is_unchanged() {
        assert_eq!(compare(5, &trailer(7, 1), 7), Record::Unchanged(Some(Duration::from_millis(5))));
        assert_eq!(compare(-1, &trailer(7, 0), 7), Record::Unchanged(None));
        assert_eq!(compare(-2, &trailer(7, 0), 7), Record::Unchanged(Some(Duration::ZERO)));
        assert_eq!(compare(5, &trailer(8, 0), 7), Record::Changed);
        assert_eq!(compare(5, &trailer(0, 1), 7), Record::Changed);
        assert_eq!(compare(-2, b"", 7), Record::Changed);
    }

    #[test]
    fn the_life_of_a_value_that_came_between_the_two_commands_counts_as_over() {
        assert_eq!(remaining(-2), Some(Duration::ZERO));
        assert_eq!(remaining(-1), None);
        assert_eq!(remaining(0), Some(Duration::ZERO));
        assert_eq!(remaining(1500), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut noise = crate::random::number();
        for length in 0..200 {
            let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                noise.to_be_bytes()[0]
            })
            .take(length)
            .collect();
            open(noise.cast_signed(), Some(bytes.clone()));
            compare(0, &bytes, noise);
            // With the magic, whatever comes before it is taken apart.
            bytes.extend_from_slice(MAGIC);
            open(1, Some(bytes.clone()));
            compare(1, &bytes, noise);
        }
    }
}
