//! Operations of the tier in memory: the contract of a tier, as Redis keeps it.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, MutexGuard, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    base::{clock::nanos, glob},
    error::tier::TierError,
    testing::fake::{
        FakeTier,
        connection::Connection,
        lock,
        record::{FakeRecord, grant},
    },
    tier::{
        Attachment, Filled, Found, JournalPosition, LeaseReply, LeaseRequest, LeaseToken, Leased, Lookup,
        Note, Record, TagRequest, TagsClaimed, Tier, TierFill, feed::ChangeFeed,
    },
};

/// Lifetime of the record that a load leaves when it had nothing to share.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// Lifetime of the record of a load that ended in an error.
const ERROR_FOR: Duration = Duration::from_secs(5);

impl FakeTier {
    /// Begins a round trip: counts it, delivers late changes, and fails if the tier is down.
    fn begin_operation(&self) -> Result<MutexGuard<'_, HashMap<String, FakeRecord>>, TierError> {
        self.server.round_trips.fetch_add(1, Ordering::Relaxed);
        let delayed = lock(&self.connection.delayed).as_mut().map(mem::take);
        self.connection.deliver(delayed.unwrap_or_default());
        if self.server.is_down.load(Ordering::SeqCst) {
            return Err(TierError::Unavailable);
        }
        Ok(self.server.entries())
    }

    /// Returns an empty record that expires after `time`.
    fn expiring_record(&self, time: Duration) -> FakeRecord {
        let deadline = self.server.clock.now().saturating_add(nanos(time));
        FakeRecord { deadline: Some(deadline), ..FakeRecord::default() }
    }

    /// Ends a lease, and returns whether it was still there. If the key holds no value, its contents become
    /// `replacement`, or the key is removed.
    fn end_lease(
        &self,
        key: &str,
        token: LeaseToken,
        replacement: Option<FakeRecord>,
    ) -> Result<bool, TierError> {
        {
            let mut entries = self.begin_operation()?;
            let entry = entries.get_mut(key);
            let held = entry.filter(|entry| entry.lease.is_some_and(|(other, _)| other == token));
            let Some(entry) = held else { return Ok(false) };
            entry.lease = None;
            if entry.value.is_none() {
                match replacement {
                    Some(replacement) => *entry = replacement,
                    None => _ = entries.remove(key),
                }
            }
        }
        self.notify_others(key);
        self.watch(key);
        Ok(true)
    }

    fn feed(&self) -> Arc<ChangeFeed> {
        lock(&self.connection.feed).clone()
    }

    fn watch(&self, key: &str) {
        lock(&self.connection.watched).insert(key.to_owned());
    }

    /// Delivers a change to all other connections.
    fn notify_others(&self, key: &str) {
        self.server.notify(key, Some(&self.connection));
    }
}

async fn wait_until_released(held: &watch::Sender<bool>) {
    // This fails only without a sender, and there is one.
    let _ = held.subscribe().wait_for(|is_held| !is_held).await;
}

#[async_trait]
impl Tier for FakeTier {
    fn attach(&self, attachment: Attachment) {
        let _ = self.connection.listener.set(attachment.listener);
        let _ = self.connection.journal.set(attachment.journal);
    }

    fn ready(&self) -> bool {
        !self.server.is_down.load(Ordering::SeqCst)
    }

