//! The operations.

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
    tier::{confirm::Confirms, large::Apart},
    topology::Way,
    tracking::attachment::Attached,
};

/// A tag's generation is kept once more for the time that is asked for, but not for less or more than this, so that it need
/// not be prolonged often, and does not outlive its values for long.
const SPARE: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(60 * 60);

/// A journal of tags that nobody asked for in so long is forgotten. Loads are shorter.
const KEEP_JOURNAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the note of a failed load stays: longer than a waiting process takes to ask, however busy it is.
const NOTE_LIFE: Duration = Duration::from_secs(5);

/// A shared tier in Redis.
///
/// It holds one connection, made in the background from the first operation on and replaced when it breaks; and another one for
/// [large](LARGE_VALUE) values, from the first of them on, so that nothing small waits behind one.
/// While there is none, every operation fails at once with [`TierError::Unavailable`]; only operations that
/// come during the very first attempt wait for it, so that the first call of a program can already hit: for at most
/// [`connect_timeout`](crate::RedisTierBuilder::connect_timeout), and a server that refuses does not have them wait. No operation
/// takes longer than its budget otherwise ([`operation_timeout`](crate::RedisTierBuilder::operation_timeout),
/// [`write_timeout`](crate::RedisTierBuilder::write_timeout)), which the cache [stretches](Budget) where a load costs more; by half as long
/// again if this process itself comes late to look at the answer.
///
/// While Redis hangs or is slow, `look`, `lease` and `exists` fail at once as well, so that nobody pays for it before he loads:
/// a breaker opens when four of the last eight took more than four fifths of their budget. One heartbeat at a time
/// finds out when it closes, within [`retry`](crate::RedisTierBuilder::retry)'s longest pause after Redis is as fast as before.
/// Writes go on trying. [`state`](Self::state), [`watch_state`](Self::watch_state) and [`health`](Self::health) say
/// how it stands, and [`RedisHealth::cause`](crate::RedisHealth) why.
///
/// Operations need a tokio runtime with time and I/O enabled; outside of any runtime they are
/// [`TierError::Unavailable`]. The background task lives on the runtime of the operation that started it; when
/// that runtime has ended, the next operation starts it on its own. Dropping the tier ends the task.
///
/// It tells its cache of changes if the server speaks RESP3 and allows `CLIENT TRACKING`; otherwise what was read
/// holds for the [bound](Attachment::bound). A tier belongs to one cache: [`attach`](Tier::attach) counts once.
///
/// `Debug` shows the server's address and the state of the connection, and never a user or a password.
pub struct RedisTier {
    pub(crate) way: Arc<Way>,
    pub(crate) confirms: Arc<Confirms>,
}

impl RedisTier {
    /// The key of the journal of tags.
    fn journal(&self) -> Option<&str> {
        self.way.attached().map(Attached::journal)
    }

    /// Runs what somebody waits for before he has a value, and says over which line.
    pub(crate) async fn read<T>(
        &self,
        batch: Batch,
        budget: Budget,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let answers = self.way.read(&batch, budget).await?;
        self.way.understand(answers, read)
    }

    /// Runs what writes.
    pub(crate) async fn change<T>(
        &self,
        batch: Batch,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        self.change_within(batch, Budget::Own, read).await
    }

    /// The same for a caller that can wait for so long.
    async fn change_within<T>(
        &self,
        batch: Batch,
        budget: Budget,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let answers = self.way.change(&batch, budget).await?;
        self.way.understand(answers, read)
    }

    /// Runs one that writes, and has one answer.
    async fn write<T: redis::FromRedisValue>(&self, batch: Batch) -> Result<T, TierError> {
        let outcome = self.change(batch, |mut replies| replies.next()).await?;
        Ok(outcome.0)
    }

    /// Asks each server for what it holds. If one does not answer, nothing is found there.
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

    /// The same where a value does not say when it ends, as one that another program wrote, or where the server does not say what
    /// time it is.
    async fn look_at_lives(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        // The other order would give a value the life of its successor.
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

/// Of a tag that changes before the values are read it is told as of a change: it is watched by then.
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

/// Of one key.
fn only(mut seen: Found) -> Result<(Record, Arc<ChangeFeed>), TierError> {
    Ok((seen.records.pop().ok_or(TierError::Unavailable)?, seen.line))
}

fn question(ask: &Lookup<'_>) -> redis::Cmd {
    if ask.known.is_some() { tail(ask.key) } else { whole(ask.key) }
}

pub(crate) fn generations(replies: &mut Replies, tags: &[String]) -> RedisResult<Vec<Option<u64>>> {
    tags.iter().map(|_| replies.next().map(generation)).collect()
}

/// The answer to a question about one key.
enum Answer {
    Record(Record),
    /// It does not say how long it holds.
    Undated,
    /// It is not all of it.
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

    /// `false` while there is no connection, or Redis is too slow to be asked, and the background task is at work on it.
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

    /// A value says itself when it ends, by the server's clock. One key of another type makes the whole call fail.
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

    /// Of those that many callers ask for at the same time, several go in one round trip.
    async fn look_at_within(
        &self,
        key: &str,
        budget: Budget,
    ) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        let ask = [Lookup::new(key)];
        let Way::One(node) = &*self.way else {
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
        // A tag that is invalidated between the two is noted before its generation is removed.
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

    /// When one fill is refused, others may have been stored.
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
            // Waiting does not make a value live longer.
            let ttl = ttl.saturating_sub(waited);
            for tag in &tags {
                batch.add_script(&KEEP, tag, (millis(ttl), millis(longer(ttl))));
            }
            let stamp = token.stamp().to_le_bytes();
            if planted!("fill-without-lease-compare") {
                record::seal(&mut bytes, token.stamp());
                let mut set = command("SET", &key);
                batch.add(set.arg(bytes).arg("PX").arg(millis(ttl)).clone());
            } else if let Some(Apart { place, length }) = place {
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
            // On its way, as when all keys were removed; or the two connections lead to different servers.
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
        // One by one, as each may be another server's.
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

/// The address and the state, and nothing of the credentials.
impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("server", &format_args!("{}", self.way.label()))
            .field("state", &format_args!("{}", self.way.stand()))
            .finish_non_exhaustive()
    }
}

/// Asks for the generations of tags, and makes those that there are not.
fn seed(batch: &mut Batch, tags: &[String], keep: Duration) {
    for tag in tags {
        let fresh = if planted!("tag-seeded-constant") { 7 } else { random::number() };
        batch.add_script(&SEED, tag, (format!("{fresh:016x}"), millis(keep), millis(longer(keep))));
    }
}

/// How long a generation is kept that is made, or would not last for as long as is asked for.
fn longer(keep: Duration) -> Duration {
    if planted!("tag-kept-for-load") {
        return keep;
    }
    keep.saturating_add(keep.clamp(*SPARE.start(), *SPARE.end()))
}

/// The answers.
fn seeded(replies: &mut Replies, tags: &[String]) -> RedisResult<Vec<u64>> {
    let generation = |_| {
        let bytes = replies.next()?;
        // The script answers with nothing else.
        Ok(generation(Some(bytes)).unwrap_or_default())
    };
    tags.iter().map(generation).collect()
}

/// How far the journal is. One that another program wrote is none.
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
