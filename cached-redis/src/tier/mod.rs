//! The Redis tier: [`RedisTier`] and its implementation of the [`Tier`] contract.
//!
//! `builder` has the settings, `large` the lookups and fills of large values, `sweep` the removal by pattern,
//! `confirm` the barrier, and `health` the status.
//!
//! The order of commands carries the guarantees:
//!
//! * Generations are read before values. If a tag changes in between, it is tracked already, and a push
//!   reports it.
//! * `PTTL` is read before a value. In the other order, a value could get the lifetime of its successor.
//! * An invalidated tag enters the journal before its generation is removed.
//! * A fill is a script that compares the token of the lease (the fence).

pub(crate) mod builder;
pub(crate) mod confirm;
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
    cluster::all,
    connect::settings::millis,
    node::reads::Got,
    protocol::{
        batch::{Batch, Replies},
        commands::{LONGEST_SMALL, command, filled, generation, generation_of, tail, whole},
        journal::{self, NOTE, OPEN, SINCE},
        random,
        record::{self, Trailer},
        scripts::{FAIL, FILL, FILL_LARGE, INCR, KEEP, LEASE, RELEASE, RENEW, SEED},
    },
    tier::{confirm::BarrierQueue, large::StagedValue},
    topology::Topology,
    tracking::attachment::AttachedCache,
};

/// Limits of the extra lifetime of a tag's generation, which otherwise equals the requested lifetime.
///
/// So a generation rarely needs to be prolonged, and does not outlive its values for long.
const SPARE: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(60 * 60);

/// Lifetime of a journal that no load has asked for. Loads are shorter.
const KEEP_JOURNAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Lifetime of the note of a failed load: longer than a waiting process takes to ask, however busy it is.
const NOTE_LIFE: Duration = Duration::from_secs(5);

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
/// While Redis hangs or is slow, `look`, `lease` and `exists` fail at once as well, so that no caller pays
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
    pub(crate) way: Arc<Topology>,
    pub(crate) confirms: Arc<BarrierQueue>,
}

impl RedisTier {
    /// Returns the key of the journal of tags.
    fn journal(&self) -> Option<&str> {
        self.way.attached().map(AttachedCache::journal)
    }

    /// Runs a batch that a caller waits for before it has a value. Also returns the change feed that was
    /// used.
    pub(crate) async fn read<T>(
        &self,
        batch: Batch,
        budget: Budget,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let answers = self.way.read(&batch, budget).await?;
        self.way.understand(answers, read)
    }

    /// Runs a batch that writes.
    pub(crate) async fn change<T>(
        &self,
        batch: Batch,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        self.change_within(batch, Budget::Own, read).await
    }

    /// Runs a batch that writes, for a caller that can wait for `budget`.
    async fn change_within<T>(
        &self,
        batch: Batch,
        budget: Budget,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let answers = self.way.change(&batch, budget).await?;
        self.way.understand(answers, read)
    }

    /// Runs a batch that writes and has one reply.
    async fn write<T: redis::FromRedisValue>(&self, batch: Batch) -> Result<T, TierError> {
        let outcome = self.change(batch, |mut replies| replies.next()).await?;
        Ok(outcome.0)
    }

