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
    TierError,
    tier::{Budget, Found, LARGE_VALUE, LeaseToken, Lookup, Record, Revision, Stored, TierFill},
};
use redis::RedisResult;

use crate::{
    connect::settings::millis,
    node::transfers::OperationBudget,
    protocol::{
        batch::{Batch, Replies},
        commands::{
            MAX_SMALL_LENGTH, command, generation_command, non_empty, trailer_command, value_command,
        },
        record::{self, TRAILER, Trailer},
    },
    tier::{RedisTier, tags::read_generations},
    tracking::attachment::AttachedCache,
};

/// Size of a large value about which nothing else is known.
pub(super) const UNKNOWN_SIZE: usize = usize::MAX;

/// Minimum lifetime of a staged value that no script has stored. It is at least `STAGED_TTL_BUDGETS` write
/// budgets, too.
const STAGED_TTL: Duration = Duration::from_secs(10);
const STAGED_TTL_BUDGETS: u32 = 4;

/// Maximum length of a string in Redis, in bytes.
const MAX_STRING_LEN: usize = 512 << 20;

/// Facts about a large value that were read over the main connection.
struct Head {
    /// Reply to `PTTL`, which precedes the other commands.
    pttl: i64,
    length: usize,
    tail: Vec<u8>,
    server_time: Option<u64>,
    /// Time of the replies.
    read_at: Instant,
}

impl Head {
    fn read(replies: &mut Replies) -> RedisResult<Self> {
        let (pttl, length) = (replies.next()?, replies.next()?);
        Ok(Self {
            pttl,
            length,
            tail: replies.next()?,
            server_time: replies.clock(),
            read_at: Instant::now(),
        })
    }

    /// Returns the upper limit of the server's clock at present.
    fn server_time_now(&self) -> Option<u64> {
        Some(self.server_time?.saturating_add(self.elapsed_ms()))
    }

    /// Returns the reply that `PTTL` would give at present.
    fn remaining_pttl(&self) -> i64 {
        let elapsed_ms = i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX);
        if self.pttl > 0 { (self.pttl - elapsed_ms).max(1) } else { self.pttl }
    }

    /// Returns the milliseconds since the replies.
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.read_at.elapsed().as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
    }

    /// Returns the record if it does not require the value: there is none, or it is not one of this cache.
    fn record_without_value(&self, max_len: usize) -> Option<Record> {
        if self.tail.is_empty() {
            return Some(Record::Absent);
        }
        if Trailer::of(&self.tail).is_none() || self.length > max_len {
            return Some(self.unreadable_record());
        }
        // The string consists of the trailer alone.
        if self.length == self.tail.len() { self.record_with(self.tail.clone()) } else { None }
    }

    /// Returns the record of a value that this process cannot read, so that a load may replace it.
    fn unreadable_record(&self) -> Record {
        let revision = Trailer::of(&self.tail).map_or(0, |trailer| trailer.revision);
        Record::Value(Stored {
            bytes: Vec::new(),
            remaining: record::remaining(self.remaining_pttl()),
            revision,
        })
    }

    /// Returns the record in `bytes`, if they are the string that this head describes.
    fn record_with(&self, bytes: Vec<u8>) -> Option<Record> {
        let (main, large) = (Trailer::of(&self.tail)?, Trailer::of(&bytes)?);
        // The lease over a value may have been renewed, so the revisions decide. Without one, the trailers
        // must be equal.
        let is_same = main.revision == large.revision && (main.revision != 0 || bytes.ends_with(&self.tail));
        if !is_same {
            return None;
        }
        Some(record::parse_with_clock(self.server_time_now(), self.remaining_pttl(), bytes))
    }
}

/// Revisions that the two connections had under a key, where they differ.
#[derive(PartialEq, Eq)]
struct Different {
    position: usize,
    main: Option<Revision>,
    large: Option<Revision>,
}

impl Different {
    fn new(position: usize, head: &Head, body: &[u8]) -> Self {
        let revision = |bytes: &[u8]| Trailer::of(bytes).map(|trailer| trailer.revision);
        Self { position, main: revision(&head.tail), large: revision(body) }
    }
}

