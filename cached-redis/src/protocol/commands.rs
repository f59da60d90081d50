//! Commands about one key, and what they answer.

use cached_core::LARGE_VALUE;

use crate::protocol::record::TRAILER;

/// The digits of a generation.
const GENERATION: usize = 16;

/// A string that is longer is not read over the main connection.
pub(crate) const LONGEST_SMALL: usize = LARGE_VALUE + TRAILER;

pub(crate) fn command(name: &str, key: &str) -> redis::Cmd {
    // The longest one has two more arguments.
    let mut command = redis::Cmd::with_capacity(4, name.len() + key.len() + 8);
    command.arg(name).arg(key);
    command
}

/// Asks for the trailer alone, or all that there is if it is shorter.
pub(crate) fn tail(key: &str) -> redis::Cmd {
    let mut command = command("GETRANGE", key);
    command.arg(-TRAILER.cast_signed()).arg(-1);
    command
}

/// Asks for all of it, or for so much more than a small value has that it shows: whatever else wrote it, no more of it comes
/// over the main connection.
pub(crate) fn whole(key: &str) -> redis::Cmd {
    let mut command = command("GETRANGE", key);
    command.arg(0).arg(LONGEST_SMALL);
    command
}

/// What `GETRANGE` has answered, if there is anything: no string of ours is empty.
pub(crate) fn filled(bytes: Vec<u8>) -> Option<Vec<u8>> {
    (!bytes.is_empty()).then_some(bytes)
}

/// Asks for the generation of a tag, or for so much that it shows that there is none.
pub(crate) fn generation_of(tag: &str) -> redis::Cmd {
    let mut command = command("GETRANGE", tag);
    command.arg(0).arg(GENERATION);
    command
}

/// What no tier of this version wrote is no generation.
pub(crate) fn generation(bytes: Option<Vec<u8>>) -> Option<u64> {
    let text = String::from_utf8(bytes?).ok()?;
    let is_ours = text.len() == GENERATION && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_ours.then(|| u64::from_str_radix(&text, 16).ok()).flatten()
}
