//! Large values, which have a connection of their own: nothing small waits behind them.
//!
//! That connection only carries bytes. What is promised of a value stands on the other one, as for a small value:
//!
//! * **To read** one, the main connection asks for its trailer, and is told from then on when the key changes; at the same time
//!   the other one asks for all of it. The stamp in the trailer names a fill. If both have the same, the bytes are those that
//!   were there when the trailer was read, whichever was first.
//! * **To store** one, it is brought to a key of its own. Then a script on the main connection compares the lease, and renames
//!   that key.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use cached_core::{Ask, Budget, LARGE_VALUE, Record, Seen, Stored, TierError, TierFill, Token};
use redis::RedisResult;

use crate::{
    batch::{Batch, Replies},
    record::{self, TRAILER, Trailer},
    settings::{Settings, millis},
    tier::{RedisTier, command, filled, generation_of, generations, tail, whole},
    watch::Attached,
};

/// A string that is longer is not read over the main connection.
pub(crate) const LONGEST_SMALL: usize = LARGE_VALUE + TRAILER;

/// The size of a large value of which nothing else is known.
pub(crate) const UNKNOWN: usize = usize::MAX;

/// The bytes in a second that a connection carries at least. What a large value takes at this rate is added to its budget,
const RATE: usize = 16 << 20;

/// but no more than this: about what a call waits for a value that is dear.
const LONGEST_TRANSFER: Duration = Duration::from_secs(2);

/// How long a value stays apart that no script has stored, at least; and how many budgets.
const APART: Duration = Duration::from_secs(10);
const BUDGETS_APART: u32 = 4;

/// How often the two connections may find different values.
const TRIES: usize = 2;

/// No string in Redis is longer.
const LONGEST: usize = 512 << 20;

/// How long these bytes are on their way.
fn transfer(bytes: usize) -> Duration {
    let millis = bytes.saturating_mul(1000) / RATE;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)).min(LONGEST_TRANSFER)
}

/// The settings of a connection for large values.
pub(crate) fn settings(main: &Settings) -> Settings {
    Settings {
        // A check may have to wait for what was asked before.
        check_timeout: main.check_timeout.saturating_add(2 * LONGEST_TRANSFER),
        ..main.clone()
    }
}

/// What the main connection has to say of a large value.
struct Head {
    /// What `PTTL` has answered before the rest.
    left: i64,
    length: usize,
    tail: Vec<u8>,
    clock: Option<u64>,
    /// When it was said.
    at: Instant,
}

impl Head {
    fn read(replies: &mut Replies) -> RedisResult<Self> {
        let (left, length) = (replies.next()?, replies.next()?);
        Ok(Self { left, length, tail: replies.next()?, clock: replies.clock(), at: Instant::now() })
    }

    /// What the clock of the server shows now at most.
    fn now(&self) -> Option<u64> {
        Some(self.clock?.saturating_add(self.passed()))
    }

    /// What `PTTL` would answer by now.
    fn left(&self) -> i64 {
        let passed = i64::try_from(self.passed()).unwrap_or(i64::MAX);
        if self.left > 0 { (self.left - passed).max(1) } else { self.left }
    }

    /// How many milliseconds have passed since then.
    fn passed(&self) -> u64 {
        u64::try_from(self.at.elapsed().as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
    }

    /// The record, if it can be told without the value: there is none, or it is not one of this cache.
    fn alone(&self, longest: usize) -> Option<Record> {
        if self.tail.is_empty() {
            return Some(Record::Absent);
        }
        if Trailer::of(&self.tail).is_none() || self.length > longest {
            return Some(self.unread());
        }
        // The trailer is all.
        if self.length == self.tail.len() { self.with(self.tail.clone()) } else { None }
    }

    /// There is a value that this process cannot read: a load may take its place.
    fn unread(&self) -> Record {
        let stamp = Trailer::of(&self.tail).map_or(0, |trailer| trailer.stamp);
        Record::Value(Stored { bytes: Vec::new(), remaining: record::remaining(self.left()), stamp })
    }

    /// The record in these bytes, if they are what was under the key when this was read.
    fn with(&self, bytes: Vec<u8>) -> Option<Record> {
        let (here, there) = (Trailer::of(&self.tail)?, Trailer::of(&bytes)?);
        // The lease over a value may have been renewed.
        let is_same = here.stamp == there.stamp && (here.stamp != 0 || bytes.ends_with(&self.tail));
        if !is_same {
            return None;
        }
        Some(record::open_at(self.now(), self.left(), bytes))
    }
}

/// A large value that was brought to a place of its own.
pub(crate) struct Apart {
    pub(crate) place: String,
    /// With room for a trailer.
    pub(crate) length: usize,
}

impl RedisTier {
    /// The longest string that this cache stores.
    fn longest(&self) -> usize {
        let most = self.way.attached().map_or(LONGEST, Attached::max_bytes);
        most.saturating_add(TRAILER).min(LONGEST)
    }