    /// Queries each server for its keys. If a server does not answer, its keys count as absent.
    async fn look_apart(
        &self,
        asks: &[Lookup<'_>],
        groups: Vec<Vec<usize>>,
        budget: Budget,
    ) -> Result<Found, TierError> {
        let look = async |group: Vec<usize>| {
            let own: Vec<_> = group.iter().map(|&place| asks[place]).collect();
            self.look_together(&own, &[], budget).await.map(|seen| (group, seen))
        };
        let mut records = vec![Record::Absent; asks.len()];
        let (mut lines, mut error) = (Vec::new(), None);
        for seen in all(groups.into_iter().map(look)).await {
            match seen {
                Ok((group, seen)) => {
                    lines.push(seen.line);
                    for (place, record) in group.into_iter().zip(seen.records) {
                        records[place] = record;
                    }
                }
                Err(unseen) => error = Some(unseen),
            }
        }
        match error {
            Some(error) if lines.is_empty() => Err(error),
            _ => Ok(Found { records, generations: Vec::new(), line: ChangeFeed::joined(lines) }),
        }
    }

    async fn look_together(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        if asks.iter().any(Lookup::is_large) {
            return Box::pin(self.look_at_large(asks, tags, budget)).await;
        }
        let batch = questions(asks, tags, |ask| [question(ask)]);
        let mut large = Vec::new();
        let read = |mut replies: Replies| {
            let generations = generations(&mut replies, tags)?;
            let mut records = Some(Vec::with_capacity(asks.len()));
            for (place, ask) in asks.iter().enumerate() {
                match record(ask, &mut replies)? {
                    Answer::Record(record) => {
                        if let Some(records) = &mut records {
                            records.push(record);
                        }
                    }
                    Answer::Undated => records = None,
                    Answer::Large => large.push(place),
                }
            }
            Ok((records, generations))
        };
        let ((records, generations), line) = self.read(batch, budget, read).await?;
        match records {
            _ if !large.is_empty() => {
                let mut asks = asks.to_vec();
                for place in large {
                    asks[place].size = large::UNKNOWN;
                }
                Box::pin(self.look_at_large(&asks, tags, budget)).await
            }
            Some(records) => Ok(Found { records, generations, line }),
            None => Box::pin(self.look_at_lives(asks, tags, budget)).await,
        }
    }

    /// Looks up values together with their remaining lifetimes.
    ///
    /// This is needed where a value does not contain its end, such as one that another program wrote, or
    /// where the server's time is unknown.
    async fn look_at_lives(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        // In the other order, a value could get the lifetime of its successor.
        let batch = questions(asks, tags, |ask| [command("PTTL", ask.key), question(ask)]);
        let read = |mut replies: Replies| {
            let generations = generations(&mut replies, tags)?;
            let records = asks.iter().map(|ask| {
                let left = replies.next()?;
                Ok(match ask.known {
                    None => record::open_with_life(left, filled(replies.next()?)),
                    Some(known) => record::compare(&replies.next::<Vec<u8>>()?, known),
                })
            });
            Ok((records.collect::<RedisResult<Vec<Record>>>()?, generations))
        };
        let ((records, generations), line) = self.read(batch, budget, read).await?;
        Ok(Found { records, generations, line })
    }
}

/// Builds the batch of a lookup: generations of tags first, then values.
///
/// If a tag changes before the values are read, a push reports it, since the tag is tracked by then.
fn questions<const N: usize>(
    asks: &[Lookup<'_>],
    tags: &[String],
    of: impl Fn(&Lookup<'_>) -> [redis::Cmd; N],
) -> Batch {
    let mut commands = tags.iter().map(|tag| generation_of(tag)).chain(asks.iter().flat_map(of));
    let mut batch = commands.next().map_or_else(Batch::new, Batch::of);
    commands.for_each(|command| batch.add(command));
    batch
}

/// Returns the record of the only key.
fn only(mut seen: Found) -> Result<(Record, Arc<ChangeFeed>), TierError> {
    Ok((seen.records.pop().ok_or(TierError::Unavailable)?, seen.line))
}

fn question(ask: &Lookup<'_>) -> redis::Cmd {
    if ask.known.is_some() { tail(ask.key) } else { whole(ask.key) }
}

pub(crate) fn generations(replies: &mut Replies, tags: &[String]) -> RedisResult<Vec<Option<u64>>> {
    tags.iter().map(|_| replies.next().map(generation)).collect()
}

/// Reply to the lookup of one key.
enum Answer {
    Record(Record),
    /// A value that does not contain its end.
    Undated,
    /// A part of a large value.
    Large,
}

fn record(ask: &Lookup<'_>, replies: &mut Replies) -> RedisResult<Answer> {
    let bytes = replies.next::<Vec<u8>>()?;
    if let Some(known) = ask.known {
        return Ok(Answer::Record(record::compare(&bytes, known)));
    }
    if bytes.is_empty() {
        return Ok(Answer::Record(Record::Absent));
    }
    if bytes.len() > LONGEST_SMALL {
        return Ok(Answer::Large);
    }
    let record = replies.clock().and_then(|now| record::open(bytes, now).ok());
    Ok(record.map_or(Answer::Undated, Answer::Record))
}

#[async_trait]
impl Tier for RedisTier {
    fn attach(&self, attachment: Attachment) {
        self.way.attach(attachment);
    }

    /// Returns `false` while the background task works on a missing connection, or on a Redis that is too
    /// slow.
    fn ready(&self) -> bool {
        self.way.ready()
    }

    fn health(&self) -> TierHealth {
        let health = RedisTier::health(self);
        let state = match health.state {
            RedisState::Untried => TierState::Untried,
            RedisState::Up => TierState::Up,
            RedisState::Degraded => TierState::Degraded,
            RedisState::Down => TierState::Down,
        };
        let word = TierHealth::new(state).cause(health.cause);
        word.reconnects(health.reconnects).breaker_open(health.breaker_open)
    }

    async fn connected(&self) -> Result<(), TierCause> {
        self.way.connected().await
    }

    async fn look(&self, asks: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        self.look_within(asks, tags, Budget::Own).await
    }

    /// Looks up values, which contain their end by the server's clock.
    ///
    /// One key of another type makes the whole call fail.
    async fn look_within(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        if asks.is_empty() && tags.is_empty() {
            return Ok(Found { records: Vec::new(), generations: Vec::new(), line: ChangeFeed::silent() });
        }
        if tags.is_empty()
            && let Some(groups) = self.way.by_server(asks.iter().map(|ask| ask.key))
        {
            return Box::pin(self.look_apart(asks, groups, budget)).await;
        }
        self.look_together(asks, tags, budget).await
    }

    async fn look_at(&self, key: &str) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        self.look_at_within(key, Budget::Own).await
    }

    /// Looks up one key. Concurrent lookups of many callers share round trips.
    async fn look_at_within(
        &self,
        key: &str,
        budget: Budget,
    ) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        let ask = [Lookup::new(key)];
        let Topology::One(node) = &*self.way else {
            return Box::pin(self.look_together(&ask, &[], budget)).await.and_then(only);
        };
        let read_timeout = node.settings.read_timeout;
        let Got { bytes, clock, line } = node.get(key, budget.of_read(read_timeout)).await?;
        let Some(bytes) = bytes else { return Ok((Record::Absent, line)) };
        if bytes.len() > LONGEST_SMALL {
            let ask = [Lookup { size: large::UNKNOWN, ..Lookup::new(key) }];
            return Box::pin(self.look_at_large(&ask, &[], budget)).await.and_then(only);
        }
        match clock.map(|now| record::open(bytes, now)) {
            Some(Ok(record)) => Ok((record, line)),
            _ => Box::pin(self.look_at_lives(&ask, &[], budget)).await.and_then(only),
        }
    }

    async fn lease(&self, claims: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError> {
        self.lease_within(claims, tags, Budget::Own).await
    }

    async fn lease_within(
        &self,
        claims: &[LeaseRequest<'_>],
        tags: TagRequest<'_>,
        budget: Budget,
    ) -> Result<Leased, TierError> {
        if claims.is_empty() && tags.keys.is_empty() && !tags.more {
            let (grants, generations, line) = (Vec::new(), Vec::new(), ChangeFeed::silent());
            return Ok(Leased { grants, generations, moment: None, line });
        }
        let mut batch = Batch::new();
        let journal = self.journal().filter(|_| tags.more);
        if let Some(journal) = journal {
            batch.add_script(&OPEN, journal, (journal::name(random::number()), millis(KEEP_JOURNAL)));
        }
        seed(&mut batch, tags.keys, tags.keep);
        for claim in claims {
            let (take, stamp) = match claim.take {
                LeaseMode::IfAbsent => ("free", 0),
                LeaseMode::IfRevision(stamp) => ("over", stamp),
                LeaseMode::Always => ("force", 0),
            };
            let (token, stamp) = (&claim.token.0[..], &stamp.to_le_bytes()[..]);
            batch.add_script(&LEASE, claim.key, (token, millis(claim.lease), take, stamp));
        }
        let read = |mut replies: Replies| {
            let moment = journal.map(|_| replies.next().map(moment)).transpose()?.flatten();
            let generations = seeded(&mut replies, tags.keys)?;
            let grants = claims.iter().map(|_| replies.next().map(grant));
            Ok((grants.collect::<RedisResult<Vec<LeaseReply>>>()?, generations, moment))
        };
        let ((grants, generations, moment), line) = self.read(batch, budget, read).await?;
        Ok(Leased { grants, generations, moment, line })
    }

    async fn adopt(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        let Some(journal) = self.journal() else {
            return Ok(TagsClaimed { generations: None, line: ChangeFeed::silent() });
        };
        let mut batch = Batch::ordered();
        // An invalidation writes the journal before it removes the generation. So if `SINCE` is too early to
        // find it, the removal comes later still, and is pushed, since the generation is tracked by then.
        seed(&mut batch, tags, keep);
        batch.then();
        batch.add_script(&SINCE, journal, journal::since(since.count, since.number, tags));
        let read = |mut replies: Replies| Ok((seeded(&mut replies, tags)?, replies.next::<bool>()?));
        let ((generations, is_current), line) = self.change(batch, read).await?;
        Ok(TagsClaimed { generations: is_current.then_some(generations), line })
    }

    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        self.fill_within(fills, Budget::Own).await
    }

    /// Stores values. If one fill is refused, others may have been stored.
    async fn fill_within(&self, mut fills: Vec<TierFill>, budget: Budget) -> Result<Filled, TierError> {
        if fills.is_empty() {
            return Ok(Filled { stored: Vec::new(), line: ChangeFeed::silent() });
        }
        let kept: Vec<_> = fills.iter().map(|fill| fill.tags.len()).collect();
        let is_large = |fill: &TierFill| fill.bytes.len() > LARGE_VALUE;
        let (mut keys, mut places, mut waited) = Default::default();
        if fills.iter().any(is_large) && !planted!("fill-without-lease-compare") {
            keys = fills.iter().map(|fill| fill.key.clone()).collect::<Vec<_>>();
            (places, waited) = Box::pin(self.bring_large(&mut fills, budget)).await?;
        }
        let places = places.into_iter().chain(iter::repeat_with(|| None));
        let mut batch = Batch::new();
        for (TierFill { key, token, mut bytes, ttl, tags }, place) in fills.into_iter().zip(places) {
            // The time spent on the transfer does not extend the lifetime of a value.
            let ttl = ttl.saturating_sub(waited);
            for tag in &tags {
                batch.add_script(&KEEP, tag, (millis(ttl), millis(longer(ttl))));
            }
            let stamp = token.stamp().to_le_bytes();
            if planted!("fill-without-lease-compare") {
                record::seal(&mut bytes, token.stamp());
                let mut set = command("SET", &key);
                batch.add(set.arg(bytes).arg("PX").arg(millis(ttl)).clone());
            } else if let Some(StagedValue { place, length }) = place {
                let args = (&token.0[..], length, millis(ttl), &stamp[..]);
                batch.add_script_on(&FILL_LARGE, &[&key, &place], args);
            } else {
                batch.add_script(&FILL, &key, (&token.0[..], bytes, millis(ttl), &stamp[..]));
            }
            if planted!("own-fill-untracked") {
                batch.add(command("PERSIST", &key));
            }
        }
        let read = |mut replies: Replies| {
            if planted!("fill-without-lease-compare") {
                return Ok(vec![1; kept.len()]);
            }
            let stored = |tags: &usize| {
                (0..*tags).try_for_each(|_| replies.next::<i64>().map(|_| ()))?;
                replies.next()
            };
            kept.iter().map(stored).collect::<RedisResult<Vec<i64>>>()
        };
        let (stored, line) = self.change_within(batch, budget, read).await?;
        if let Some(lost) = stored.iter().position(|stored| *stored == -1) {
            // Either it was lost on its way, as when all keys were removed, or the two connections lead to
            // different servers.
            if let Some(key) = keys.get(lost) {
                self.way.renew_large(key);
            }
            return Err(TierError::Unavailable);
        }
        Ok(Filled { stored: stored.into_iter().map(|stored| stored == 1).collect(), line })
    }

    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError> {
        self.write(Batch::of_script(&RENEW, key, (&token.0[..], millis(lease)))).await
    }

    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        let end = if is_failed { "failed" } else { "free" };
        self.write(Batch::of_script(&RELEASE, key, (&token.0[..], end))).await
    }

    async fn fail(&self, key: &str, token: LeaseToken, note: &Note) -> Result<bool, TierError> {
        self.write(Batch::of_script(&FAIL, key, (&token.0[..], &note.0[..], millis(NOTE_LIFE)))).await
    }

    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        if keys.is_empty() && tags.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::ordered();
        let journal = self.journal().filter(|_| !tags.is_empty());
        if let Some(journal) = journal {
            batch.add_script(&NOTE, journal, journal::note(tags));
            batch.then();
        }
        // One command for each key, since each may be on another server.
        for key in tags.iter().chain(keys) {
            batch.add(command("DEL", key));
        }
        let read = |mut replies: Replies| {
            journal.map(|_| replies.next::<u64>()).transpose()?;
            tags.iter().chain(keys).try_for_each(|_| replies.next::<u64>().map(|_| ()))
        };
        self.change(batch, read).await.map(|_| ())
    }

    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError> {
        self.sweep(pattern).await
    }

