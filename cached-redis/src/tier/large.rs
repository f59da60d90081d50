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
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use cached_core::{
    Budget, Found, LARGE_VALUE, LeaseToken, Lookup, Record, Revision, Stored, TierError, TierFill,
};
use redis::RedisResult;

use crate::{
    connect::settings::millis,
    node::transfers::Patience,
    protocol::{
        batch::{Batch, Replies},
        commands::{LONGEST_SMALL, command, filled, generation_of, tail, whole},
        record::{self, TRAILER, Trailer},
    },
    tier::{RedisTier, generations},
    tracking::attachment::Attached,
};

/// The size of a large value of which nothing else is known.
pub(crate) const UNKNOWN: usize = usize::MAX;

/// How long a value stays apart that no script has stored, at least; and how many budgets.
const APART: Duration = Duration::from_secs(10);
const BUDGETS_APART: u32 = 4;

/// No string in Redis is longer.
const LONGEST: usize = 512 << 20;

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

/// What the two connections had under a key, where they had not the same.
#[derive(PartialEq, Eq)]
struct Different {
    place: usize,
    here: Option<Revision>,
    there: Option<Revision>,
}

impl Different {
    fn new(place: usize, head: &Head, body: &[u8]) -> Self {
        let stamp = |bytes: &[u8]| Trailer::of(bytes).map(|trailer| trailer.stamp);
        Self { place, here: stamp(&head.tail), there: stamp(body) }
    }
}

/// Something that is waited for beside something else.
struct Beside<F: Future> {
    future: Option<Pin<Box<F>>>,
    ended: Option<F::Output>,
}

impl<F: Future> Beside<F> {
    fn new(future: Option<F>) -> Self {
        Self { future: future.map(Box::pin), ended: None }
    }

