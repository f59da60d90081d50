//! Lookups and fills of large values, which have a connection of their own: nothing small waits behind them.
//!
//! That connection only carries bytes and is not tracked. All guarantees come from the main connection, as
//! for a small value:
//!
//! * **Lookup.** The main connection reads the trailer, and changes of the key are pushed from then on. At
//!   the same time the other one reads the whole string. The revision in the trailer names a fill. If both
//!   have the same revision, the bytes are those that were there when the trailer was read, in whichever
//!   order the two reads ran.
//! * **Fill.** The value is staged under a key of its own. Then a script on the main connection compares the
//!   lease, and renames that key.
//!
//! If two attempts find the same difference between the two connections, these lead to different servers.
//! Then the connection for large values is replaced. A value that does not arrive in time counts as
//! unreadable, so the caller loads it.

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
    node::transfers::OperationBudget,
    protocol::{
        batch::{Batch, Replies},
        commands::{LONGEST_SMALL, command, filled, generation_of, tail, whole},
        record::{self, TRAILER, Trailer},
    },
    tier::{RedisTier, generations},
    tracking::attachment::AttachedCache,
};

/// Size of a large value about which nothing else is known.
pub(crate) const UNKNOWN: usize = usize::MAX;

/// Minimum lifetime of a staged value that no script has stored. It is at least `BUDGETS_APART` write
/// budgets, too.
const APART: Duration = Duration::from_secs(10);
const BUDGETS_APART: u32 = 4;

/// Maximum length of a string in Redis, in bytes.
const LONGEST: usize = 512 << 20;

/// Facts about a large value that were read over the main connection.
struct Head {
    /// Reply to `PTTL`, which precedes the other commands.
    left: i64,
    length: usize,
    tail: Vec<u8>,
    clock: Option<u64>,
    /// Time of the replies.
    at: Instant,
}

impl Head {
    fn read(replies: &mut Replies) -> RedisResult<Self> {
        let (left, length) = (replies.next()?, replies.next()?);
        Ok(Self { left, length, tail: replies.next()?, clock: replies.clock(), at: Instant::now() })
    }

    /// Returns the upper limit of the server's clock at present.
    fn now(&self) -> Option<u64> {
        Some(self.clock?.saturating_add(self.passed()))
    }

    /// Returns the reply that `PTTL` would give at present.
    fn left(&self) -> i64 {
        let passed = i64::try_from(self.passed()).unwrap_or(i64::MAX);
        if self.left > 0 { (self.left - passed).max(1) } else { self.left }
    }

    /// Returns the milliseconds since the replies.
    fn passed(&self) -> u64 {
        u64::try_from(self.at.elapsed().as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
    }

    /// Returns the record if it does not require the value: there is none, or it is not one of this cache.
    fn alone(&self, longest: usize) -> Option<Record> {
        if self.tail.is_empty() {
            return Some(Record::Absent);
        }
        if Trailer::of(&self.tail).is_none() || self.length > longest {
            return Some(self.unread());
        }
        // The string consists of the trailer alone.
        if self.length == self.tail.len() { self.with(self.tail.clone()) } else { None }
    }

    /// Returns the record of a value that this process cannot read, so that a load may replace it.
    fn unread(&self) -> Record {
        let stamp = Trailer::of(&self.tail).map_or(0, |trailer| trailer.stamp);
        Record::Value(Stored { bytes: Vec::new(), remaining: record::remaining(self.left()), stamp })
    }

    /// Returns the record in `bytes`, if they are the string that this head describes.
    fn with(&self, bytes: Vec<u8>) -> Option<Record> {
        let (here, there) = (Trailer::of(&self.tail)?, Trailer::of(&bytes)?);
        // The lease over a value may have been renewed, so the revisions decide. Without one, the trailers
        // must be equal.
        let is_same = here.stamp == there.stamp && (here.stamp != 0 || bytes.ends_with(&self.tail));
        if !is_same {
            return None;
        }
        Some(record::open_at(self.now(), self.left(), bytes))
    }
}

/// Revisions that the two connections had under a key, where they differ.
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

/// A future that is polled while another one is awaited.
struct Beside<F: Future> {
    future: Option<Pin<Box<F>>>,
    ended: Option<F::Output>,
}

impl<F: Future> Beside<F> {
    fn new(future: Option<F>) -> Self {
        Self { future: future.map(Box::pin), ended: None }
    }

    /// Waits for `other`, and polls this future meanwhile.
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

/// A large value that was staged under a key of its own.
pub(crate) struct StagedValue {
    pub(crate) place: String,
    /// Length in bytes, with room for a trailer.
    pub(crate) length: usize,
}

impl RedisTier {
    /// Returns the maximum length of a string that this cache stores.
    fn longest(&self) -> usize {
        let most = self.way.attached().map_or(LONGEST, AttachedCache::max_bytes);
        most.saturating_add(TRAILER).min(LONGEST)
    }

