//! Whether what the server tells arrives.
//!
//! A connection can be sound, and what is told over it be swallowed all the same, by something in between that knows answers
//! only. Or the server is one that takes `CLIENT TRACKING`, and tells nothing in the mode that is used, or nothing of what a
//! script reads. Then an answer proves nothing about changes. So each heartbeat changes a key of its own that was read as
//! values are: by a script, in the mode of the connection. The server has to tell of it.

use std::time::Duration;

use redis::Value;

use crate::{
    batch::{Batch, Replies},
    settings::millis,
    tracking::Tracking,
};

/// How long the key is kept when nobody is there any more.
const KEEP: Duration = Duration::from_secs(60);

/// What reads the key. It goes with its source, because a script that the server does not know yet would read the key too late.
const READ: &str = "return redis.call('STRLEN', KEYS[1])";

/// How the key is read: as everything else is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reading {
    /// By a script.
    #[default]
    Script,
    /// Besides by a command of its own, as the user may not run scripts. Nothing else is read by one then either.
    Command,
}

/// Has the server tell of a change of this key before the last of these commands is answered.
pub(crate) fn ask(batch: &mut Batch, tracking: &Tracking, reading: Reading, key: &str) {
    batch.add(redis::cmd("EVAL").arg(READ).arg(1).arg(key).clone());
    if reading == Reading::Command {
        batch.add(redis::cmd("GET").arg(key).clone());
    }
    if tracking.is_partial() {
        // What this connection has read before is told of now as well when it changes the key itself.
        batch.add(Tracking::All.command());
    }
    batch.add(redis::cmd("SET").arg(key).arg(1).arg("PX").arg(millis(KEEP)).clone());
    // Versions differ in whether they tell before or after the answer to what has changed it.
    batch.add(tracking.command());
}

/// Whether the server must have told of it. One that refuses, because it is full or because the user may not, has nothing to
/// tell, and is believed. The next question is asked as `reading` says then.
pub(crate) fn is_due(replies: &mut Replies, tracking: &Tracking, reading: &mut Reading) -> bool {
    let mut is_ok = || replies.next::<Value>().is_ok();
    let by_script = is_ok();
    let by_command = *reading == Reading::Command && is_ok();
    let commands = if tracking.is_partial() { 3 } else { 2 };
    // All of them are taken, whatever the first one is.
    let is_changed = (0..commands).filter(|_| is_ok()).count() == commands;
    *reading = if by_script { Reading::Script } else { Reading::Command };
    (by_script || by_command) && is_changed
}
