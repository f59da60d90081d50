//! Whether what the server tells arrives.
//!
//! A connection can be sound, and what is told over it be swallowed all the same, by something in between that knows answers
//! only. Or the server is one that takes `CLIENT TRACKING`, and tells nothing in the mode that is used, or nothing of what a
//! script reads. Then an answer proves nothing about changes. So each heartbeat changes a key of its own that was read in the
//! mode of the connection; and every few seconds, as when a connection begins, it is read as values are, by a script. The server
//! has to tell of each change.

use std::time::{Duration, Instant};

use cached_core::planted;
use redis::{RedisResult, Value};

use crate::{
    connect::settings::millis,
    protocol::{
        batch::{Batch, Replies},
        failure::{Failure, Verdict},
    },
    tracking::mode::Tracking,
};

/// How long the key is kept when nobody is there any more.
const KEEP: Duration = Duration::from_secs(60);

/// What reads the key. It goes with its source, because a script that the server does not know yet would read the key too late.
const READ: &str = "return redis.call('STRLEN', KEYS[1])";

/// The key of one connection.
#[derive(Debug)]
pub(crate) struct Echo {
    /// Whether the user may run scripts. If not, nothing else is read by one either.
    by_script: bool,
    /// When it was read last, after its last change, so that the server has to tell of the next one.
    read: Option<Instant>,
}

/// What was asked, in order.
#[derive(Debug)]
pub(crate) struct Asked {
    roles: Vec<Role>,
    sent: Instant,
    was_read: bool,
}

#[derive(Clone, Debug)]
enum Role {
    ByScript,
    ByCommand,
    Change,
    Mode(Tracking),
}

impl Default for Echo {
    fn default() -> Self {
        Self { by_script: true, read: None }
    }
}

impl Echo {
    /// Whether the user may run scripts, as far as it is known.
    pub(crate) fn runs_scripts(&self) -> bool {
        self.by_script
    }

    /// The server has told of a change already, and does not tell of the next one before the key is read again.
    pub(crate) fn is_told(&mut self) {
        self.read = None;
    }

    /// Has the server tell of a change of this key before the last of these commands is answered. From a `thorough` question on
    /// it is told because a script has read the key.
    pub(crate) fn ask(
        &self,
        batch: &mut Batch,
        tracking: &Tracking,
        key: &str,
        is_thorough: bool,
        now: Instant,
    ) -> Asked {
        // The key may have expired since.
        let is_known = self.read.is_some_and(|read| now < read + KEEP / 2);
        let was_read = is_known && !tracking.is_partial();
        let mut roles = Vec::with_capacity(6);
        let read_by_script = |roles: &mut Vec<Role>| {
            if planted!("proof-by-command") {
                return roles.push(Role::ByCommand);
            }
            roles.push(Role::ByScript);
            if !self.by_script {
                roles.push(Role::ByCommand);
            }
        };
        if planted!("proof-in-another-mode") && tracking.is_partial() {
            roles.push(Role::Mode(Tracking::All));
        }
        if !was_read {
            read_by_script(&mut roles);
        }
        if tracking.is_partial() {
            // What this connection has read before is told of now as well when it changes the key itself. With `NOLOOP` a later
            // read would be in another mode than the one before.
            roles.extend([Role::Mode(Tracking::All), Role::Change, Role::Mode(tracking.clone())]);
        } else {
            roles.push(Role::Change);
            // Versions differ in whether they tell before or after the answer to what has changed it, so something has to come
            // after that.
            if is_thorough {
                read_by_script(&mut roles);
            } else {
                roles.push(Role::ByCommand);
            }
        }
        for role in &roles {
            batch.add(role.command(key));
        }
        Asked { roles, sent: now, was_read }
    }

    /// Whether the server must have told of it. One that refuses, because it is full or because the user may not, has nothing to
    /// tell, and is believed. Fails if the server is in a state in which it refuses.
    pub(crate) fn is_due(&mut self, replies: &mut Replies, asked: &Asked) -> Result<bool, Verdict> {
        let Asked { ref roles, sent, mut was_read } = *asked;
        let (mut has_changed, mut is_complete, mut worst) = (false, true, None);
        self.read = None;
        // All of them are taken, whatever the first one is.
        for role in roles {
            let reply: RedisResult<Value> = replies.next();
            let is_ok = reply.is_ok();
            if let Err(error) = reply {
                match Failure::from(error).verdict {
                    Verdict::Sound => {}
                    verdict => worst = worst.or(Some(verdict)),
                }
            }
            if matches!(role, Role::ByScript) {
                self.by_script = is_ok;
            }
            match role {
                Role::ByScript | Role::ByCommand if !has_changed => was_read |= is_ok,
                Role::ByScript | Role::ByCommand => self.read = self.read.or(is_ok.then_some(sent)),
                Role::Change => (has_changed, is_complete) = (true, is_complete && is_ok),
                Role::Mode(_) => is_complete &= is_ok,
            }
        }
        match worst {
            Some(verdict) => Err(verdict),
            None => Ok(was_read && is_complete),
        }
    }
}

impl Role {
    fn command(&self, key: &str) -> redis::Cmd {
        match self {
            Self::ByScript => redis::cmd("EVAL").arg(READ).arg(1).arg(key).clone(),
            Self::ByCommand => redis::cmd("STRLEN").arg(key).clone(),
            Self::Change => redis::cmd("SET").arg(key).arg(1).arg("PX").arg(millis(KEEP)).clone(),
            Self::Mode(tracking) => tracking.command(),
        }
    }
}
