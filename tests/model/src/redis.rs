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
type Ears = Arc<OnceLock<Arc<dyn ChangeListener>>>;

/// The server.
#[derive(Default)]
pub(crate) struct Redis {
    data: Mutex<Data>,
    said: Condvar,
}

#[derive(Default)]
struct Data {
    entries: BTreeMap<String, Entry>,
    /// Connections that have read a key, by key.
    readers: BTreeMap<String, BTreeSet<usize>>,
    watchers: Vec<Ears>,
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
    line: Arc<ChangeFeed>,
}

impl Redis {
    pub(crate) fn connect(self: &Arc<Self>) -> Connection {
        let mut data = self.data();
        data.watchers.push(Arc::default());
        Connection { redis: self.clone(), number: data.watchers.len() - 1, line: ChangeFeed::certain() }
    }

    /// Makes the next `writes` operations that write fail.
    pub(crate) fn refuse(&self, writes: usize) {
        self.data().refusals = writes;
    }

    /// Delivers messages as they come, until the server is [closed](Self::close).
    pub(crate) fn hand_on(&self) {
        loop {
            let mut data = self.data();
            while data.messages.is_empty() && !data.is_closed {
                data = self.said.wait(data).expect("loom's locks are not poisoned");
            }
            if data.messages.is_empty() {
                return;
            }
            drop(data);
            self.hand_on_now();
        }
    }

    /// Delivers the queued messages.
    pub(crate) fn hand_on_now(&self) {
        while let Some((watcher, key)) = self.next_message() {
            if let Some(watcher) = watcher.get() {
                watcher.changed(key.as_bytes());
            }
        }
    }

    fn next_message(&self) -> Option<(Ears, String)> {
        let mut data = self.data();
        let (to, key) = data.messages.pop_front()?;
        Some((data.watchers[to].clone(), key))
    }

