//! Waiting until nobody serves what was changed.

use std::time::Duration;

use cached_core::{TierError, planted};
use redis::RedisResult;
use tokio::time::sleep;

use crate::{
    batch::{Batch, Replies},
    heartbeat::{KEEP_MEMBERS, number},
    link::Session,
    scripts::POKE,
    settings::millis,
    tier::RedisTier,
    watch::Attached,
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

impl RedisTier {
    /// Asks every process that is registered whether it has handled all changes up to now, and waits until each has
    /// said so or may not serve any more. This process has evicted what it changed before it asks. The connection
    /// must last.
    pub(crate) async fn confirm_all(&self) -> Result<(), TierError> {
        let Some(attached) = self.watch.attached() else { return Ok(()) };
        let session = self.session(self.settings.write_timeout).await?;
        let reach = attached.reach(self.settings.connect_timeout);
        let mut poke = self.poke(&session, attached, reach).await?;
        if planted!("confirm-without-waiting") {
            return Ok(());
        }
        let mut pause = SHORTEST_PAUSE;
        loop {
            let register = self.register(&session, attached).await?;
            if register.poke < poke {
                // It was lost with all that Redis had, so who has not read it yet never will.
                poke = self.poke(&session, attached, reach).await?;
            }
            let myself = self.member.is_registered().then_some(self.member.id.as_str());
            if register.has_handled(poke, myself, &self.member.id, millis(reach)) {
                return Ok(());
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks everybody to say what he has handled; returns the number that they will say.
    async fn poke(&self, session: &Session, attached: &Attached, reach: Duration) -> Result<u64, TierError> {
        let keep = millis(reach.saturating_add(KEEP_MEMBERS));
        let poke = Batch::of_script(&POKE, &attached.poke, keep);
        self.send(session, self.settings.write_timeout, poke, |mut replies| replies.next()).await
    }

    async fn register(&self, session: &Session, attached: &Attached) -> Result<Register, TierError> {
        let mut batch = Batch::of(redis::cmd("TIME"));
        let (mut poke, mut members) = (redis::cmd("GET"), redis::cmd("HGETALL"));
        batch.add(poke.arg(&attached.poke).clone());
        batch.add(members.arg(&attached.members).clone());
        self.send(session, self.settings.write_timeout, batch, Register::read).await
    }
}

/// The members, as they stand in Redis.
#[derive(Debug)]
struct Register {
    /// The server's clock, in milliseconds.
    now: u64,
    /// Nobody can say a greater number.
    poke: u64,
    fields: Vec<(String, String)>,
}

impl Register {
    fn read(mut replies: Replies) -> RedisResult<Self> {
        let (seconds, micros): (u64, u64) = replies.next()?;
        let now = seconds.saturating_mul(1000) + micros / 1000;
        Ok(Self { now, poke: number(replies.next()?), fields: replies.next()? })
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
        Register { now: 1000, poke: 7, fields }
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
}