    async fn confirm(&self) -> Result<(), TierError> {
        self.confirm_all().await
    }

    async fn close(&self) {
        self.way.close().await;
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        let mut batch = Batch::of(command("EXISTS", key));
        batch.add(command("STRLEN", key));
        batch.add(tail(key));
        let read = |mut replies: Replies| {
            Ok((replies.next()?, replies.next()?, replies.next::<Vec<u8>>()?, replies.clock()))
        };
        let ((exists, length, tail, now), _) = self.read(batch, Budget::Own, read).await?;
        let has_value =
            |trailer: Trailer| trailer.has_value(length) && !now.is_some_and(|now| trailer.is_over(now));
        Ok(exists && Trailer::of(&tail).is_none_or(has_value))
    }

    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        self.write(Batch::of_script(&INCR, key, (by, ttl.map(millis)))).await
    }
}

/// Shows the address and the state, and no credentials.
impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("server", &format_args!("{}", self.way.label()))
            .field("state", &format_args!("{}", self.way.stand()))
            .finish_non_exhaustive()
    }
}

/// Adds commands that return the generations of tags, and create missing ones.
fn seed(batch: &mut Batch, tags: &[String], keep: Duration) {
    for tag in tags {
        let fresh = if planted!("tag-seeded-constant") { 7 } else { random::number() };
        batch.add_script(&SEED, tag, (format!("{fresh:016x}"), millis(keep), millis(longer(keep))));
    }
}