    /// Looks up keys where some values are expected to be large.
    ///
    /// A value that does not arrive in time counts as one that this process cannot read.
    pub(crate) async fn look_at_large(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        let patience = OperationBudget::of_read(budget, self.way.settings().read_timeout);
        let (seen, differing) = self.try_large(asks, tags, patience).await?;
        let Some(patience) = patience.anew().filter(|_| !differing.is_empty()) else { return Ok(seen) };
        let (seen, again) = self.try_large(asks, tags, patience).await?;
        for different in again {
            if differing.contains(&different) {
                // Neither has changed meanwhile, so the two connections lead to different servers.
                self.way.renew_large(asks[different.place].key);
            }
        }
        Ok(seen)
    }

    /// Attempts the lookup once, and also returns the keys where the two connections had different values.
    ///
    /// Such a value may have changed between the two reads.
    async fn try_large(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        patience: OperationBudget,
    ) -> Result<(Found, Vec<Different>), TierError> {
        let longest = self.longest();
        let large: Vec<_> = (0..asks.len()).filter(|&place| asks[place].is_large()).collect();
        // If a size is unknown, the main connection must return it first.
        let is_known = large.iter().all(|&place| asks[place].size != UNKNOWN);
        // A value much longer than expected is not read before its length is known.
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
            // A small value need not wait behind large ones, nor for a connection that does not deliver it.
            let (small, rest): (Vec<_>, _) =
                wanted.into_iter().partition(|(_, head)| head.length <= LONGEST_SMALL);
            wanted = rest;
            let places: Vec<_> = small.iter().map(|(place, _)| *place).collect();
            // Without a reply, the values count as not arrived in time.
            let found = early.during(self.small(asks, &places, patience)).await.ok();
            let mut found = found.into_iter().flatten();
            for (place, head) in small {
                let record = found.next();
                differing.extend(matches!(record, Some(None)).then(|| Different::new(place, &head, &[])));
                records[place] = record.flatten().unwrap_or_else(|| head.unread());
            }
        }
        let early = if wanted.is_empty() { None } else { early.end().await };
        // If other values did not arrive in time over a connection, nothing more is requested over it.
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

    /// Reads over the main connection: small values, heads of large ones with their places, and generations.
    #[allow(clippy::type_complexity, reason = "it is taken apart at once")]
    async fn heads(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        patience: OperationBudget,
    ) -> Result<((Vec<Record>, Vec<(usize, Head)>, Vec<Option<u64>>), Arc<cached_core::ChangeFeed>), TierError>
    {
        let mut batch = Batch::new();
        for tag in tags {
            batch.add(generation_of(tag));
        }
        for ask in asks {
            if ask.known.is_none() {
                // In the other order, a value could get the lifetime of its successor.
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

    /// Reads the values at these places, which are small although others of the function are large.
    ///
    /// A record is `None` if its value has become large.
    async fn small(
        &self,
        asks: &[Lookup<'_>],
        places: &[usize],
        patience: OperationBudget,
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

    /// Reads the strings at these places over the connection for large values, each up to a number of bytes.
    async fn bodies(
        &self,
        asks: &[Lookup<'_>],
        parts: Vec<(usize, usize)>,
        patience: OperationBudget,
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

    /// Returns the key for staging a large value of this load, in the slot of the value's key.
    ///
    /// Returns `None` if there is no such key, or no namespace to put it in.
    fn place_apart(&self, key: &str, token: LeaseToken) -> Option<String> {
        let reserved = &self.way.attached()?.reserved;
        let number = u128::from_be_bytes(token.0);
        // The first braces of a key determine its slot. See "Redis cluster specification".
        let has_tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let tag = match has_tag {
            Some((tag, _)) if !tag.is_empty() => tag,
            None if !key.contains(['{', '}']) => key,
            _ => return None,
        };
        // If the namespace has braces, they are also the first ones of the value's key.
        Some(format!("{reserved}large:{{{tag}}}:{number:032x}"))
    }

    /// Stages the large values of these fills. Returns the staged values, and how long it took.
    ///
    /// The caller runs the scripts that store the values after this.
    pub(crate) async fn bring_large(
        &self,
        fills: &mut [TierFill],
        budget: Budget,
    ) -> Result<(Vec<Option<StagedValue>>, Duration), TierError> {
        let (began, mut values) = (Instant::now(), Vec::new());
        let mut take = |TierFill { key, token, bytes, .. }: &mut TierFill| {
            let is_large = bytes.len() > LARGE_VALUE;
            let place = is_large.then(|| self.place_apart(key, *token)).flatten()?;
            let mut bytes = mem::take(bytes);
            bytes.resize(bytes.len() + TRAILER, 0);
            let length = bytes.len();
            values.push((place.clone(), bytes));
            Some(StagedValue { place, length })
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
        let answers = self.way.change_large(&batch, bytes, OperationBudget::of_write(budget, own)).await?;
        let read = |mut replies: Replies| (0..count).try_for_each(|_| replies.next::<()>());
        self.way.understand(answers, read).map(|_| ())
    }
}
