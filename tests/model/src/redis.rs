//! A replacement for Redis, with steps that loom can interleave.
//!
//! An operation is one step, like a script of Redis, or two steps where the Redis tier needs several
//! commands. Messages wait in a queue until they are delivered, early or late.
//!
//! As in Redis, the next change of a key is pushed to each connection that has read it, except the one that
//! made the change. Then the reads are forgotten. Nothing expires.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use loom::sync::Condvar;

use crate::{
    error::tier::TierError,
    sync::{Mutex, MutexGuard},
    tier::{
        Attachment, ChangeListener, Filled, Found, JournalPosition, LeaseMode, LeaseReply, LeaseRequest,
        LeaseToken, Leased, Lookup, Note, Record, Revision, Stored, TagRequest, TagsClaimed, Tier, TierFill,
        feed::ChangeFeed,
    },
};

/// Key of the journal in the default namespace.
const JOURNAL: &str = "cached-aside:%tags";

/// Listener for the messages of a connection, once there is one.
type ListenerSlot = Arc<OnceLock<Arc<dyn ChangeListener>>>;

/// The server.
#[derive(Default)]
pub(crate) struct Redis {
    data: Mutex<Data>,
    message_queued: Condvar,
}

#[derive(Default)]
struct Data {
    entries: BTreeMap<String, Entry>,
    /// Connections that have read a key, by key.
    readers: BTreeMap<String, BTreeSet<usize>>,
    listeners: Vec<ListenerSlot>,
    messages: VecDeque<(usize, String)>,
    is_closed: bool,
    last_generation: u64,
    /// Tags, in the order in which they were invalidated.
    invalidated: Vec<String>,
    /// Number of writes that are still to be refused.
    refusals: usize,
}

#[derive(Default)]
struct Entry {
    value: Option<(Vec<u8>, Revision)>,
    lease: Option<LeaseToken>,
    has_failed: bool,
    error: Option<Note>,
}

/// Connection of one process.
pub(crate) struct Connection {
    redis: Arc<Redis>,
    number: usize,
    feed: Arc<ChangeFeed>,
}

impl Redis {
    pub(crate) fn connect(self: &Arc<Self>) -> Connection {
        let mut data = self.data();
        data.listeners.push(Arc::default());
        Connection { redis: self.clone(), number: data.listeners.len() - 1, feed: ChangeFeed::local() }
    }

    /// Makes the next `writes` operations that write fail.
    pub(crate) fn refuse(&self, writes: usize) {
        self.data().refusals = writes;
    }

    /// Delivers messages as they come, until the server is [closed](Self::close).
    pub(crate) fn deliver_until_closed(&self) {
        loop {
            let mut data = self.data();
            while data.messages.is_empty() && !data.is_closed {
                data = self.message_queued.wait(data).expect("loom's locks are not poisoned");
            }
            if data.messages.is_empty() {
                return;
            }
            drop(data);
            self.deliver_queued();
        }
    }

    /// Delivers the queued messages.
    pub(crate) fn deliver_queued(&self) {
        while let Some((listener, key)) = self.next_message() {
            if let Some(listener) = listener.get() {
                listener.changed(key.as_bytes());
            }
        }
    }

    fn next_message(&self) -> Option<(ListenerSlot, String)> {
        let mut data = self.data();
        let (to, key) = data.messages.pop_front()?;
        Some((data.listeners[to].clone(), key))
    }

    /// Closes the server: only messages that are queued already are still delivered.
    pub(crate) fn close(&self) {
        self.data().is_closed = true;
        self.message_queued.notify_all();
    }

    /// Returns whether there is neither a value nor a lease under any key that is no tag.
    pub(crate) fn is_empty(&self) -> bool {
        self.data().entries.iter().all(|(key, entry)| key.contains(":%") || entry.is_empty())
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().expect("loom's locks are not poisoned")
    }
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.value.is_none() && self.lease.is_none()
    }
}