/// A future that is polled while another one is awaited.
struct Beside<F: Future> {
    future: Option<Pin<Box<F>>>,
    output: Option<F::Output>,
}

impl<F: Future> Beside<F> {
    fn new(future: Option<F>) -> Self {
        Self { future: future.map(Box::pin), output: None }
    }

    /// Waits for `other`, and polls this future meanwhile.
    async fn poll_while<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        poll_fn(|cx| {
            let other = other.as_mut().poll(cx);
            if other.is_pending()
                && let Some(future) = &mut self.future
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                (self.output, self.future) = (Some(output), None);
            }
            other
        })
        .await
    }

    async fn finish(self) -> Option<F::Output> {
        match self.future {
            Some(future) => Some(future.await),
            None => self.output,
        }
    }
}

/// A large value that was staged under a key of its own.
pub(super) struct StagedValue {
    pub(super) key: String,
    /// Length in bytes, with room for a trailer.
    pub(super) length: usize,
}

impl RedisTier {
    /// Returns the maximum length of a string that this cache stores.
    fn max_string_len(&self) -> usize {
        let max_bytes = self.topology.attached().map_or(MAX_STRING_LEN, AttachedCache::max_bytes);
        max_bytes.saturating_add(TRAILER).min(MAX_STRING_LEN)
    }

    /// Looks up keys where some values are expected to be large.
    ///
    /// A value that does not arrive in time counts as one that this process cannot read.
    pub(super) async fn lookup_large(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        let operation_budget = OperationBudget::of_read(budget, self.topology.settings().read_timeout);
        let (found, differing) = self.try_lookup_large(lookups, tags, operation_budget).await?;
        let Some(operation_budget) = operation_budget.restarted().filter(|_| !differing.is_empty()) else {
            return Ok(found);
        };
        let (found, still_differing) = self.try_lookup_large(lookups, tags, operation_budget).await?;
        for different in still_differing {
            if differing.contains(&different) {
                // Neither has changed meanwhile, so the two connections lead to different servers.
                self.topology.replace_large_connection(lookups[different.position].key);
            }
        }
        Ok(found)
    }

    /// Attempts the lookup once, and also returns the keys where the two connections had different values.
    ///
    /// Such a value may have changed between the two reads.
    async fn try_lookup_large(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        operation_budget: OperationBudget,
    ) -> Result<(Found, Vec<Different>), TierError> {
        let max_len = self.max_string_len();
        let large: Vec<_> = (0..lookups.len()).filter(|&position| lookups[position].is_large()).collect();
        // If a size is unknown, the main connection must return it first.
        let is_known = large.iter().all(|&position| lookups[position].size != UNKNOWN_SIZE);
        // A value much longer than expected is not read before its length is known.
        let expected =
            |position: usize| lookups[position].size.saturating_mul(2).max(MAX_SMALL_LENGTH).min(max_len);
        let parts = || large.iter().map(|&position| (position, expected(position))).collect();
        let mut early_bodies =
            Beside::new(is_known.then(|| self.read_bodies(lookups, parts(), operation_budget)));
        let (read, feed) = early_bodies.poll_while(self.read_heads(lookups, tags, operation_budget)).await?;
        let (mut records, heads, generations) = read;
        let mut pending = Vec::with_capacity(heads.len());
        for (position, head) in heads {
            match head.record_without_value(max_len) {
                Some(record) => records[position] = record,
                None => pending.push((position, head)),
            }
        }
        let mut differing = Vec::new();
        if !matches!(early_bodies.output, Some(Ok(_))) && operation_budget.allows_more() {
            // A small value need not wait behind large ones, nor for a connection that does not deliver it.
            let (small, rest): (Vec<_>, _) =
                pending.into_iter().partition(|(_, head)| head.length <= MAX_SMALL_LENGTH);
            pending = rest;
            let positions: Vec<_> = small.iter().map(|(position, _)| *position).collect();
            // Without a reply, the values count as not arrived in time.
            let found =
                early_bodies.poll_while(self.read_small(lookups, &positions, operation_budget)).await.ok();
            let mut found = found.into_iter().flatten();
            for (position, head) in small {
                let record = found.next();
                differing.extend(matches!(record, Some(None)).then(|| Different::new(position, &head, &[])));
                records[position] = record.flatten().unwrap_or_else(|| head.unreadable_record());
            }
        }
        let early_bodies = if pending.is_empty() { None } else { early_bodies.finish().await };
        // If other values did not arrive in time over a connection, nothing more is requested over it.
        let is_in_time = early_bodies.as_ref().is_none_or(Result::is_ok);
        let mut bodies = early_bodies.and_then(Result::ok).unwrap_or_default();
        if is_in_time {
            let is_missing =
                |(position, head): &&(usize, Head)| !is_known || head.length > expected(*position);
            let missing: Vec<_> =
                pending.iter().filter(is_missing).map(|(position, head)| (*position, head.length)).collect();
            if !missing.is_empty()
                && let Some(operation_budget) = operation_budget.restarted()
            {
                bodies.retain(|(position, _)| missing.iter().all(|(other, _)| other != position));
                bodies.extend(self.read_bodies(lookups, missing, operation_budget).await.unwrap_or_default());
            }
        }
        for (position, head) in pending {
            let body =
                bodies.iter_mut().find(|(other, _)| *other == position).map(|(_, body)| mem::take(body));
            let different = body.as_ref().map(|body| Different::new(position, &head, body));
            let record = body.and_then(|body| head.record_with(body));
            if record.is_none() {
                differing.extend(different);
            }
            records[position] = record.unwrap_or_else(|| head.unreadable_record());
        }
        Ok((Found { records, generations, feed }, differing))
    }

