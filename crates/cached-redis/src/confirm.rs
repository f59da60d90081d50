//! Waiting until nobody serves what was changed.

use std::{iter, slice, sync::Arc, time::Duration};

use cached_core::{Line, TierError, planted};
use redis::RedisResult;
use tokio::time::sleep;

use crate::{
    batch::{Batch, Replies},
    heartbeat::{KEEP_MEMBERS, number},
    scripts::{POKE, REGISTER},
    settings::millis,
    tier::RedisTier,
    watch::Post,
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

impl RedisTier {
    /// Asks every process that is registered whether it has handled all changes up to now, and waits until each has
    /// said so or may not serve any more. This process has evicted what it changed before it asks. The connections
    /// must last.
    pub(crate) async fn confirm_all(&self) -> Result<(), TierError> {
        let Some(attached) = self.way.attached() else { return Ok(()) };
        let reach = attached.reach(self.way.settings().connect_timeout);
        let mut open = self.way.posts();
        let (mut pokes, line) = self.poke(&open, reach).await?;
        if planted!("confirm-without-waiting") {
            return Ok(());
        }
        let mut pause = SHORTEST_PAUSE;
        loop {
            let (registers, now) = self.registers(&open).await?;
            if !line.covers(&now) {
                return Err(TierError::Unavailable);
            }
            let mut waiting = Vec::new();
            for ((post, poke), register) in open.into_iter().zip(pokes).zip(registers) {
                if register.poke < poke {
                    // It was lost with all that Redis had, so who has not read it yet never will.
                    let (again, _) = self.poke(slice::from_ref(&post), reach).await?;
                    waiting.push((post, again.first().copied().unwrap_or(poke)));
                    continue;
                }
                let myself = self.way.member_at(post.number);
                let is_own = |id: &str| self.way.is_own(id);
                if !register.has_handled(poke, myself.as_deref(), is_own, millis(reach)) {
                    waiting.push((post, poke));
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            (open, pokes) = waiting.into_iter().unzip();
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks everybody to say what he has handled; returns the numbers that they will say.
    async fn poke(&self, posts: &[Post], reach: Duration) -> Result<(Vec<u64>, Arc<Line>), TierError> {
        let keep = millis(reach.saturating_add(KEEP_MEMBERS));
        let mut batch = Batch::new();
        for post in posts {
            batch.add_script(&POKE, &post.poke, keep);
        }
        self.change(batch, |mut replies| posts.iter().map(|_| replies.next()).collect()).await
    }

    async fn registers(&self, posts: &[Post]) -> Result<(Vec<Register>, Arc<Line>), TierError> {
        let mut batch = Batch::new();
        for post in posts {
            batch.add(redis::cmd("GET").arg(&post.poke).clone());
            batch.add_script(&REGISTER, &post.members, &[""; 0]);
        }
        let read = |mut replies: Replies| posts.iter().map(|_| Register::read(&mut replies)).collect();
        self.change(batch, read).await
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
    fn read(replies: &mut Replies) -> RedisResult<Self> {
        let poke = number(replies.next()?);
        let (now, fields): (u64, Vec<String>) = replies.next()?;
        let mut fields = fields.into_iter();
        let pairs = iter::from_fn(|| fields.next().zip(fields.next()));
        Ok(Self { now, poke, fields: pairs.collect() })
    }

    /// Whether every member but the asker has handled `poke` or may not serve any more. `expected` is the asker, if
    /// he stands in the register unless that was lost; then it is not known who else did, and `reach` must pass, in
    /// milliseconds.
    fn has_handled(
        &self,
        poke: u64,
        expected: Option<&str>,
        is_asker: impl Fn(&str) -> bool,
        reach: u64,
    ) -> bool {
        let is_there = |id| self.fields.iter().any(|(field, _)| field == id);
        // His next heartbeat says since when it is lost.
        if expected.is_some_and(|id| !is_there(id)) {
            return false;
        }
        self.fields.iter().filter(|(field, _)| !is_asker(field)).all(|(field, value)| {
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
        register(fields).has_handled(7, Some("me"), |id| id == "me", 100)
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
        assert!(
            register(&[]).has_handled(7, None, |id| id == "me", 100),
            "whoever never registered misses nothing"
        );
    }

    #[test]
    fn what_cannot_be_read_is_nobody() {
        assert!(has_handled(&[("me", "2000:0"), ("a", ""), ("b", "x:y"), ("c", "2000"), ("lost", "x")]));
    }
}