    /// Waits for the other one, and goes on with this one meanwhile.
    async fn during<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        poll_fn(|cx| {
            let other = other.as_mut().poll(cx);
            if other.is_pending()
                && let Some(future) = &mut self.future
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                (self.ended, self.future) = (Some(output), None);
            }
            other
        })
        .await
    }

    async fn end(self) -> Option<F::Output> {
        match self.future {
            Some(future) => Some(future.await),
            None => self.ended,
        }
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
        asks: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        let patience = Patience::of_read(budget, self.way.settings().read_timeout);
        let (seen, differing) = self.try_large(asks, tags, patience).await?;
        let Some(patience) = patience.anew().filter(|_| !differing.is_empty()) else { return Ok(seen) };
        let (seen, again) = self.try_large(asks, tags, patience).await?;
        for different in again {
            if differing.contains(&different) {
                // It has not changed meanwhile: the two connections lead to different servers.
                self.way.renew_large(asks[different.place].key);
            }
        }
        Ok(seen)
    }

    /// The same; and where the two connections had different values, which the value may have been changed between.
    async fn try_large(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        patience: Patience,
    ) -> Result<(Found, Vec<Different>), TierError> {
        let longest = self.longest();
        let large: Vec<_> = (0..asks.len()).filter(|&place| asks[place].is_large()).collect();
        // Of a size that is not known, the main connection says it first.
        let is_known = large.iter().all(|&place| asks[place].size != UNKNOWN);
        // What is much longer than expected is not read before its length is known.
        let expected = |place: usize| asks[place].size.saturating_mul(2).max(LONGEST_SMALL).min(longest);
        let parts = || large.iter().map(|&place| (place, expected(place))).collect();
        let mut early = Beside::new(is_known.then(|| self.bodies(asks, parts(), patience)));
        let (read, line) = early.during(self.heads(asks, tags, patience)).await?;
        let (mut records, heads, generations) = read;
        let mut wanted = Vec::with_capacity(heads.len());
        for (place, head) in heads {
            match head.alone(longest) {
                Some(record) => records[place] = record,
                None => wanted.push((place, head)),
            }
        }
        let mut differing = Vec::new();
        if !matches!(early.ended, Some(Ok(_))) && patience.allows_more() {
            // It need not wait behind what is large, nor for a connection that does not bring it.
            let (small, rest): (Vec<_>, _) =
                wanted.into_iter().partition(|(_, head)| head.length <= LONGEST_SMALL);
            wanted = rest;
            let places: Vec<_> = small.iter().map(|(place, _)| *place).collect();
            // Without an answer, they are among those that could not be had in time.
            let found = early.during(self.small(asks, &places, patience)).await.ok();
            let mut found = found.into_iter().flatten();
            for (place, head) in small {
                let record = found.next();
                differing.extend(matches!(record, Some(None)).then(|| Different::new(place, &head, &[])));
                records[place] = record.flatten().unwrap_or_else(|| head.unread());
            }
        }
        let early = if wanted.is_empty() { None } else { early.end().await };
        // Over a connection on which others have not come in time, no more is asked for.
        let is_in_time = early.as_ref().is_none_or(Result::is_ok);
        let mut bodies = early.and_then(Result::ok).unwrap_or_default();
        if is_in_time {
            let is_missing = |(place, head): &&(usize, Head)| !is_known || head.length > expected(*place);
            let missing: Vec<_> =
                wanted.iter().filter(is_missing).map(|(place, head)| (*place, head.length)).collect();
            if !missing.is_empty()
                && let Some(patience) = patience.anew()
            {
                bodies.retain(|(place, _)| missing.iter().all(|(other, _)| other != place));
                bodies.extend(self.bodies(asks, missing, patience).await.unwrap_or_default());
            }
        }
        for (place, head) in wanted {
            let body = bodies.iter_mut().find(|(of, _)| *of == place).map(|(_, body)| mem::take(body));
            let different = body.as_ref().map(|body| Different::new(place, &head, body));
            let record = body.and_then(|body| head.with(body));
            if record.is_none() {
                differing.extend(different);
            }
            records[place] = record.unwrap_or_else(|| head.unread());
        }
        Ok((Found { records, generations, line }, differing))
    }

    /// What the main connection has: small values, the heads of large ones with their places, and the generations of tags.
    #[allow(clippy::type_complexity, reason = "it is taken apart at once")]
    async fn heads(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        patience: Patience,
    ) -> Result<((Vec<Record>, Vec<(usize, Head)>, Vec<Option<u64>>), Arc<cached_core::ChangeFeed>), TierError>
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
        self.read(batch, Budget::Exactly(patience.left()), read).await
    }

    /// What is under the keys at these places, which is small although others of the function are large. `None` if it is large by now.
    async fn small(
        &self,
        asks: &[Lookup<'_>],
        places: &[usize],
        patience: Patience,
    ) -> Result<Vec<Option<Record>>, TierError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        for &place in places {
            batch.add(command("PTTL", asks[place].key));
            batch.add(whole(asks[place].key));
        }
        let read = |mut replies: Replies| {
            let record = |_| {
                let (left, bytes) = (replies.next()?, replies.next::<Vec<u8>>()?);
                let is_small = bytes.len() <= LONGEST_SMALL;
                let open = |bytes| record::open_at(replies.clock(), left, bytes);
                Ok(is_small.then(|| filled(bytes).map_or(Record::Absent, open)))
            };
            places.iter().map(record).collect()
        };
        Ok(self.read(batch, Budget::Exactly(patience.left()), read).await?.0)
    }

    /// The strings under the keys at these places, over the connection for large values, of each no more than so many bytes.
    async fn bodies(
        &self,
        asks: &[Lookup<'_>],
        parts: Vec<(usize, usize)>,
        patience: Patience,
    ) -> Result<Vec<(usize, Vec<u8>)>, TierError> {
        let mut batch = Batch::new();
        for &(place, most) in &parts {
            let mut command = command("GETRANGE", asks[place].key);
            command.arg(0).arg(most.saturating_sub(1));
            batch.add(command);
        }
        let bytes = parts.iter().fold(0_usize, |sum, (_, most)| sum.saturating_add(*most));
        let answers = self.way.read_large(&batch, bytes, patience).await?;
        let read =
            |mut replies: Replies| parts.iter().map(|&(place, _)| Ok((place, replies.next()?))).collect();
        Ok(self.way.understand(answers, read)?.0)
    }

    /// Where a large value of this load is kept until it is stored: in the slot of its key. `None` if there is no such name, or no
    /// namespace to put it in.
    fn place_apart(&self, key: &str, token: LeaseToken) -> Option<String> {
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
        let bytes = values.iter().fold(0_usize, |sum, (_, bytes)| sum.saturating_add(bytes.len()));
        for (place, bytes) in values {
            let mut set = command("SET", &place);
            set.arg(bytes).arg("PX").arg(millis(apart));
            batch.add(set);
        }
        let answers = self.way.change_large(&batch, bytes, Patience::of_write(budget, own)).await?;
        let read = |mut replies: Replies| (0..count).try_for_each(|_| replies.next::<()>());
        self.way.understand(answers, read).map(|_| ())
    }
}