impl Data {
    fn read(&mut self, key: &str, connection: usize) {
        self.readers.entry(key.to_owned()).or_default().insert(connection);
    }

    fn report_change(&mut self, key: &str, connection: usize) {
        let readers = self.readers.remove(key).unwrap_or_default();
        self.messages.extend(
            readers.into_iter().filter(|reader| *reader != connection).map(|to| (to, key.to_owned())),
        );
    }

    fn record(&self, lookup: &Lookup<'_>) -> Record {
        let long = Duration::from_secs(3600);
        match self.entries.get(lookup.key) {
            Some(Entry { value: Some((_, revision)), .. }) if lookup.known_revision == Some(*revision) => {
                Record::Unchanged
            }
            _ if lookup.known_revision.is_some() => Record::Changed,
            Some(Entry { value: Some((bytes, revision)), .. }) => {
                Record::Value(Stored { bytes: bytes.clone(), remaining: None, revision: *revision })
            }
            Some(Entry { lease: Some(_), has_failed, .. }) => {
                Record::Leased { left: long, is_retry: *has_failed }
            }
            Some(Entry { has_failed: true, .. }) => Record::Failed,
            Some(Entry { error: Some(note), .. }) => Record::Error(note.clone()),
            _ => Record::Absent,
        }
    }

    fn grant(&mut self, request: &LeaseRequest<'_>) -> LeaseReply {
        let entry = self.entries.entry(request.key.to_owned()).or_default();
        if entry.lease.is_some() && request.mode != LeaseMode::Always {
            return LeaseReply::HeldElsewhere(Duration::from_secs(3600));
        }
        match (&entry.value, request.mode) {
            (Some(_), LeaseMode::IfAbsent) => return LeaseReply::ValueChanged,
            (Some((_, revision)), LeaseMode::IfRevision(seen)) if *revision != seen => {
                return LeaseReply::ValueChanged;
            }
            _ => {}
        }
        (entry.lease, entry.error) = (Some(request.token), None);
        LeaseReply::Granted
    }

    fn generation(&mut self, tag: &str) -> u64 {
        let entry = self.entries.entry(tag.to_owned()).or_default();
        if entry.value.is_none() {
            self.last_generation += 1;
            entry.value = Some((Vec::new(), self.last_generation));
        }
        entry.value.as_ref().map_or(0, |(_, generation)| *generation)
    }

    fn delete(&mut self, key: &str, connection: usize) -> u64 {
        let count = u64::from(self.entries.remove(key).is_some());
        self.report_change(key, connection);
        count
    }
}

impl Connection {
    /// Performs one step, and wakes the delivery if there are messages.
    fn step<T>(&self, operation: impl FnOnce(&mut Data) -> T) -> T {
        let mut data = self.redis.data();
        let result = operation(&mut data);
        let has_message = !data.messages.is_empty();
        drop(data);
        if has_message {
            self.redis.message_queued.notify_all();
        }
        result
    }

    /// Ends a lease. Returns whether it was held.
    fn end_lease(
        &self,
        key: &str,
        token: LeaseToken,
        update: impl FnOnce(&mut Entry),
    ) -> Result<bool, TierError> {
        let connection = self.number;
        self.write(|data| {
            let held = data.entries.get_mut(key).filter(|entry| entry.lease == Some(token));
            let is_held = held.is_some();
            if let Some(entry) = held {
                entry.lease = None;
                update(entry);
                data.report_change(key, connection);
            }
            is_held
        })
    }

    fn write<T>(&self, operation: impl FnOnce(&mut Data) -> T) -> Result<T, TierError> {
        self.step(|data| {
            if data.refusals > 0 {
                data.refusals -= 1;
                return Err(TierError::Unavailable);
            }
            Ok(operation(data))
        })
    }
}

#[async_trait]
impl Tier for Connection {
    fn attach(&self, attachment: Attachment) {
        let listener = self.redis.data().listeners[self.number].clone();
        let _ = listener.set(attachment.listener);
    }

