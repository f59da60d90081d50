//! Error notes: the text of an error, left in L2 by a failed load for the callers that waited for it.
//!
//! | bytes | content |
//! |---|---|
//! | 0 | [`VERSION`] |
//! | 1..17 | the half of the key's digest that is not in its name |
//! | 17..25 | the schema (little-endian): the type, the version and the function |
//! | from 25 | the levels of the error, from the outermost |
//!
//! A level is the kind of an `io::Error` (1 byte, 0 if it was none), the length of the message (2 bytes,
//! big-endian), and the message.

use std::io::ErrorKind;

use crate::{error::shared::SharedLoadError, key::entry_key::SharedKey};

const VERSION: u8 = 1;

/// Maximum length of a note: more than a log shows of an error, and small compared with a value.
const MAX_BYTES: usize = 4096;

/// Suffix of a truncated message.
const TRUNCATION_MARK: &str = "…";

/// Kinds of an `io::Error`. Their positions in this list are stored, so it may only grow at the end.
const KINDS: [ErrorKind; 39] = [
    ErrorKind::NotFound,
    ErrorKind::PermissionDenied,
    ErrorKind::ConnectionRefused,
    ErrorKind::ConnectionReset,
    ErrorKind::HostUnreachable,
    ErrorKind::NetworkUnreachable,
    ErrorKind::ConnectionAborted,
    ErrorKind::NotConnected,
    ErrorKind::AddrInUse,
    ErrorKind::AddrNotAvailable,
    ErrorKind::NetworkDown,
    ErrorKind::BrokenPipe,
    ErrorKind::AlreadyExists,
    ErrorKind::WouldBlock,
    ErrorKind::NotADirectory,
    ErrorKind::IsADirectory,
    ErrorKind::DirectoryNotEmpty,
    ErrorKind::ReadOnlyFilesystem,
    ErrorKind::StaleNetworkFileHandle,
    ErrorKind::InvalidInput,
    ErrorKind::InvalidData,
    ErrorKind::TimedOut,
    ErrorKind::WriteZero,
    ErrorKind::StorageFull,
    ErrorKind::NotSeekable,
    ErrorKind::QuotaExceeded,
    ErrorKind::FileTooLarge,
    ErrorKind::ResourceBusy,
    ErrorKind::ExecutableFileBusy,
    ErrorKind::Deadlock,
    ErrorKind::CrossesDevices,
    ErrorKind::TooManyLinks,
    ErrorKind::InvalidFilename,
    ErrorKind::ArgumentListTooLong,
    ErrorKind::Interrupted,
    ErrorKind::Unsupported,
    ErrorKind::UnexpectedEof,
    ErrorKind::OutOfMemory,
    ErrorKind::Other,
];

/// Encodes an error in at most [`MAX_BYTES`].
///
/// A message that does not fit is truncated, and the levels below it are left out.
pub(crate) fn seal(error: &SharedLoadError, name: &SharedKey) -> Vec<u8> {
    let mut note = vec![VERSION];
    note.extend_from_slice(&name.check);
    note.extend_from_slice(&name.schema.to_le_bytes());
    for (message, kind) in error.levels() {
        let room = MAX_BYTES.saturating_sub(note.len() + 3);
        let (message, suffix) = if message.len() <= room {
            (message, "")
        } else {
            (prefix_within(message, room.saturating_sub(TRUNCATION_MARK.len())), TRUNCATION_MARK)
        };
        let Some(length) =
            u16::try_from(message.len() + suffix.len()).ok().filter(|_| room > TRUNCATION_MARK.len())
        else {
            break;
        };
        note.push(kind.map_or(0, number_of));
        note.extend_from_slice(&length.to_be_bytes());
        note.extend_from_slice(message.as_bytes());
        note.extend_from_slice(suffix.as_bytes());
    }
    note
}