    /// Reads over the main connection: small values, heads of large ones with their positions, and generations.
    #[allow(clippy::type_complexity, reason = "the caller destructures it at once")]
    async fn read_heads(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        operation_budget: OperationBudget,
    ) -> Result<
        ((Vec<Record>, Vec<(usize, Head)>, Vec<Option<u64>>), Arc<cached_core::tier::ChangeFeed>),
        TierError,
    > {
        let mut batch = Batch::new();
        for tag in tags {
            batch.add(generation_command(tag));
        }
        for lookup in lookups {
            if lookup.known_revision.is_none() {
                // In the other order, a value could get the lifetime of its successor.
                batch.add(command("PTTL", lookup.key));
            }
            if lookup.is_large() {
                batch.add(command("STRLEN", lookup.key));
            }
            batch.add(if lookup.known_revision.is_some() || lookup.is_large() {
                trailer_command(lookup.key)
            } else {
                value_command(lookup.key)
            });
        }
        let read = |mut replies: Replies| {
            let generations = read_generations(&mut replies, tags)?;
            let (mut records, mut heads) = (Vec::with_capacity(lookups.len()), Vec::new());
            for (position, lookup) in lookups.iter().enumerate() {
                records.push(match lookup.known_revision {
                    Some(known) => record::compare(&replies.next::<Vec<u8>>()?, known),
                    None if lookup.is_large() => {
                        heads.push((position, Head::read(&mut replies)?));
                        Record::Absent
                    }
                    None => {
                        let pttl = replies.next()?;
                        let bytes = non_empty(replies.next()?);
                        let parse = |bytes| record::parse_with_clock(replies.clock(), pttl, bytes);
                        bytes.map_or(Record::Absent, parse)
                    }
                });
            }
            Ok((records, heads, generations))
        };
        self.read(batch, Budget::Exactly(operation_budget.remaining()), read).await
    }

    /// Reads the values at these positions, which are small although others of the function are large.
    ///
    /// A record is `None` if its value has become large.
    async fn read_small(
        &self,
        lookups: &[Lookup<'_>],
        positions: &[usize],
        operation_budget: OperationBudget,
    ) -> Result<Vec<Option<Record>>, TierError> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        for &position in positions {
            batch.add(command("PTTL", lookups[position].key));
            batch.add(value_command(lookups[position].key));
        }
        let read = |mut replies: Replies| {
            let record = |_| {
                let (pttl, bytes) = (replies.next()?, replies.next::<Vec<u8>>()?);
                let is_small = bytes.len() <= MAX_SMALL_LENGTH;
                let parse = |bytes| record::parse_with_clock(replies.clock(), pttl, bytes);
                Ok(is_small.then(|| non_empty(bytes).map_or(Record::Absent, parse)))
            };
            positions.iter().map(record).collect()
        };
        Ok(self.read(batch, Budget::Exactly(operation_budget.remaining()), read).await?.0)
    }

