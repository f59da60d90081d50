//! Push self-test: verifies that pushes of the server arrive.
//!
//! A connection may be sound while a proxy that understands only replies swallows its pushes. A server may
//! also accept `CLIENT TRACKING`, but push nothing in the mode in use, or nothing for keys read by a script.
//! In these cases a reply proves nothing about changes. So each heartbeat changes a key of its own that was
//! read in the mode of the connection, and requires the push. At the start of a connection, and every few
//! seconds, the key is read by a script, as values are.
//!
//! The invariant is the order read, change, push, reply: the server must push each change before it answers
//! the last command of the batch. `trial` runs the same test on a new connection.

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

/// Lifetime of the key after its last change, so that it outlives no process for long.
const KEY_TTL: Duration = Duration::from_secs(60);

/// Script that reads the key. It is sent with its source: if the server did not know it, a retry would read
/// the key too late.
const READ_SCRIPT: &str = "return redis.call('STRLEN', KEYS[1])";

/// Self-test key of one connection.
#[derive(Debug)]
pub(crate) struct Echo {
    /// Set if the user may run scripts, as far as is known. If not, no value is read by a script either.
    may_run_scripts: bool,
    /// Time of the last read after the last change. Only such a read makes the server push the next change.
    read_at: Option<Instant>,
}

/// Commands of one self-test, in order.
#[derive(Debug)]
pub(crate) struct SelfTest {
    steps: Vec<SelfTestStep>,
    sent_at: Instant,
    was_read: bool,
}

#[derive(Clone, Debug)]
enum SelfTestStep {
    ReadByScript,
    ReadByCommand,
    Change,
    Mode(Tracking),
}

impl Default for Echo {
    fn default() -> Self {
        Self { may_run_scripts: true, read_at: None }
    }
}

impl Echo {
    /// Returns whether the user may run scripts, as far as is known.
    pub(crate) fn runs_scripts(&self) -> bool {
        self.may_run_scripts
    }

    /// Records that the change was pushed: the server pushes no further one until the key is read again.
    pub(crate) fn record_push(&mut self) {
        self.read_at = None;
    }

    /// Adds commands after which the server must push a change of this key before it answers the last of
    /// them.
    ///
    /// With `is_thorough`, a script reads the key, so from then on the push also covers reads by scripts.
    pub(crate) fn add_self_test(
        &self,
        batch: &mut Batch,
        tracking: &Tracking,
        key: &str,
        is_thorough: bool,
        now: Instant,
    ) -> SelfTest {
        // Half of the lifetime, since the key may have expired in the meantime.
        let is_known = self.read_at.is_some_and(|read_at| now < read_at + KEY_TTL / 2);
        let was_read = is_known && !tracking.is_noloop();
        let mut steps = Vec::with_capacity(6);
        let read_by_script = |steps: &mut Vec<SelfTestStep>| {
            if planted!("proof-by-command") {
                return steps.push(SelfTestStep::ReadByCommand);
            }
            steps.push(SelfTestStep::ReadByScript);
            if !self.may_run_scripts {
                steps.push(SelfTestStep::ReadByCommand);
            }
        };
        if planted!("proof-in-another-mode") && tracking.is_noloop() {
            steps.push(SelfTestStep::Mode(Tracking::All));
        }
        if !was_read {
            read_by_script(&mut steps);
        }
        if tracking.is_noloop() {
            // In this mode the server pushes the connection's own changes, also of keys read under `NOLOOP`.
            // No read follows the change: it would be in another mode than the read before it.
            steps.extend([
                SelfTestStep::Mode(Tracking::All),
                SelfTestStep::Change,
                SelfTestStep::Mode(tracking.clone()),
            ]);
        } else {
            steps.push(SelfTestStep::Change);
            // Server versions differ in whether the push precedes or follows the reply to the changing
            // command, so another command must follow it.
            if is_thorough {
                read_by_script(&mut steps);
            } else {
                steps.push(SelfTestStep::ReadByCommand);
            }
        }
        for step in &steps {
            batch.add(step.command(key));
        }
        SelfTest { steps, sent_at: now, was_read }
    }

    /// Returns whether the server must have pushed the change.
    ///
    /// A server that refuses a command has nothing to push, and is trusted: it may be full, or the user may
    /// lack the right. Fails if the refusal is due to the state of the server.
    pub(crate) fn expects_push(
        &mut self,
        replies: &mut Replies,
        self_test: &SelfTest,
    ) -> Result<bool, Verdict> {
        let SelfTest { ref steps, sent_at, mut was_read } = *self_test;
        let (mut has_changed, mut is_complete, mut worst) = (false, true, None);
        self.read_at = None;
        // All replies must be consumed, even after an error.
        for step in steps {
            let reply: RedisResult<Value> = replies.next();
            let is_ok = reply.is_ok();
            if let Err(error) = reply {
                match Failure::from(error).verdict {
                    Verdict::Sound => {}
                    verdict => worst = worst.or(Some(verdict)),
                }
            }
            if matches!(step, SelfTestStep::ReadByScript) {
                self.may_run_scripts = is_ok;
            }
            match step {
                SelfTestStep::ReadByScript | SelfTestStep::ReadByCommand if !has_changed => was_read |= is_ok,
                SelfTestStep::ReadByScript | SelfTestStep::ReadByCommand => {
                    self.read_at = self.read_at.or(is_ok.then_some(sent_at));
                }
                SelfTestStep::Change => (has_changed, is_complete) = (true, is_complete && is_ok),
                SelfTestStep::Mode(_) => is_complete &= is_ok,
            }
        }
        match worst {
            Some(verdict) => Err(verdict),
            None => Ok(was_read && is_complete),
        }
    }
}

impl SelfTestStep {
    fn command(&self, key: &str) -> redis::Cmd {
        match self {
            Self::ReadByScript => redis::cmd("EVAL").arg(READ_SCRIPT).arg(1).arg(key).clone(),
            Self::ReadByCommand => redis::cmd("STRLEN").arg(key).clone(),
            Self::Change => redis::cmd("SET").arg(key).arg(1).arg("PX").arg(millis(KEY_TTL)).clone(),
            Self::Mode(tracking) => tracking.command(),
        }
    }
}