    async fn lookup(&self, lookups: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        let connection = self.number;
        Ok(self.step(|data| {
            lookups.iter().for_each(|lookup| data.read(lookup.key, connection));
            tags.iter().for_each(|tag| data.read(tag, connection));
            let generation = |tag: &String| Some(data.entries.get(tag)?.value.as_ref()?.1);
            Found {
                records: lookups.iter().map(|lookup| data.record(lookup)).collect(),
                generations: tags.iter().map(generation).collect(),
                feed: self.feed.clone(),
            }
        }))
    }

    async fn lease(
        &self,
        requests: &[LeaseRequest<'_>],
        tag_request: TagRequest<'_>,
    ) -> Result<Leased, TierError> {
        let (connection, tags) = (self.number, tag_request.keys);
        self.write(|data| {
            let mut replies = Vec::new();
            for request in requests {
                let reply = data.grant(request);
                if reply == LeaseReply::Granted {
                    data.report_change(request.key, connection);
                }
                data.read(request.key, connection);
                replies.push(reply);
            }
            let mut generations = Vec::new();
            for tag in tags {
                generations.push(data.generation(tag));
                data.read(tag, connection);
            }
            if tag_request.needs_position {
                data.read(JOURNAL, connection);
            }
            let offset = data.invalidated.len() as u64;
            let position = tag_request.needs_position.then_some(JournalPosition { journal_id: 1, offset });
            Leased { replies, generations, position, feed: self.feed.clone() }
        })
    }

    async fn claim_tags(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        // Two steps, as in the Redis tier.
        let leased = self.lease(&[], TagRequest { keys: tags, keep, needs_position: false }).await?;
        let is_current = self.step(|data| {
            let mut later = data.invalidated.iter().skip(since.offset as usize);
            !later.any(|tag| tags.contains(tag))
        });
        Ok(TagsClaimed { generations: is_current.then_some(leased.generations), feed: leased.feed })
    }

    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        let connection = self.number;
        self.write(|data| {
            let mut stored = Vec::new();
            for fill in fills {
                let held = data.entries.get_mut(&fill.key).filter(|entry| entry.lease == Some(fill.token));
                stored.push(held.is_some());
                if let Some(entry) = held {
                    *entry = Entry { value: Some((fill.bytes, fill.token.revision())), ..Entry::default() };
                    data.report_change(&fill.key, connection);
                    data.read(&fill.key, connection);
                }
            }
            Filled { stored, feed: self.feed.clone() }
        })
    }

    async fn renew(&self, key: &str, token: LeaseToken, _: Duration) -> Result<bool, TierError> {
        self.write(|data| data.entries.get(key).is_some_and(|entry| entry.lease == Some(token)))
    }

    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        self.end_lease(key, token, |entry| entry.has_failed = is_failed && entry.value.is_none())
    }

    async fn fail(&self, key: &str, token: LeaseToken, note: &Note) -> Result<bool, TierError> {
        self.end_lease(key, token, |entry| {
            if entry.value.is_none() {
                (entry.has_failed, entry.error) = (false, Some(note.clone()));
            }
        })
    }

    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        // Two steps, as in the Redis tier.
        if !tags.is_empty() {
            self.write(|data| {
                data.invalidated.extend_from_slice(tags);
                data.report_change(JOURNAL, self.number);
            })?;
        }
        self.write(|data| tags.iter().chain(keys).for_each(|key| _ = data.delete(key, self.number)))
    }

    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError> {
        self.write(|data| {
            let is_meant = |key: &&String| crate::base::glob::matches(pattern, key) && !key.contains(":%");
            let keys: Vec<String> = data.entries.keys().filter(is_meant).cloned().collect();
            keys.iter().map(|key| data.delete(key, self.number)).sum()
        })
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        Ok(self.step(|data| data.entries.get(key).is_some_and(|entry| entry.value.is_some())))
    }

    async fn incr(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, TierError> {
        Err(TierError::Unavailable)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("number", &self.number).finish_non_exhaustive()
    }
}