    /// What is under each key, where some of the values are expected to be large. A value that cannot be had in time is one that
    /// this process cannot read.
    pub(crate) async fn look_at_large(
        &self,
        asks: &[Ask<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Seen, TierError> {
        let (began, patience) = (Instant::now(), self.patience(budget, UNKNOWN));
        let mut tries = 0;
        loop {
            tries += 1;
            let is_last = tries == TRIES || began.elapsed() >= patience;
            if let Some(seen) = self.try_large(asks, tags, budget, is_last).await? {
                return Ok(seen);
            }
        }
    }

    /// How long so many bytes are waited for.
    fn patience(&self, budget: Budget, length: usize) -> Duration {
        match budget {
            Budget::Exactly(budget) => budget,
            budget => budget.of_read(self.way.settings().read_timeout).saturating_add(transfer(length)),
        }
    }

    /// The same; `None` if a value has changed between the two questions about it, unless this try `is_last`.
    async fn try_large(
        &self,
        asks: &[Ask<'_>],
        tags: &[String],
        budget: Budget,
        is_last: bool,
    ) -> Result<Option<Seen>, TierError> {
        let longest = self.longest();
        let large: Vec<_> = (0..asks.len()).filter(|&place| asks[place].is_large()).collect();
        // Of a size that is not known, the main connection says it first.
        let is_known = large.iter().all(|&place| asks[place].size != UNKNOWN);
        // What is much longer than expected is not read before its length is known.
        let expected = |place: usize| asks[place].size.saturating_mul(2).max(LONGEST_SMALL).min(longest);
        let mut early = is_known.then(|| {
            let length = large.iter().fold(0_usize, |sum, &place| sum.saturating_add(asks[place].size));
            let parts = large.iter().map(|&place| (place, expected(place))).collect();
            Box::pin(self.bodies(asks, parts, length, budget))
        });
        let mut ended = None;
        let (read, line) = {
            let mut heads = pin!(self.heads(asks, tags, budget));
            poll_fn(|cx| {
                let heads = heads.as_mut().poll(cx);
                if heads.is_pending()
                    && ended.is_none()
                    && let Some(early) = &mut early
                    && let Poll::Ready(bodies) = early.as_mut().poll(cx)
                {
                    ended = Some(bodies);
                }
                heads
            })
            .await?
        };
        let (mut records, heads, generations) = read;
        let mut wanted = Vec::with_capacity(heads.len());
        for (place, head) in heads {
            match head.alone(longest) {
                Some(record) => records[place] = record,
                None => wanted.push((place, head)),
            }
        }
        let mut bodies = match (ended, early) {
            _ if wanted.is_empty() => Ok(Vec::new()),
            (Some(bodies), _) => bodies,
            (None, Some(early)) => early.await,
            (None, None) => Ok(Vec::new()),
        };
        if let Ok(found) = &mut bodies {
            let is_missing = |(place, head): &&(usize, Head)| !is_known || head.length > expected(*place);
            let missing: Vec<_> = wanted.iter().filter(is_missing).collect();
            if !missing.is_empty() {
                let length = missing.iter().fold(0_usize, |sum, (_, head)| sum.saturating_add(head.length));
                let parts: Vec<_> = missing.iter().map(|(place, _)| (*place, longest)).collect();
                found.retain(|(place, _)| parts.iter().all(|(other, _)| other != place));
                match self.bodies(asks, parts, length, budget).await {
                    Ok(more) => found.extend(more),
                    Err(error) => bodies = Err(error),
                }
            }
        }
        let (mut bodies, mut has_changed) = (bodies.unwrap_or_default(), false);
        for (place, head) in wanted {
            let body = bodies.iter_mut().find(|(of, _)| *of == place).map(|(_, body)| mem::take(body));
            let record = body.map(|body| head.with(body));
            has_changed |= matches!(record, Some(None));
            records[place] = record.flatten().unwrap_or_else(|| head.unread());
        }
        if has_changed {
            if !is_last {
                return Ok(None);
            }
            // The two connections may lead to different servers.
            self.way.renew_large();
        }
        Ok(Some(Seen { records, generations, line }))
    }

    /// What the main connection has: small values, the heads of large ones with their places, and the generations of tags.
    #[allow(clippy::type_complexity, reason = "it is taken apart at once")]
    async fn heads(
        &self,
        asks: &[Ask<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<((Vec<Record>, Vec<(usize, Head)>, Vec<Option<u64>>), Arc<cached_core::Line>), TierError>
    {
        let mut batch = Batch::new();
        for tag in tags {
            batch.add(generation_of(tag));
        }
        for ask in asks {
            if ask.known.is_none() {
                // The other order would give a value the life of its successor.
                batch.add(command("PTTL", ask.key));
            }
            if ask.is_large() {
                batch.add(command("STRLEN", ask.key));
            }
            batch.add(if ask.known.is_some() || ask.is_large() { tail(ask.key) } else { whole(ask.key) });
        }
        let read = |mut replies: Replies| {
            let generations = generations(&mut replies, tags)?;
            let (mut records, mut heads) = (Vec::with_capacity(asks.len()), Vec::new());
            for (place, ask) in asks.iter().enumerate() {
                records.push(match ask.known {
                    Some(known) => record::compare(&replies.next::<Vec<u8>>()?, known),
                    None if ask.is_large() => {
                        heads.push((place, Head::read(&mut replies)?));
                        Record::Absent
                    }
                    None => {
                        let left = replies.next()?;
                        let bytes = filled(replies.next()?);
                        let open = |bytes| record::open_at(replies.clock(), left, bytes);
                        bytes.map_or(Record::Absent, open)
                    }
                });
            }
            Ok((records, heads, generations))
        };
        self.read(batch, budget, read).await
    }

    /// The strings under the keys at these places, over the connection for large values, of each no more than so many bytes. They
    /// are about so long together.
    async fn bodies(
        &self,
        asks: &[Ask<'_>],
        parts: Vec<(usize, usize)>,
        length: usize,
        budget: Budget,
    ) -> Result<Vec<(usize, Vec<u8>)>, TierError> {
        let mut batch = Batch::new();
        for &(place, most) in &parts {
            let mut command = command("GETRANGE", asks[place].key);
            command.arg(0).arg(most.saturating_sub(1));
            batch.add(command);
        }
        let answers = self.way.read_large(&batch, self.patience(budget, length)).await?;
        let read =
            |mut replies: Replies| parts.iter().map(|&(place, _)| Ok((place, replies.next()?))).collect();
        Ok(self.way.understand(answers, read)?.0)
    }

    /// Where a large value of this load is kept until it is stored: in the slot of its key. `None` if there is no such name, or no
    /// namespace to put it in.
    fn place_apart(&self, key: &str, token: Token) -> Option<String> {
        let reserved = &self.way.attached()?.reserved;
        let number = u128::from_be_bytes(token.0);
        // What stands in the first braces decides on the slot. See "Redis cluster specification".
        let has_tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let tag = match has_tag {
            Some((tag, _)) if !tag.is_empty() => tag,
            None if !key.contains(['{', '}']) => key,
            _ => return None,
        };
        // Should the namespace have braces, those of the key are the same.
        Some(format!("{reserved}large:{{{tag}}}:{number:032x}"))
    }

    /// Brings the values of these fills that are large to places of their own. Returns those, and how long it took. The scripts that
    /// store the values come after that.
    pub(crate) async fn bring_large(
        &self,
        fills: &mut [TierFill],
        budget: Budget,
    ) -> Result<(Vec<Option<Apart>>, Duration), TierError> {
        let (began, mut values) = (Instant::now(), Vec::new());
        let mut take = |TierFill { key, token, bytes, .. }: &mut TierFill| {
            let is_large = bytes.len() > LARGE_VALUE;
            let place = is_large.then(|| self.place_apart(key, *token)).flatten()?;
            let mut bytes = mem::take(bytes);
            bytes.resize(bytes.len() + TRAILER, 0);
            let length = bytes.len();
            values.push((place.clone(), bytes));
            Some(Apart { place, length })
        };
        let places = fills.iter_mut().map(&mut take).collect();
        if !values.is_empty() {
            self.bring(values, budget).await?;
        }
        Ok((places, began.elapsed()))
    }

    async fn bring(&self, values: Vec<(String, Vec<u8>)>, budget: Budget) -> Result<(), TierError> {
        let (count, mut batch) = (values.len(), Batch::new());
        let own = self.way.settings().write_timeout;
        let apart = APART.max(own.saturating_mul(BUDGETS_APART));
        let length = values.iter().fold(0_usize, |sum, (_, bytes)| sum.saturating_add(bytes.len()));
        for (place, bytes) in values {
            let mut set = command("SET", &place);
            set.arg(bytes).arg("PX").arg(millis(apart));
            batch.add(set);
        }
        let budget = budget.of_write(own).saturating_add(transfer(length));
        let answers = self.way.change_large(&batch, budget).await?;
        let read = |mut replies: Replies| (0..count).try_for_each(|_| replies.next::<()>());
        self.way.understand(answers, read).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_follows_the_bytes_up_to_a_limit() {
        assert_eq!(transfer(0), Duration::ZERO);
        assert_eq!(transfer(RATE / 4), Duration::from_millis(250));
        assert_eq!(transfer(UNKNOWN), LONGEST_TRANSFER);
    }
}