    async fn lookup(&self, lookups: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        wait_until_released(&self.server.lookups_held).await;
        let feed = self.feed();
        let entries = self.begin_operation()?;
        let record = |lookup: &Lookup<'_>| {
            self.watch(lookup.key);
            entries.get(lookup.key).map_or(
                if lookup.known_revision.is_some() { Record::Changed } else { Record::Absent },
                |entry| entry.reply(lookup.known_revision, self.server.clock.now()),
            )
        };
        let generation = |tag: &String| {
            self.watch(tag);
            entries.get(tag).and_then(|entry| Some(entry.value.as_ref()?.1))
        };
        Ok(Found {
            records: lookups.iter().map(record).collect(),
            generations: tags.iter().map(generation).collect(),
            feed,
        })
    }

    async fn lease(
        &self,
        requests: &[LeaseRequest<'_>],
        tag_request: TagRequest<'_>,
    ) -> Result<Leased, TierError> {
        let (feed, tags) = (self.feed(), tag_request.keys);
        let (replies, generations) = {
            let mut entries = self.begin_operation()?;
            let now = self.server.clock.now();
            let replies: Vec<_> = requests.iter().map(|request| grant(&mut entries, request, now)).collect();
            let generations = tags.iter().map(|tag| self.server.generation(&mut entries, tag)).collect();
            (replies, generations)
        };
        for (request, reply) in requests.iter().zip(&replies) {
            if *reply == LeaseReply::Granted {
                self.notify_others(request.key);
            }
            self.watch(request.key);
        }
        for tag in tags {
            self.watch(tag);
        }
        if let (true, Some(journal)) = (tag_request.needs_position, self.connection.journal.get()) {
            self.watch(journal);
        }
        if self.server.loses_lease_replies.load(Ordering::SeqCst) {
            return Err(TierError::Timeout);
        }
        let offset = lock(&self.server.invalidated).len() as u64;
        let position = tag_request.needs_position.then_some(JournalPosition { journal_id: 1, offset });
        Ok(Leased { replies, generations, position, feed })
    }

    async fn claim_tags(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        let leased = self.lease(&[], TagRequest { keys: tags, keep, needs_position: false }).await?;
        let invalidated = lock(&self.server.invalidated);
        let later = invalidated.iter().skip(usize::try_from(since.offset).unwrap_or(usize::MAX));
        let is_current = !later.into_iter().any(|tag| tags.contains(tag));
        Ok(TagsClaimed { generations: is_current.then_some(leased.generations), feed: leased.feed })
    }

    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        wait_until_released(&self.server.fills_held).await;
        let feed = self.feed();
        let mut stored = Vec::new();
        {
            let mut entries = self.begin_operation()?;
            let now = self.server.clock.now();
            for fill in &fills {
                let entry = entries.get_mut(&fill.key);
                let held = entry.filter(|entry| entry.lease.is_some_and(|(token, _)| token == fill.token));
                stored.push(held.is_some());
                if let Some(entry) = held {
                    *entry = FakeRecord {
                        value: Some((fill.bytes.clone(), fill.token.revision())),
                        deadline: Some(now.saturating_add(nanos(fill.ttl))),
                        ..FakeRecord::default()
                    };
                }
            }
        }
        for (fill, _) in fills.iter().zip(&stored).filter(|(_, stored)| **stored) {
            self.notify_others(&fill.key);
            self.watch(&fill.key);
        }
        Ok(Filled { stored, feed })
    }

    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError> {
        let mut entries = self.begin_operation()?;
        let deadline = self.server.clock.now().saturating_add(nanos(lease));
        let entry = entries.get_mut(key);
        let held = entry.filter(|entry| entry.lease.is_some_and(|(other, _)| other == token));
        let is_held = held.is_some_and(|entry| {
            entry.lease = Some((token, deadline));
            if entry.value.is_none() {
                entry.deadline = Some(deadline);
            }
            true
        });
        drop(entries);
        // As in Redis, where a renewal writes the record, and so changes the key.
        if is_held {
            self.notify_others(key);
            self.watch(key);
        }
        Ok(is_held)
    }

    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        let replacement = FakeRecord { has_failed: true, ..self.expiring_record(FAILED_FOR) };
        self.end_lease(key, token, is_failed.then_some(replacement))
    }

    async fn fail(&self, key: &str, token: LeaseToken, note: &Note) -> Result<bool, TierError> {
        let replacement = FakeRecord { error: Some(note.clone()), ..self.expiring_record(ERROR_FOR) };
        self.end_lease(key, token, Some(replacement))
    }

    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        wait_until_released(&self.server.deletes_held).await;
        drop(self.begin_operation()?);
        lock(&self.server.invalidated).extend_from_slice(tags);
        if let (false, Some(journal)) = (tags.is_empty(), self.connection.journal.get()) {
            self.notify_others(journal);
        }
        for key in tags.iter().chain(keys) {
            // As in Redis, where the removal of an absent key is no change.
            if self.server.entries().remove(key).is_some() {
                self.notify_others(key);
            }
        }
        Ok(())
    }

    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError> {
        wait_until_released(&self.server.deletes_held).await;
        let matching: Vec<_> = {
            let mut entries = self.begin_operation()?;
            let is_match = |key: &String| glob::matches(pattern, key) && !key.contains(":%");
            entries.extract_if(|key, _| is_match(key)).map(|(key, _)| key).collect()
        };
        for key in &matching {
            self.notify_others(key);
        }
        Ok(matching.len() as u64)
    }

    async fn confirm(&self) -> Result<(), TierError> {
        let is_silent = |connection: &Arc<Connection>| connection.is_silent.load(Ordering::SeqCst);
        drop(self.begin_operation()?);
        if self.server.connections().iter().any(is_silent) { Err(TierError::Timeout) } else { Ok(()) }
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        Ok(self.begin_operation()?.get(key).is_some_and(|entry| entry.value.is_some()))
    }

    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        let now = self.server.clock.now();
        let mut entries = self.begin_operation()?;
        let entry = entries.entry(key.to_owned()).or_insert_with(|| FakeRecord {
            value: Some((b"0".to_vec(), 0)),
            deadline: ttl.map(|ttl| now.saturating_add(nanos(ttl))),
            ..FakeRecord::default()
        });
        let refused = || TierError::Refused("ERR".to_owned());
        let (bytes, _) = entry.value.as_mut().ok_or_else(refused)?;
        let old: i64 =
            std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or_else(refused)?;
        let sum = old.checked_add(by).ok_or_else(refused)?;
        *bytes = sum.to_string().into_bytes();
        Ok(sum)
    }
}
