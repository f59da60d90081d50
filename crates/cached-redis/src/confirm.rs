//! Waiting until nobody serves what was changed.

use std::time::Duration;

use cached_core::{TierError, planted};
use redis::RedisResult;
use tokio::time::sleep;

use crate::{
    batch::{Batch, Replies},
    heartbeat::KEEP_MEMBERS,
    scripts::{FORGET, POKE},
    settings::millis,
    tier::RedisTier,
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How long after a member may not serve any more it is forgotten, in milliseconds. It may be about to come back.
const FORGET_AFTER: u64 = 60_000;

impl RedisTier {
    /// Asks every process that is registered whether it has handled all changes up to now, and waits until each has
    /// said so or may not serve any more. This process has evicted what it changed before it asks. The connection
    /// must last.
    pub(crate) async fn confirm_all(&self) -> Result<(), TierError> {
        let Some(attached) = self.watch.attached() else { return Ok(()) };
        let budget = self.settings.write_timeout;
        let session = self.session(budget).await?;
        let reach = attached.reach(self.settings.connect_timeout);
        let keep = millis(reach.saturating_add(KEEP_MEMBERS));
        let poke = Batch::of_script(&POKE, &attached.poke, keep);
        let poke = self.send(&session, budget, poke, |mut replies| replies.next()).await?;
        if planted!("confirm-without-waiting") {
            return Ok(());
        }
        let mut pause = SHORTEST_PAUSE;
        loop {
            let mut batch = Batch::of(redis::cmd("TIME"));
            let mut members = redis::cmd("HGETALL");
            members.arg(&attached.members);
            batch.add(members);
            let register = self.send(&session, budget, batch, Register::read).await?;
            let myself = self.member.is_registered().then_some(self.member.id.as_str());
            if register.has_handled(poke, myself, &self.member.id, millis(reach)) {
                let forgotten = register.forgotten();
                if !forgotten.is_empty() {
                    let forget = Batch::of_script(&FORGET, &attached.members, forgotten);
                    // What is not forgotten now will be another time.
                    let _ = self.send(&session, budget, forget, |mut replies| replies.next::<u64>()).await;
                }
                return Ok(());
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The members, as they stand in Redis.
#[derive(Debug)]
struct Register {
    /// The server's clock, in milliseconds.
    now: u64,
    fields: Vec<(String, String)>,
}

impl Register {
    fn read(mut replies: Replies) -> RedisResult<Self> {
        let (seconds, micros): (u64, u64) = replies.next()?;
        Ok(Self { now: seconds.saturating_mul(1000) + micros / 1000, fields: replies.next()? })
    }

    /// Whether every member but the asker has handled `poke` or may not serve any more. `expected` is the asker, if
    /// he stands in the register unless that was lost; then it is not known who else did, and `reach` must pass, in
    /// milliseconds.
    fn has_handled(&self, poke: u64, expected: Option<&str>, asker: &str, reach: u64) -> bool {
        let is_there = |id| self.fields.iter().any(|(field, _)| field == id);
        // His next heartbeat says since when it is lost.
        if expected.is_some_and(|id| !is_there(id)) {
            return false;
        }
        self.fields.iter().filter(|(field, _)| field != asker).all(|(field, value)| {
            let standing = standing(field, value, reach);
            standing.is_none_or(|(until, handled)| until < self.now || handled >= poke)
        })
    }

    /// The fields of members that have not been there for long, each with its value.
    fn forgotten(&self) -> Vec<&str> {
        let is_over = |(field, value): &&(String, String)| {
            standing(field, value, 0).is_none_or(|(until, _)| until.saturating_add(FORGET_AFTER) < self.now)
        };
        self.fields.iter().filter(is_over).flat_map(|(field, value)| [field.as_str(), value]).collect()
    }
}

/// Until when, and what was handled. Who was in the register before it was lost has handled nothing.
fn standing(field: &str, value: &str, reach: u64) -> Option<(u64, u64)> {
    if field == "lost" {
        return Some((value.parse::<u64>().ok()?.saturating_add(reach), 0));
    }
    let (until, handled) = value.split_once(':')?;
    Some((until.parse().ok()?, handled.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(fields: &[(&str, &str)]) -> Register {
        let fields = fields.iter().map(|&(field, value)| (field.to_owned(), value.to_owned())).collect();
        Register { now: 1000, fields }
    }

    fn has_handled(fields: &[(&str, &str)]) -> bool {
        register(fields).has_handled(7, Some("me"), "me", 100)
    }

    #[test]
    fn everybody_else_must_have_handled_it_or_be_gone() {
        assert!(has_handled(&[("me", "2000:0")]));
        assert!(has_handled(&[("me", "2000:0"), ("a", "2000:7"), ("b", "999:0"), ("c", "2000:8")]));
        assert!(!has_handled(&[("me", "2000:0"), ("a", "2000:7"), ("b", "2000:6")]));
        assert!(!has_handled(&[("me", "2000:0"), ("b", "1000:6")]));
    }

    #[test]
    fn a_register_that_was_lost_is_not_believed() {
        assert!(!has_handled(&[]));
        assert!(!has_handled(&[("a", "2000:7")]));
        assert!(!has_handled(&[("me", "2000:0"), ("lost", "901")]));
        assert!(has_handled(&[("me", "2000:0"), ("lost", "899")]));
        assert!(register(&[]).has_handled(7, None, "me", 100), "whoever never registered misses nothing");
    }

    #[test]
    fn what_cannot_be_read_is_nobody() {
        assert!(has_handled(&[("me", "2000:0"), ("a", ""), ("b", "x:y"), ("c", "2000"), ("lost", "x")]));
    }

    #[test]
    fn those_who_are_gone_for_long_are_forgotten() {
        let mut register = register(&[("a", "900:7"), ("b", "2000000:1"), ("lost", "800"), ("c", "?")]);
        assert_eq!(register.forgotten(), ["c", "?"]);
        register.now = 1_000_000;
        assert_eq!(register.forgotten(), ["a", "900:7", "lost", "800", "c", "?"]);
    }
}
