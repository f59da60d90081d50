//! Commands of a client, rewritten to simulate a less capable server.

use std::fmt::Write as _;

use crate::frames::Frames;

/// Capability of Redis that a server lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingCapability {
    /// Tracking of any key while `NOLOOP` is on.
    NoLoop,
    /// Tracking of keys that a script reads.
    Scripts,
    /// Writes in a script that has read the time.
    Writes,
}

/// Error reply of a server without the capability `Writes`.
const NO_WRITES: &str = "ERR Error running script (call to f_0): @user_script:1: @user_script: 1: \
                         Write commands not allowed after non deterministic commands.";

/// Tracks and rewrites the commands that a client sends over one connection.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    frames: Frames,
    /// Received part of an incomplete command.
    command: Vec<u8>,
    /// Latest `CLIENT TRACKING` command of the client.
    tracking: Vec<u8>,
}

impl Requests {
    /// Returns the bytes that the server gets in place of `chunk`.
    ///
    /// Whole commands are rewritten, so the end of a chunk may be held back until the rest of its command
    /// arrives.
    pub(crate) fn edit(&mut self, mut chunk: &[u8], missing: Option<MissingCapability>) -> Vec<u8> {
        let mut edited = Vec::with_capacity(chunk.len());
        while !chunk.is_empty() {
            let (length, _) = self.frames.take(chunk);
            self.command.extend_from_slice(&chunk[..length]);
            chunk = &chunk[length..];
            if self.frames.is_at_boundary() {
                let command = std::mem::take(&mut self.command);
                self.rewrite(command, missing, &mut edited);
            }
        }
        // Nothing is rewritten, so nothing is held back.
        if missing.is_none() {
            edited.append(&mut self.command);
        }
        edited
    }

    fn rewrite(&mut self, command: Vec<u8>, missing: Option<MissingCapability>, edited: &mut Vec<u8>) {
        let words = words(&command);
        let is_tracking = is(&words, &["CLIENT", "TRACKING"]);
        let is_script = is(&words, &["EVAL"]) || is(&words, &["EVALSHA"]);
        let has_noloop = words.iter().any(|word| word.eq_ignore_ascii_case(b"NOLOOP"));
        match missing {
            Some(MissingCapability::NoLoop) if is_tracking && has_noloop => {
                edited.extend(encode(&["CLIENT", "TRACKING", "OFF"]));
            }
            Some(MissingCapability::Scripts) if is_script && !self.tracking.is_empty() => {
                // `SKIP` suppresses its own reply and the next one.
                edited.extend(encode(&["CLIENT", "REPLY", "SKIP"]));
                edited.extend(encode(&["CLIENT", "TRACKING", "OFF"]));
                edited.extend_from_slice(&command);
                edited.extend(encode(&["CLIENT", "REPLY", "SKIP"]));
                edited.extend_from_slice(&self.tracking);
            }
            Some(MissingCapability::Writes) if is_script => {
                let refusal = format!("return redis.error_reply('{NO_WRITES}')");
                edited.extend(encode(&["EVAL", &refusal, "0"]));
            }
            _ => edited.extend_from_slice(&command),
        }
        if is_tracking {
            self.tracking = command;
        }
    }
}

/// Returns whether a command begins with these arguments, in any case.
fn is(words: &[&[u8]], begin: &[&str]) -> bool {
    words.len() >= begin.len()
        && words.iter().zip(begin).all(|(word, wanted)| word.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Returns the arguments of a command, without their lengths.
fn words(command: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let mut rest = command;
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let (line, after) = rest.split_at(end + 1);
        rest = after;
        if line.first() == Some(&b'$')
            && let Ok(length) = String::from_utf8_lossy(&line[1..]).trim_end().parse::<usize>()
            && rest.len() >= length + 2
        {
            words.push(&rest[..length]);
            rest = &rest[length + 2..];
        }
    }
    words
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(command, "${}\r\n{word}\r\n", word.len());
    }
    command.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(missing: Option<MissingCapability>, piece: usize) -> String {
        let mut requests = Requests::default();
        let on = encode(&["CLIENT", "TRACKING", "ON", "NOLOOP"]);
        let sent = [on, encode(&["GET", "NOLOOP\r\n"]), encode(&["evalsha", "x", "0"])].concat();
        let edited: Vec<_> = sent.chunks(piece).flat_map(|chunk| requests.edit(chunk, missing)).collect();
        let words = words(&edited).into_iter().map(String::from_utf8_lossy);
        words.collect::<Vec<_>>().join(" ").replace("\r\n", "")
    }

    #[test]
    fn commands_are_rewritten_however_they_arrive() {
        for piece in [1, 2, 7, 1000] {
            assert_eq!(edited(None, piece), "CLIENT TRACKING ON NOLOOP GET NOLOOP evalsha x 0");
            assert_eq!(
                edited(Some(MissingCapability::NoLoop), piece),
                "CLIENT TRACKING OFF GET NOLOOP evalsha x 0"
            );
            assert_eq!(
                edited(Some(MissingCapability::Scripts), piece),
                "CLIENT TRACKING ON NOLOOP GET NOLOOP CLIENT REPLY SKIP CLIENT TRACKING OFF evalsha x 0 \
                 CLIENT REPLY SKIP CLIENT TRACKING ON NOLOOP"
            );
        }
    }
}