/// Returns the lifetime of a generation that is created, or that would end before `keep`.
fn longer(keep: Duration) -> Duration {
    if planted!("tag-kept-for-load") {
        return keep;
    }
    keep.saturating_add(keep.clamp(*SPARE.start(), *SPARE.end()))
}

/// Reads the generations that `seed` has asked for.
fn seeded(replies: &mut Replies, tags: &[String]) -> RedisResult<Vec<u64>> {
    let generation = |_| {
        let bytes = replies.next()?;
        // The script returns nothing but generations.
        Ok(generation(Some(bytes)).unwrap_or_default())
    };
    tags.iter().map(generation).collect()
}

/// Reads the position of the journal. A journal that another program wrote has none.
fn moment((name, number): (Vec<u8>, u64)) -> Option<JournalPosition> {
    Some(JournalPosition { count: generation(Some(name))?, number })
}

fn grant(answer: i64) -> LeaseReply {
    match answer {
        0 => LeaseReply::Granted,
        left => u64::try_from(left)
            .map_or(LeaseReply::ValueChanged, |left| LeaseReply::HeldElsewhere(Duration::from_millis(left))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixteen_digits_are_a_generation() {
        let read = |text: &str| generation(Some(text.as_bytes().to_vec()));
        assert_eq!(read("00000000000000ff"), Some(255));
        assert_eq!(read("ffffffffffffffff"), Some(u64::MAX));
        for text in
            ["", "ff", "+0000000000000ff", "00000000000000fg", "000000000000000ff", "\u{fc}0000000000000f"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(generation(Some(vec![0xff; 16])), None);
        assert_eq!(generation(None), None);
    }
}
