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
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use cached_core::{Ask, Budget, LARGE_VALUE, Record, Seen, Stored, TierError, Token};
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

/// So many large values may be asked for at the same time, and as many be stored. What comes after so many others would come
/// too late.
const MOST: usize = 32;

/// How long a value stays apart that no script has stored.
const APART: Duration = Duration::from_secs(60);

/// How often the two connections may find different values.
const TRIES: usize = 3;

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
        max_in_flight: main.max_in_flight.min(MOST),
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
}

impl Head {
    fn read(replies: &mut Replies) -> RedisResult<Self> {
        let (left, length) = (replies.next()?, replies.next()?);
        Ok(Self { left, length, tail: replies.next()?, clock: replies.clock() })
    }

    /// The record, if it can be told without the value: there is none, or it is not one of this cache.
    fn alone(&self, longest: usize) -> Option<Record> {
        if self.tail.is_empty() {
            return Some(Record::Absent);
        }
        let trailer = Trailer::of(&self.tail);
        if trailer.is_some() && self.length <= longest {
            return None;
        }
        // Nothing reads it, and a load may take its place.
        let (remaining, stamp) = (record::remaining(self.left), trailer.map_or(0, |trailer| trailer.stamp));
        Some(Record::Value(Stored { bytes: Vec::new(), remaining, stamp }))
    }

    /// The record in these bytes, if they are what was under the key when this was read.
    fn with(&self, bytes: Vec<u8>) -> Option<Record> {
        let (here, there) = (Trailer::of(&self.tail)?, Trailer::of(&bytes)?);
        // The lease over a value may have been renewed.
        let is_same = here.stamp == there.stamp && (here.stamp != 0 || bytes.ends_with(&self.tail));
        if !is_same {
            return None;
        }
        let is_dated = there.has_end() || !there.has_value(bytes.len());
        match self.clock.filter(|_| is_dated) {
            Some(now) => record::open(bytes, now),
            None => Some(record::open_with_life(self.left, Some(bytes))),
        }
    }
}

impl RedisTier {
    /// The longest string that this cache stores.
    fn longest(&self) -> usize {
        let most = self.way.attached().map_or(LONGEST, Attached::max_bytes);
        most.saturating_add(TRAILER).min(LONGEST)
    }

    /// What is under each key, where some of the values are expected to be large.
    pub(crate) async fn look_at_large(
        &self,
        asks: &[Ask<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Seen, TierError> {
        for _ in 0..TRIES {
            if let Some(seen) = self.try_large(asks, tags, budget).await? {
                return Ok(seen);
            }
        }
        Err(TierError::Unavailable)
    }

    /// The same; `None` if a value has changed between the two questions about it.
    async fn try_large(
        &self,
        asks: &[Ask<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Option<Seen>, TierError> {
        let longest = self.longest();
        let large: Vec<_> = (0..asks.len()).filter(|&place| asks[place].is_large()).collect();
        // Of a size that is not known, the main connection says it first.
        let is_known = large.iter().all(|&place| asks[place].size != UNKNOWN);
        let expected = large.iter().fold(0_usize, |sum, &place| sum.saturating_add(asks[place].size));
        let mut early = is_known.then(|| Box::pin(self.bodies(asks, &large, longest, expected, budget)));
        let mut bodies = None;
        let (read, line) = {
            let mut heads = pin!(self.heads(asks, tags, budget));
            poll_fn(|cx| {
                let heads = heads.as_mut().poll(cx);
                if heads.is_pending()
                    && bodies.is_none()
                    && let Some(early) = &mut early
                    && let Poll::Ready(ended) = early.as_mut().poll(cx)
                {
                    bodies = Some(ended);
                }
                heads
            })
            .await?
        };
        let (mut records, heads, generations) = read;
        let is_wanted =
            |place: &usize| heads.iter().any(|(of, head)| of == place && head.alone(longest).is_none());
        let wanted: Vec<_> = large.iter().copied().filter(|place| is_wanted(place)).collect();
        let (asked, bodies) = match (bodies, early) {
            _ if wanted.is_empty() => (&[][..], Vec::new()),
            (Some(bodies), _) => (&large[..], bodies?),
            (None, Some(early)) => (&large[..], early.await?),
            (None, None) => {
                let length = heads.iter().filter(|(place, _)| wanted.contains(place));
                let length = length.fold(0_usize, |sum, (_, head)| sum.saturating_add(head.length));
                let bodies = self.bodies(asks, &wanted, longest, length, budget).await?;
                (&wanted[..], bodies)
            }
        };
        let mut bodies: Vec<_> = asked.iter().zip(bodies).collect();
        for (place, head) in &heads {
            let record = head.alone(longest).or_else(|| {
                let body = bodies.iter_mut().find(|(of, _)| *of == place)?;
                head.with(std::mem::take(&mut body.1))
            });
            let Some(record) = record else { return Ok(None) };
            records[*place] = record;
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
                    None => record::open_with_life(replies.next()?, filled(replies.next()?)),
                });
            }
            Ok((records, heads, generations))
        };
        self.read(batch, budget, read).await
    }

    /// The strings under the keys at these places, over the connection for large values. They are about so long together.
    async fn bodies(
        &self,
        asks: &[Ask<'_>],
        places: &[usize],
        longest: usize,
        length: usize,
        budget: Budget,
    ) -> Result<Vec<Vec<u8>>, TierError> {
        let mut batch = Batch::new();
        for &place in places {
            let mut command = command("GETRANGE", asks[place].key);
            command.arg(0).arg(longest - 1);
            batch.add(command);
        }
        let own = self.way.settings().read_timeout;
        let budget = match budget {
            Budget::Exactly(budget) => budget,
            budget => budget.of_read(own).saturating_add(transfer(length)),
        };
        let answers = self.way.read_large(&batch, budget).await?;
        let read = |mut replies: Replies| places.iter().map(|_| replies.next()).collect();
        Ok(self.way.understand(answers, read)?.0)
    }

    /// Where a large value of this load is kept until it is stored: in the slot of its key. `None` if there is no such name, or no
    /// namespace to put it in.
    pub(crate) fn place_apart(&self, key: &str, token: Token) -> Option<String> {
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

    /// Brings values to their places. Their scripts come after that.
    pub(crate) async fn bring(
        &self,
        values: Vec<(String, Vec<u8>)>,
        budget: Budget,
    ) -> Result<(), TierError> {
        let (count, mut batch) = (values.len(), Batch::new());
        let length = values.iter().fold(0_usize, |sum, (_, bytes)| sum.saturating_add(bytes.len()));
        for (place, bytes) in values {
            let mut set = command("SET", &place);
            set.arg(bytes).arg("PX").arg(millis(APART));
            batch.add(set);
        }
        let own = self.way.settings().write_timeout;
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
