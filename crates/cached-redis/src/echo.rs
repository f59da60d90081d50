//! Whether what the server tells arrives.
//!
//! A connection can be sound, and what is told over it be swallowed all the same, by something in between that knows answers
//! only. Then an answer proves nothing about changes. So each heartbeat changes a key of its own and has the server tell so.

use std::time::Duration;

use redis::Value;

use crate::{
    batch::{Batch, Replies},
    settings::millis,
    tracking::Tracking,
};

/// How long the key is kept when nobody is there any more.
const KEEP: Duration = Duration::from_secs(60);

/// Has the server tell of a change of this key before the last of these commands is answered.
pub(crate) fn ask(batch: &mut Batch, tracking: &Tracking, key: &str) {
    let is_partial = tracking.is_partial();
    if is_partial {
        batch.add(Tracking::All.command());
    }
    let mut get = redis::cmd("GET");
    get.arg(key);
    let mut set = redis::cmd("SET");
    set.arg(key).arg(1).arg("PX").arg(millis(KEEP));
    batch.add(get.clone());
    batch.add(set);
    // Versions differ in whether they tell before or after the answer to what has changed it.
    batch.add(if is_partial { tracking.command() } else { get });
}

/// Whether the server must have told of it. One that refuses, because it is full or because the user may not, has nothing to
/// tell, and is believed.
pub(crate) fn is_due(replies: &mut Replies, tracking: &Tracking) -> bool {
    let commands = if tracking.is_partial() { 4 } else { 3 };
    // All of them are read, whatever the first one is.
    (0..commands).filter(|_| replies.next::<Value>().is_ok()).count() == commands
}