    /// Closes the server: only messages that are queued already are still delivered.
    pub(crate) fn close(&self) {
        self.data().is_closed = true;
        self.said.notify_all();
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
    fn read(&mut self, key: &str, by: usize) {
        self.readers.entry(key.to_owned()).or_default().insert(by);
    }

    fn changed(&mut self, key: &str, by: usize) {
        let readers = self.readers.remove(key).unwrap_or_default();
        self.messages
            .extend(readers.into_iter().filter(|reader| *reader != by).map(|to| (to, key.to_owned())));
    }

    fn record(&self, ask: &Lookup<'_>) -> Record {
        let long = Duration::from_secs(3600);
        match self.entries.get(ask.key) {
            Some(Entry { value: Some((_, stamp)), .. }) if ask.known == Some(*stamp) => Record::Unchanged,
            _ if ask.known.is_some() => Record::Changed,
            Some(Entry { value: Some((bytes, stamp)), .. }) => {
                Record::Value(Stored { bytes: bytes.clone(), remaining: None, stamp: *stamp })
            }
            Some(Entry { lease: Some(_), has_failed, .. }) => {
                Record::Leased { left: long, is_retry: *has_failed }
            }
            Some(Entry { has_failed: true, .. }) => Record::Failed,
            Some(Entry { error: Some(note), .. }) => Record::Error(note.clone()),
            _ => Record::Absent,
        }
    }

    fn grant(&mut self, claim: &LeaseRequest<'_>) -> LeaseReply {
        let entry = self.entries.entry(claim.key.to_owned()).or_default();
        if entry.lease.is_some() && claim.take != LeaseMode::Always {
            return LeaseReply::HeldElsewhere(Duration::from_secs(3600));
        }
        match (&entry.value, claim.take) {
            (Some(_), LeaseMode::IfAbsent) => return LeaseReply::ValueChanged,
            (Some((_, stamp)), LeaseMode::IfRevision(seen)) if *stamp != seen => {
                return LeaseReply::ValueChanged;
            }
            _ => {}
        }
        (entry.lease, entry.error) = (Some(claim.token), None);
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

    fn delete(&mut self, key: &str, by: usize) -> u64 {
        let count = u64::from(self.entries.remove(key).is_some());
        self.changed(key, by);
        count
    }
}

impl Connection {
    /// Performs one step, and wakes the delivery if there are messages.
    fn step<T>(&self, act: impl FnOnce(&mut Data) -> T) -> T {
        let mut data = self.redis.data();
        let result = act(&mut data);
        let has_message = !data.messages.is_empty();
        drop(data);
        if has_message {
            self.redis.said.notify_all();
        }
        result
    }

    /// Ends a lease. Returns whether it was held.
    fn give_back(
        &self,
        key: &str,
        token: LeaseToken,
        leave: impl FnOnce(&mut Entry),
    ) -> Result<bool, TierError> {
        let by = self.number;
        self.write(|data| {
            let held = data.entries.get_mut(key).filter(|entry| entry.lease == Some(token));
            let is_held = held.is_some();
            if let Some(entry) = held {
                entry.lease = None;
                leave(entry);
                data.changed(key, by);
            }
            is_held
        })
    }

    fn write<T>(&self, act: impl FnOnce(&mut Data) -> T) -> Result<T, TierError> {
        self.step(|data| {
            if data.refusals > 0 {
                data.refusals -= 1;
                return Err(TierError::Unavailable);
            }
            Ok(act(data))
        })
    }
}

#[async_trait]
impl Tier for Connection {
    fn attach(&self, attachment: Attachment) {
        let watcher = self.redis.data().watchers[self.number].clone();
        let _ = watcher.set(attachment.watcher);
    }

    async fn look(&self, asks: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        let by = self.number;
        Ok(self.step(|data| {
            asks.iter().for_each(|ask| data.read(ask.key, by));
            tags.iter().for_each(|tag| data.read(tag, by));
            let generation = |tag: &String| Some(data.entries.get(tag)?.value.as_ref()?.1);
            Found {
                records: asks.iter().map(|ask| data.record(ask)).collect(),
                generations: tags.iter().map(generation).collect(),
                line: self.line.clone(),
            }
        }))
    }

    async fn lease(&self, claims: &[LeaseRequest<'_>], ask: TagRequest<'_>) -> Result<Leased, TierError> {
        let (by, tags) = (self.number, ask.keys);
        self.write(|data| {
            let mut grants = Vec::new();
            for claim in claims {
                let grant = data.grant(claim);
                if grant == LeaseReply::Granted {
                    data.changed(claim.key, by);
                }
                data.read(claim.key, by);
                grants.push(grant);
            }
            let mut generations = Vec::new();
            for tag in tags {
                generations.push(data.generation(tag));
                data.read(tag, by);
            }
            if ask.more {
                data.read(JOURNAL, by);
            }
            let number = data.invalidated.len() as u64;
            let moment = ask.more.then_some(JournalPosition { count: 1, number });
            Leased { grants, generations, moment, line: self.line.clone() }
        })
    }

    async fn adopt(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        // Two steps, as in the Redis tier.
        let leased = self.lease(&[], TagRequest { keys: tags, keep, more: false }).await?;
        let is_current = self.step(|data| {
            let mut later = data.invalidated.iter().skip(since.number as usize);
            !later.any(|tag| tags.contains(tag))
        });
        Ok(TagsClaimed { generations: is_current.then_some(leased.generations), line: leased.line })
    }

    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        let by = self.number;
        self.write(|data| {
            let mut stored = Vec::new();
            for fill in fills {
                let held = data.entries.get_mut(&fill.key).filter(|entry| entry.lease == Some(fill.token));
                stored.push(held.is_some());
                if let Some(entry) = held {
                    *entry = Entry { value: Some((fill.bytes, fill.token.stamp())), ..Entry::default() };
                    data.changed(&fill.key, by);
                    data.read(&fill.key, by);
                }
            }
            Filled { stored, line: self.line.clone() }
        })
    }

    async fn renew(&self, key: &str, token: LeaseToken, _: Duration) -> Result<bool, TierError> {
        self.write(|data| data.entries.get(key).is_some_and(|entry| entry.lease == Some(token)))
    }

    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        self.give_back(key, token, |entry| entry.has_failed = is_failed && entry.value.is_none())
    }

    async fn fail(&self, key: &str, token: LeaseToken, note: &Note) -> Result<bool, TierError> {
        self.give_back(key, token, |entry| {
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
                data.changed(JOURNAL, self.number);
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
