//! The Redis tier: [`RedisTier`] and its implementation of the [`Tier`] contract.
//!
//! `builder` has the settings, `large` the lookups and fills of large values, `sweep` the removal by pattern,
//! `barrier` the barrier, and `health` the status.
//!
//! The order of commands carries the guarantees:
//!
//! * Generations are read before values. If a tag changes in between, it is tracked already, and a push
//!   reports it.
//! * `PTTL` is read before a value. In the other order, a value could get the lifetime of its successor.
//! * An invalidated tag enters the journal before its generation is removed.
//! * A fill is a script that compares the token of the lease (the fence).

pub(crate) mod barrier;
pub(crate) mod builder;
pub(crate) mod health;
pub(crate) mod large;
pub(crate) mod sweep;

use std::{fmt, iter, ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use cached_core::{
    Attachment, Budget, ChangeFeed, Filled, Found, JournalPosition, LARGE_VALUE, LeaseMode, LeaseReply,
    LeaseRequest, LeaseToken, Leased, Lookup, Note, Record, TagRequest, TagsClaimed, Tier, TierCause,
    TierError, TierFill, TierHealth, TierState, planted,
};
use redis::RedisResult;

use crate::{
    availability::status::RedisState,
    cluster::join_all,
    connect::settings::millis,
    node::reads::Got,
    protocol::{
        batch::{Batch, Replies},
        commands::{
            MAX_SMALL_LENGTH, command, generation_command, non_empty, parse_generation, trailer_command,
            value_command,
        },
        journal::{self, APPEND, OPEN, UNCHANGED_SINCE},
        random,
        record::{self, Trailer},
        scripts::{FAIL, FILL, FILL_LARGE, INCR, KEEP_GENERATION, LEASE, RELEASE, RENEW, SEED_GENERATION},
    },
    tier::{barrier::BarrierQueue, large::StagedValue},
    topology::Topology,
    tracking::attachment::AttachedCache,
};

/// Limits of the extra lifetime of a tag's generation, which otherwise equals the requested lifetime.
///
/// So a generation rarely needs to be prolonged, and does not outlive its values for long.
const EXTRA_LIFETIME: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(60 * 60);

/// Lifetime of a journal that no load has asked for. Loads are shorter.
const JOURNAL_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Lifetime of the note of a failed load: longer than a waiting process takes to ask, however busy it is.
const NOTE_TTL: Duration = Duration::from_secs(5);

/// A shared tier in Redis.
///
/// The tier holds one connection. It is made in the background from the first operation on, and replaced when
/// it breaks. A second one carries [large](LARGE_VALUE) values, from the first of them on, so that nothing
/// small waits behind one. While there is no connection, every operation fails at once with
/// [`TierError::Unavailable`]. Only operations during the very first attempt wait for it, so that the first
/// call of a program can already hit. They wait for at most
/// [`connect_timeout`](crate::RedisTierBuilder::connect_timeout), and a server that refuses does not make
/// them wait.
///
/// Otherwise no operation takes longer than its budget
/// ([`operation_timeout`](crate::RedisTierBuilder::operation_timeout),
/// [`write_timeout`](crate::RedisTierBuilder::write_timeout)), which the cache [extends](Budget) where a load
/// costs more. It may take half as long again if this process itself is late to read the reply.
///
/// While Redis hangs or is slow, `lookup`, `lease` and `exists` fail at once as well, so that no caller pays
/// for it before it loads. A breaker opens when four of the last eight took more than four fifths of their
/// budget. One heartbeat at a time probes whether it may close. It closes within the longest pause of
/// [`retry`](crate::RedisTierBuilder::retry) after Redis is as fast as before. Writes are still attempted.
/// [`state`](Self::state), [`watch_state`](Self::watch_state) and [`health`](Self::health) return the status,
/// and [`RedisHealth::cause`](crate::RedisHealth) the reason.
///
/// Operations need a tokio runtime with time and I/O enabled; outside of any runtime they return
/// [`TierError::Unavailable`]. The background task runs on the runtime of the operation that started it. When
/// that runtime has ended, the next operation starts the task on its own. Dropping the tier ends the task.
///
/// The tier notifies its cache of changes if the server supports RESP3 and allows `CLIENT TRACKING`.
/// Otherwise an entry is valid for the [bound](Attachment::bound) after it was read. A tier belongs to one
/// cache: only the first [`attach`](Tier::attach) counts.
///
/// `Debug` shows the server's address and the state of the connection, and never a user or a password.
pub struct RedisTier {
    pub(crate) topology: Arc<Topology>,
    pub(crate) barrier_queue: Arc<BarrierQueue>,
}

impl RedisTier {
    /// Returns the key of the journal of tags.
    fn journal(&self) -> Option<&str> {
        self.topology.attached().map(AttachedCache::journal)
    }

    /// Runs a batch that a caller waits for before it has a value. Also returns the change feed that was
    /// used.
    pub(crate) async fn read<T>(
        &self,
        batch: Batch,
        budget: Budget,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let answers = self.topology.read(&batch, budget).await?;
        self.topology.decode(answers, read)
    }

    /// Runs a batch that writes.
    pub(crate) async fn write<T>(
        &self,
        batch: Batch,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        self.write_within(batch, Budget::Own, read).await
    }

    /// Runs a batch that writes, for a caller that can wait for `budget`.
    async fn write_within<T>(
        &self,
        batch: Batch,
        budget: Budget,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let answers = self.topology.write(&batch, budget).await?;
        self.topology.decode(answers, read)
    }

    /// Runs a batch that writes and has one reply.
    async fn write_one<T: redis::FromRedisValue>(&self, batch: Batch) -> Result<T, TierError> {
        let outcome = self.write(batch, |mut replies| replies.next()).await?;
        Ok(outcome.0)
    }

    /// Queries each server for its keys. If a server does not answer, its keys count as absent.
    async fn lookup_by_server(
        &self,
        lookups: &[Lookup<'_>],
        groups: Vec<Vec<usize>>,
        budget: Budget,
    ) -> Result<Found, TierError> {
        let lookup_group = async |group: Vec<usize>| {
            let group_lookups: Vec<_> = group.iter().map(|&position| lookups[position]).collect();
            self.lookup_batch(&group_lookups, &[], budget).await.map(|found| (group, found))
        };
        let mut records = vec![Record::Absent; lookups.len()];
        let (mut feeds, mut error) = (Vec::new(), None);
        for found in join_all(groups.into_iter().map(lookup_group)).await {
            match found {
                Ok((group, found)) => {
                    feeds.push(found.feed);
                    for (position, record) in group.into_iter().zip(found.records) {
                        records[position] = record;
                    }
                }
                Err(failure) => error = Some(failure),
            }
        }
        match error {
            Some(error) if feeds.is_empty() => Err(error),
            _ => Ok(Found { records, generations: Vec::new(), feed: ChangeFeed::merge(feeds) }),
        }
    }

    async fn lookup_batch(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        if lookups.iter().any(Lookup::is_large) {
            return Box::pin(self.lookup_large(lookups, tags, budget)).await;
        }
        let batch = build_lookup(lookups, tags, |lookup| [lookup_command(lookup)]);
        let mut large = Vec::new();
        let read = |mut replies: Replies| {
            let generations = read_generations(&mut replies, tags)?;
            let mut records = Some(Vec::with_capacity(lookups.len()));
            for (position, lookup) in lookups.iter().enumerate() {
                match read_record(lookup, &mut replies)? {
                    Answer::Record(record) => {
                        if let Some(records) = &mut records {
                            records.push(record);
                        }
                    }
                    Answer::Undated => records = None,
                    Answer::Large => large.push(position),
                }
            }
            Ok((records, generations))
        };
        let ((records, generations), feed) = self.read(batch, budget, read).await?;
        match records {
            _ if !large.is_empty() => {
                let mut lookups = lookups.to_vec();
                for position in large {
                    lookups[position].size = large::UNKNOWN_SIZE;
                }
                Box::pin(self.lookup_large(&lookups, tags, budget)).await
            }
            Some(records) => Ok(Found { records, generations, feed }),
            None => Box::pin(self.lookup_with_ttls(lookups, tags, budget)).await,
        }
    }

    /// Looks up values together with their remaining lifetimes.
    ///
    /// This is needed where a value does not contain its end, such as one that another program wrote, or
    /// where the server's time is unknown.
    async fn lookup_with_ttls(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        // In the other order, a value could get the lifetime of its successor.
        let batch =
            build_lookup(lookups, tags, |lookup| [command("PTTL", lookup.key), lookup_command(lookup)]);
        let read = |mut replies: Replies| {
            let generations = read_generations(&mut replies, tags)?;
            let records = lookups.iter().map(|lookup| {
                let pttl = replies.next()?;
                Ok(match lookup.known_revision {
                    None => record::parse_with_pttl(pttl, non_empty(replies.next()?)),
                    Some(known) => record::compare(&replies.next::<Vec<u8>>()?, known),
                })
            });
            Ok((records.collect::<RedisResult<Vec<Record>>>()?, generations))
        };
        let ((records, generations), feed) = self.read(batch, budget, read).await?;
        Ok(Found { records, generations, feed })
    }
}

/// Builds the batch of a lookup: generations of tags first, then values.
///
/// If a tag changes before the values are read, a push reports it, since the tag is tracked by then.
fn build_lookup<const N: usize>(
    lookups: &[Lookup<'_>],
    tags: &[String],
    commands_of: impl Fn(&Lookup<'_>) -> [redis::Cmd; N],
) -> Batch {
    let mut commands =
        tags.iter().map(|tag| generation_command(tag)).chain(lookups.iter().flat_map(commands_of));
    let mut batch = commands.next().map_or_else(Batch::new, Batch::of);
    commands.for_each(|command| batch.add(command));
    batch
}

/// Returns the record of the only key.
fn only_record(mut found: Found) -> Result<(Record, Arc<ChangeFeed>), TierError> {
    Ok((found.records.pop().ok_or(TierError::Unavailable)?, found.feed))
}

fn lookup_command(lookup: &Lookup<'_>) -> redis::Cmd {
    if lookup.known_revision.is_some() { trailer_command(lookup.key) } else { value_command(lookup.key) }
}

pub(crate) fn read_generations(replies: &mut Replies, tags: &[String]) -> RedisResult<Vec<Option<u64>>> {
    tags.iter().map(|_| replies.next().map(parse_generation)).collect()
}

/// Reply to the lookup of one key.
enum Answer {
    Record(Record),
    /// A value that does not contain its end.
    Undated,
    /// A part of a large value.
    Large,
}

fn read_record(lookup: &Lookup<'_>, replies: &mut Replies) -> RedisResult<Answer> {
    let bytes = replies.next::<Vec<u8>>()?;
    if let Some(known) = lookup.known_revision {
        return Ok(Answer::Record(record::compare(&bytes, known)));
    }
    if bytes.is_empty() {
        return Ok(Answer::Record(Record::Absent));
    }
    if bytes.len() > MAX_SMALL_LENGTH {
        return Ok(Answer::Large);
    }
    let record = replies.clock().and_then(|now| record::parse(bytes, now).ok());
    Ok(record.map_or(Answer::Undated, Answer::Record))
}

#[async_trait]
impl Tier for RedisTier {
    fn attach(&self, attachment: Attachment) {
        self.topology.attach(attachment);
    }

    /// Returns `false` while the background task works on a missing connection, or on a Redis that is too
    /// slow.
    fn ready(&self) -> bool {
        self.topology.ready()
    }

    fn health(&self) -> TierHealth {
        let health = RedisTier::health(self);
        let state = match health.state {
            RedisState::Untried => TierState::Untried,
            RedisState::Up => TierState::Up,
            RedisState::Degraded => TierState::Degraded,
            RedisState::Down => TierState::Down,
        };
        let tier_health = TierHealth::new(state).cause(health.cause);
        tier_health.reconnects(health.reconnects).breaker_open(health.breaker_open)
    }

    async fn connected(&self) -> Result<(), TierCause> {
        self.topology.connected().await
    }

    async fn lookup(&self, lookups: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        self.lookup_within(lookups, tags, Budget::Own).await
    }

    /// Looks up values, which contain their end by the server's clock.
    ///
    /// One key of another type makes the whole call fail.
    async fn lookup_within(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        if lookups.is_empty() && tags.is_empty() {
            return Ok(Found { records: Vec::new(), generations: Vec::new(), feed: ChangeFeed::none() });
        }
        if tags.is_empty()
            && let Some(groups) = self.topology.by_server(lookups.iter().map(|lookup| lookup.key))
        {
            return Box::pin(self.lookup_by_server(lookups, groups, budget)).await;
        }
        self.lookup_batch(lookups, tags, budget).await
    }

    async fn get(&self, key: &str) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        self.get_within(key, Budget::Own).await
    }

    /// Looks up one key. Concurrent lookups of many callers share round trips.
    async fn get_within(&self, key: &str, budget: Budget) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        let lookups = [Lookup::new(key)];
        let Topology::Standalone(node) = &*self.topology else {
            return Box::pin(self.lookup_batch(&lookups, &[], budget)).await.and_then(only_record);
        };
        let read_timeout = node.settings.read_timeout;
        let Got { bytes, clock, feed } = node.get(key, budget.read_limit(read_timeout)).await?;
        let Some(bytes) = bytes else { return Ok((Record::Absent, feed)) };
        if bytes.len() > MAX_SMALL_LENGTH {
            let lookups = [Lookup { size: large::UNKNOWN_SIZE, ..Lookup::new(key) }];
            return Box::pin(self.lookup_large(&lookups, &[], budget)).await.and_then(only_record);
        }
        match clock.map(|now| record::parse(bytes, now)) {
            Some(Ok(record)) => Ok((record, feed)),
            _ => Box::pin(self.lookup_with_ttls(&lookups, &[], budget)).await.and_then(only_record),
        }
    }

    async fn lease(&self, requests: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError> {
        self.lease_within(requests, tags, Budget::Own).await
    }

    async fn lease_within(
        &self,
        requests: &[LeaseRequest<'_>],
        tags: TagRequest<'_>,
        budget: Budget,
    ) -> Result<Leased, TierError> {
        if requests.is_empty() && tags.keys.is_empty() && !tags.needs_position {
            let (replies, generations, feed) = (Vec::new(), Vec::new(), ChangeFeed::none());
            return Ok(Leased { replies, generations, position: None, feed });
        }
        let mut batch = Batch::new();
        let journal = self.journal().filter(|_| tags.needs_position);
        if let Some(journal) = journal {
            batch.add_script(&OPEN, journal, (journal::name(random::number()), millis(JOURNAL_TTL)));
        }
        add_seed_commands(&mut batch, tags.keys, tags.keep);
        for request in requests {
            let (mode, revision) = match request.mode {
                LeaseMode::IfAbsent => ("free", 0),
                LeaseMode::IfRevision(revision) => ("over", revision),
                LeaseMode::Always => ("force", 0),
            };
            let (token, revision) = (&request.token.0[..], &revision.to_le_bytes()[..]);
            batch.add_script(&LEASE, request.key, (token, millis(request.lease), mode, revision));
        }
        let read = |mut replies: Replies| {
            let position = journal.map(|_| replies.next().map(journal_position)).transpose()?.flatten();
            let generations = read_seeded(&mut replies, tags.keys)?;
            let lease_replies = requests.iter().map(|_| replies.next().map(lease_reply));
            Ok((lease_replies.collect::<RedisResult<Vec<LeaseReply>>>()?, generations, position))
        };
        let ((replies, generations, position), feed) = self.read(batch, budget, read).await?;
        Ok(Leased { replies, generations, position, feed })
    }

    async fn claim_tags(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        let Some(journal) = self.journal() else {
            return Ok(TagsClaimed { generations: None, feed: ChangeFeed::none() });
        };
        let mut batch = Batch::ordered();
        // An invalidation writes the journal before it removes the generation. So if
        // `UNCHANGED_SINCE` is too early to find it, the removal comes later still, and is pushed, since the
        // generation is tracked by then.
        add_seed_commands(&mut batch, tags, keep);
        batch.start_step();
        batch.add_script(
            &UNCHANGED_SINCE,
            journal,
            journal::unchanged_since_args(since.journal_id, since.offset, tags),
        );
        let read = |mut replies: Replies| Ok((read_seeded(&mut replies, tags)?, replies.next::<bool>()?));
        let ((generations, is_current), feed) = self.write(batch, read).await?;
        Ok(TagsClaimed { generations: is_current.then_some(generations), feed })
    }

    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        self.fill_within(fills, Budget::Own).await
    }

    /// Stores values. If one fill is refused, others may have been stored.
    async fn fill_within(&self, mut fills: Vec<TierFill>, budget: Budget) -> Result<Filled, TierError> {
        if fills.is_empty() {
            return Ok(Filled { stored: Vec::new(), feed: ChangeFeed::none() });
        }
        let tag_counts: Vec<_> = fills.iter().map(|fill| fill.tags.len()).collect();
        let is_large = |fill: &TierFill| fill.bytes.len() > LARGE_VALUE;
        let (mut keys, mut staged_values, mut staging_time) = Default::default();
        if fills.iter().any(is_large) && !planted!("fill-without-lease-compare") {
            keys = fills.iter().map(|fill| fill.key.clone()).collect::<Vec<_>>();
            (staged_values, staging_time) = Box::pin(self.stage_large(&mut fills, budget)).await?;
        }
        let staged_values = staged_values.into_iter().chain(iter::repeat_with(|| None));
        let mut batch = Batch::new();
        for (TierFill { key, token, mut bytes, ttl, tags }, staged) in fills.into_iter().zip(staged_values) {
            // The time spent on the transfer does not extend the lifetime of a value.
            let ttl = ttl.saturating_sub(staging_time);
            for tag in &tags {
                batch.add_script(&KEEP_GENERATION, tag, (millis(ttl), millis(generation_ttl(ttl))));
            }
            let revision = token.revision().to_le_bytes();
            if planted!("fill-without-lease-compare") {
                record::append_trailer(&mut bytes, token.revision());
                let mut set = command("SET", &key);
                batch.add(set.arg(bytes).arg("PX").arg(millis(ttl)).clone());
            } else if let Some(StagedValue { key: staging_key, length }) = staged {
                let args = (&token.0[..], length, millis(ttl), &revision[..]);
                batch.add_script_on(&FILL_LARGE, &[&key, &staging_key], args);
            } else {
                batch.add_script(&FILL, &key, (&token.0[..], bytes, millis(ttl), &revision[..]));
            }
            if planted!("own-fill-untracked") {
                batch.add(command("PERSIST", &key));
            }
        }
        let read = |mut replies: Replies| {
            if planted!("fill-without-lease-compare") {
                return Ok(vec![1; tag_counts.len()]);
            }
            let stored = |tags: &usize| {
                (0..*tags).try_for_each(|_| replies.next::<i64>().map(|_| ()))?;
                replies.next()
            };
            tag_counts.iter().map(stored).collect::<RedisResult<Vec<i64>>>()
        };
        let (stored, feed) = self.write_within(batch, budget, read).await?;
        if let Some(lost) = stored.iter().position(|stored| *stored == -1) {
            // Either it was lost on its way, as when all keys were removed, or the two connections lead to
            // different servers.
            if let Some(key) = keys.get(lost) {
                self.topology.replace_large_connection(key);
            }
            return Err(TierError::Unavailable);
        }
        Ok(Filled { stored: stored.into_iter().map(|stored| stored == 1).collect(), feed })
    }

    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError> {
        self.write_one(Batch::of_script(&RENEW, key, (&token.0[..], millis(lease)))).await
    }

    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        let end = if is_failed { "failed" } else { "free" };
        self.write_one(Batch::of_script(&RELEASE, key, (&token.0[..], end))).await
    }

    async fn fail(&self, key: &str, token: LeaseToken, note: &Note) -> Result<bool, TierError> {
        self.write_one(Batch::of_script(&FAIL, key, (&token.0[..], &note.0[..], millis(NOTE_TTL)))).await
    }

    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        if keys.is_empty() && tags.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::ordered();
        let journal = self.journal().filter(|_| !tags.is_empty());
        if let Some(journal) = journal {
            batch.add_script(&APPEND, journal, journal::append_args(tags));
            batch.start_step();
        }
        // One command for each key, since each may be on another server.
        for key in tags.iter().chain(keys) {
            batch.add(command("DEL", key));
        }
        let read = |mut replies: Replies| {
            journal.map(|_| replies.next::<u64>()).transpose()?;
            tags.iter().chain(keys).try_for_each(|_| replies.next::<u64>().map(|_| ()))
        };
        self.write(batch, read).await.map(|_| ())
    }

    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError> {
        self.sweep(pattern).await
    }

    async fn confirm(&self) -> Result<(), TierError> {
        self.confirm_all().await
    }

    async fn close(&self) {
        self.topology.close().await;
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        let mut batch = Batch::of(command("EXISTS", key));
        batch.add(command("STRLEN", key));
        batch.add(trailer_command(key));
        let read = |mut replies: Replies| {
            Ok((replies.next()?, replies.next()?, replies.next::<Vec<u8>>()?, replies.clock()))
        };
        let ((exists, length, tail, now), _) = self.read(batch, Budget::Own, read).await?;
        let has_value =
            |trailer: Trailer| trailer.has_value(length) && !now.is_some_and(|now| trailer.is_expired(now));
        Ok(exists && Trailer::of(&tail).is_none_or(has_value))
    }

    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        self.write_one(Batch::of_script(&INCR, key, (by, ttl.map(millis)))).await
    }
}