/// Decodes a note.
///
/// Returns `None` if it is in another format, belongs to another key, function or version, or has no level.
pub(crate) fn open(note: &[u8], name: &SharedKey) -> Option<SharedLoadError> {
    // A longer note was not written by `seal`. With empty messages, the decoded list would be many times as
    // large.
    if note.len() > MAX_BYTES {
        return None;
    }
    let mut levels = Vec::new();
    let rest = note.strip_prefix(&[VERSION])?.strip_prefix(&name.check)?;
    let mut rest = rest.strip_prefix(&name.schema.to_le_bytes())?;
    while let Some((kind, after)) = rest.split_first() {
        let (length, after) = after.split_first_chunk()?;
        let (message, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
        levels.push((str::from_utf8(message).ok()?.to_owned(), kind_of(*kind)));
        rest = after;
    }
    SharedLoadError::from_levels(levels)
}

/// Returns the number of a kind in a note, from 1; 0 if the kind is not in the list.
fn number_of(kind: ErrorKind) -> u8 {
    let position = KINDS.iter().position(|known| *known == kind);
    position.and_then(|position| u8::try_from(position + 1).ok()).unwrap_or(0)
}

fn kind_of(number: u8) -> Option<ErrorKind> {
    KINDS.get(usize::from(number.checked_sub(1)?)).copied()
}

/// Returns the longest part at the start of `text` that fits into `max_bytes`.
fn prefix_within(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.map_or("", |end| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> SharedKey {
        SharedKey { text: String::new(), check: [7; 16], schema: 9 }
    }

    fn levels(error: &SharedLoadError) -> Vec<(String, Option<ErrorKind>)> {
        error.levels().map(|(message, kind)| (message.to_owned(), kind)).collect()
    }

    fn error(levels: &[(&str, Option<ErrorKind>)]) -> SharedLoadError {
        let levels = levels.iter().map(|(message, kind)| ((*message).to_owned(), *kind)).collect();
        SharedLoadError::from_levels(levels).expect("there is one")
    }

    #[test]
    fn note_round_trip_keeps_levels_and_kinds() {
        for kind in KINDS.map(Some).into_iter().chain([None]) {
            let original = error(&[("outer", None), ("", kind), ("ünner", None)]);
            assert_eq!(levels(&open(&seal(&original, &name()), &name()).unwrap()), levels(&original));
        }
    }

    #[test]
    fn note_bytes_are_stable() {
        let note = seal(&error(&[("no", Some(ErrorKind::PermissionDenied))]), &name());
        assert_eq!(note, [&[1][..], &[7; 16], &[9, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 2], b"no"].concat());
    }

    #[test]
    fn long_note_is_truncated_at_a_character_boundary() {
        for start in 0..4 {
            let long = "x".repeat(start) + &"ü€".repeat(4000);
            for original in
                [error(&[(&long, None)]), error(&[("short", None), (&long, None), ("lost", None)])]
            {
                let note = seal(&original, &name());
                assert!(note.len() <= MAX_BYTES && note.len() > MAX_BYTES - 8, "{}", note.len());
                let (decoded, original) = (levels(&open(&note, &name()).unwrap()), levels(&original));
                let last = decoded.len() - 1;
                assert_eq!(decoded[..last], original[..last]);
                let prefix = decoded[last].0.strip_suffix(TRUNCATION_MARK).expect("it says that it was cut");
                assert!(original[last].0.starts_with(prefix));
            }
        }
    }

    /// The decoded list of levels would be many times as large as the note.
    #[test]
    fn oversized_note_is_rejected() {
        let no_levels = |levels| {
            [&[VERSION][..], &name().check, &name().schema.to_le_bytes(), &[0; 3].repeat(levels)].concat()
        };
        let max_levels = (MAX_BYTES - 25) / 3;
        assert!(open(&no_levels(max_levels), &name()).is_some());
        assert!(open(&no_levels(max_levels + 1), &name()).is_none());
    }

    #[test]
    fn foreign_or_damaged_note_is_ignored() {
        let note = seal(&error(&[("no", None), ("way", None)]), &name());
        assert!(open(&note, &SharedKey { check: [8; 16], ..name() }).is_none(), "another key's");
        assert!(open(&note, &SharedKey { schema: 8, ..name() }).is_none(), "another function's or version's");
        assert!(open(&[], &name()).is_none());
        assert!(open(&note[..25], &name()).is_none(), "it says nothing");
        for end in (0..note.len()).filter(|end| *end != 30) {
            assert!(open(&note[..end], &name()).is_none(), "{end}");
        }
        let mut not_text = note;
        not_text[28] = 0xff;
        assert!(open(&not_text, &name()).is_none());
    }
}
