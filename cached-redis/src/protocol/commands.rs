//! Commands about one key, and their replies.

use cached_core::tier::LARGE_VALUE;

use crate::protocol::record::TRAILER;

/// Number of digits in a generation.
const GENERATION_DIGITS: usize = 16;

/// Maximum length of a string that is read over the main connection, in bytes.
pub(crate) const MAX_SMALL_LENGTH: usize = LARGE_VALUE + TRAILER;

pub(crate) fn command(name: &str, key: &str) -> redis::Cmd {
    // The longest command has two more arguments.
    let mut command = redis::Cmd::with_capacity(4, name.len() + key.len() + 8);
    command.arg(name).arg(key);
    command
}

/// Returns the command that reads the trailer, or the whole string if it is shorter.
pub(crate) fn trailer_command(key: &str) -> redis::Cmd {
    let mut command = command("GETRANGE", key);
    command.arg(-TRAILER.cast_signed()).arg(-1);
    command
}

/// Returns the command that reads the whole string, if a small value may be so long.
///
/// Otherwise the command reads one byte more than a small value may have, which shows that the string is
/// longer. No more than that is read over the main connection, whichever program wrote the string.
pub(crate) fn value_command(key: &str) -> redis::Cmd {
    let mut command = command("GETRANGE", key);
    command.arg(0).arg(MAX_SMALL_LENGTH);
    command
}

/// Returns the reply to `GETRANGE`, or `None` if it is empty.
///
/// The key is then missing, as no string of this crate is empty.
pub(crate) fn non_empty(bytes: Vec<u8>) -> Option<Vec<u8>> {
    (!bytes.is_empty()).then_some(bytes)
}

/// Returns the command that reads the generation of a tag, or one byte more.
///
/// The extra byte shows that the string is no generation.
pub(crate) fn generation_command(tag: &str) -> redis::Cmd {
    let mut command = command("GETRANGE", tag);
    command.arg(0).arg(GENERATION_DIGITS);
    command
}

/// Parses a generation. Returns `None` if no tier of this version wrote it.
pub(crate) fn parse_generation(bytes: Option<Vec<u8>>) -> Option<u64> {
    let text = String::from_utf8(bytes?).ok()?;
    let is_ours = text.len() == GENERATION_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_ours.then(|| u64::from_str_radix(&text, 16).ok()).flatten()
}

/// Returns the command that reads a number, and one byte more, so that longer content shows.
pub(crate) fn number_command(key: &str) -> redis::Cmd {
    const DIGITS: usize = 20;

    redis::cmd("GETRANGE").arg(key).arg(0).arg(DIGITS).clone()
}

/// Parses a number. Other content was not written by this crate, and counts as 0.
pub(crate) fn parse_number(bytes: Option<Vec<u8>>) -> u64 {
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_is_sixteen_hexadecimal_digits() {
        let read = |text: &str| parse_generation(Some(text.as_bytes().to_vec()));
        assert_eq!(read("00000000000000ff"), Some(255));
        assert_eq!(read("ffffffffffffffff"), Some(u64::MAX));
        for text in
            ["", "ff", "+0000000000000ff", "00000000000000fg", "000000000000000ff", "\u{fc}0000000000000f"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(parse_generation(Some(vec![0xff; 16])), None);
        assert_eq!(parse_generation(None), None);
    }
}
