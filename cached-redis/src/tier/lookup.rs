//! Lookups: values, their revisions, and the generations of tags.
//!
//! [`RedisTier::lookup_keys`] splits a lookup by servers, and [`RedisTier::lookup_one`] shares round trips
//! with other callers. Neither queries how much time is left, since a value contains its end. Some values
//! take a second round trip: a large one (`large`), and one without its end or from a server with an unknown
//! clock (`lookup_with_ttls`).
//!
//! Generations are read before values. If a tag changes in between, it is tracked already, and a push reports
//! it.

use std::sync::Arc;

use cached_core::{
    TierError,
    tier::{Budget, ChangeFeed, Found, Lookup, Record},
};
use redis::RedisResult;

use crate::{
    cluster::join_all,
    node::reads::Got,
    protocol::{
        batch::{Batch, Replies},
        commands::{
            MAX_SMALL_LENGTH, command, generation_command, non_empty, trailer_command, value_command,
        },
        record::{self, Trailer},
    },
    tier::{RedisTier, large::UNKNOWN_SIZE, tags::read_generations},
    topology::Topology,
};

impl RedisTier {
    /// Looks up keys. Without tags, each server of a cluster is queried on its own.
    pub(super) async fn lookup_keys(
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

    /// Looks up one key, in a round trip that lookups of other callers may share.
    pub(super) async fn lookup_one(
        &self,
        key: &str,
        budget: Budget,
    ) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        let Topology::Standalone(node) = &*self.topology else {
            return Box::pin(self.lookup_alone(key, budget)).await;
        };
        let read_timeout = node.settings.read_timeout;
        let Got { bytes, clock, feed } = node.get(key, budget.read_limit(read_timeout)).await?;
        let Some(bytes) = bytes else { return Ok((Record::Absent, feed)) };
        let size = if bytes.len() > MAX_SMALL_LENGTH { UNKNOWN_SIZE } else { 0 };
        if let (0, Some(Ok(record))) = (size, clock.map(|now| record::parse(bytes, now))) {
            return Ok((record, feed));
        }
        Box::pin(self.lookup_again(key, size, budget)).await
    }

    async fn lookup_alone(&self, key: &str, budget: Budget) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        self.lookup_batch(&[Lookup::new(key)], &[], budget).await.and_then(only_record)
    }

    /// Looks up a value that is large, or whose end is not known from the value itself.
    async fn lookup_again(
        &self,
        key: &str,
        size: usize,
        budget: Budget,
    ) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        let lookups = [Lookup { size, ..Lookup::new(key) }];
        let found = if lookups[0].is_large() {
            self.lookup_large(&lookups, &[], budget).await
        } else {
            self.lookup_with_ttls(&lookups, &[], budget).await
        };
        found.and_then(only_record)
    }

    /// Returns whether a key has a value that has not expired.
    pub(super) async fn has_value(&self, key: &str) -> Result<bool, TierError> {
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
                    lookups[position].size = UNKNOWN_SIZE;
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

fn lookup_command(lookup: &Lookup<'_>) -> redis::Cmd {
    if lookup.known_revision.is_some() { trailer_command(lookup.key) } else { value_command(lookup.key) }
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

/// Returns the record of the only key.
fn only_record(mut found: Found) -> Result<(Record, Arc<ChangeFeed>), TierError> {
    Ok((found.records.pop().ok_or(TierError::Unavailable)?, found.feed))
}