/// Shows the address and the state, and no credentials.
impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("server", &format_args!("{}", self.topology.label()))
            .field("state", &format_args!("{}", self.topology.state_label()))
            .finish_non_exhaustive()
    }
}

/// Adds commands that return the generations of tags, and create missing ones.
fn add_seed_commands(batch: &mut Batch, tags: &[String], keep: Duration) {
    for tag in tags {
        let generation = if planted!("tag-seeded-constant") { 7 } else { random::number() };
        batch.add_script(
            &SEED_GENERATION,
            tag,
            (format!("{generation:016x}"), millis(keep), millis(generation_ttl(keep))),
        );
    }
}

/// Returns the lifetime of a generation that is created, or that would end before `keep`.
fn generation_ttl(keep: Duration) -> Duration {
    if planted!("tag-kept-for-load") {
        return keep;
    }
    keep.saturating_add(keep.clamp(*EXTRA_LIFETIME.start(), *EXTRA_LIFETIME.end()))
}

/// Reads the generations that `add_seed_commands` has asked for.
fn read_seeded(replies: &mut Replies, tags: &[String]) -> RedisResult<Vec<u64>> {
    let generation = |_| {
        let bytes = replies.next()?;
        // The script returns nothing but generations.
        Ok(parse_generation(Some(bytes)).unwrap_or_default())
    };
    tags.iter().map(generation).collect()
}

/// Reads the position of the journal. A journal that another program wrote has none.
fn journal_position((name, number): (Vec<u8>, u64)) -> Option<JournalPosition> {
    Some(JournalPosition { journal_id: parse_generation(Some(name))?, offset: number })
}

fn lease_reply(reply: i64) -> LeaseReply {
    match reply {
        0 => LeaseReply::Granted,
        left => u64::try_from(left)
            .map_or(LeaseReply::ValueChanged, |left| LeaseReply::HeldElsewhere(Duration::from_millis(left))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_is_sixteen_hexadecimal_digits() {
        let read = |text: &str| parse_generation(Some(text.as_bytes().to_vec()));
        assert_eq!(read("00000000000000ff"), Some(255));
        assert_eq!(read("ffffffffffffffff"), Some(u64::MAX));
        for text in
            ["", "ff", "+0000000000000ff", "00000000000000fg", "000000000000000ff", "\u{fc}0000000000000f"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(parse_generation(Some(vec![0xff; 16])), None);
        assert_eq!(parse_generation(None), None);
    }
}