    /// Reads the strings at these positions over the connection for large values, each up to a number of bytes.
    async fn read_bodies(
        &self,
        lookups: &[Lookup<'_>],
        parts: Vec<(usize, usize)>,
        operation_budget: OperationBudget,
    ) -> Result<Vec<(usize, Vec<u8>)>, TierError> {
        let mut batch = Batch::new();
        for &(position, max_len) in &parts {
            let mut command = command("GETRANGE", lookups[position].key);
            command.arg(0).arg(max_len.saturating_sub(1));
            batch.add(command);
        }
        let bytes = parts.iter().fold(0_usize, |sum, (_, max_len)| sum.saturating_add(*max_len));
        let answers = self.topology.read_large(&batch, bytes, operation_budget).await?;
        let read = |mut replies: Replies| {
            parts.iter().map(|&(position, _)| Ok((position, replies.next()?))).collect()
        };
        Ok(self.topology.decode(answers, read)?.0)
    }

    /// Returns the key for staging a large value of this load, in the slot of the value's key.
    ///
    /// Returns `None` if there is no such key, or no namespace to put it in.
    fn staging_key(&self, key: &str, token: LeaseToken) -> Option<String> {
        let reserved_prefix = &self.topology.attached()?.reserved_prefix;
        let number = u128::from_be_bytes(token.0);
        // The first braces of a key determine its slot. See "Redis cluster specification".
        let has_tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let tag = match has_tag {
            Some((tag, _)) if !tag.is_empty() => tag,
            None if !key.contains(['{', '}']) => key,
            _ => return None,
        };
        // If the namespace has braces, they are also the first ones of the value's key.
        Some(format!("{reserved_prefix}large:{{{tag}}}:{number:032x}"))
    }

    /// Stages the large values of these fills. Returns the staged values, and how long it took.
    ///
    /// The caller runs the scripts that store the values after this.
    pub(super) async fn stage_large(
        &self,
        fills: &mut [TierFill],
        budget: Budget,
    ) -> Result<(Vec<Option<StagedValue>>, Duration), TierError> {
        let (began, mut values) = (Instant::now(), Vec::new());
        let mut take = |TierFill { key, token, bytes, .. }: &mut TierFill| {
            let is_large = bytes.len() > LARGE_VALUE;
            let staging_key = is_large.then(|| self.staging_key(key, *token)).flatten()?;
            let mut bytes = mem::take(bytes);
            bytes.resize(bytes.len() + TRAILER, 0);
            let length = bytes.len();
            values.push((staging_key.clone(), bytes));
            Some(StagedValue { key: staging_key, length })
        };
        let staged_values = fills.iter_mut().map(&mut take).collect();
        if !values.is_empty() {
            self.stage(values, budget).await?;
        }
        Ok((staged_values, began.elapsed()))
    }

    async fn stage(&self, values: Vec<(String, Vec<u8>)>, budget: Budget) -> Result<(), TierError> {
        let (count, mut batch) = (values.len(), Batch::new());
        let write_timeout = self.topology.settings().write_timeout;
        let ttl = STAGED_TTL.max(write_timeout.saturating_mul(STAGED_TTL_BUDGETS));
        let bytes = values.iter().fold(0_usize, |sum, (_, bytes)| sum.saturating_add(bytes.len()));
        for (key, bytes) in values {
            let mut set = command("SET", &key);
            set.arg(bytes).arg("PX").arg(millis(ttl));
            batch.add(set);
        }
        let answers = self
            .topology
            .write_large(&batch, bytes, OperationBudget::of_write(budget, write_timeout))
            .await?;
        let read = |mut replies: Replies| (0..count).try_for_each(|_| replies.next::<()>());
        self.topology.decode(answers, read).map(|_| ())
    }
}
