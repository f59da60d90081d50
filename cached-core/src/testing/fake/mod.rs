//! Shared tier in memory for tests, with switches that make it fail.
//!
//! A `Server` holds the entries and is shared by all clones. Each clone has a `Connection` with a change feed
//! of its own. As with Redis, most operations make the connection watch their keys. The next change of a key
//! ends the watch, and is delivered unless the connection made it.

use std::{
    collections::{HashMap, HashSet},
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::ManualClock;
use crate::{
    base::{
        clock::{Clock, Nanos, nanos},
        glob,
    },
    error::tier::TierError,
    tier::{
        Attachment, ChangeListener, Filled, Found, JournalPosition, LeaseMode, LeaseReply, LeaseRequest,
        LeaseToken, Leased, Lookup, Note, Record, Revision, Stored, TagRequest, TagsClaimed, Tier, TierFill,
        feed::ChangeFeed,
    },
};

/// Lifetime of the record that a load leaves when it had nothing to share.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// Lifetime of the record of a load that ended in an error.
const ERROR_FOR: Duration = Duration::from_secs(5);

/// Shared tier in memory, with switches that make it fail.
///
/// Clones share the contents, and each clone is another connection. Two caches with clones of one tier are
/// like two processes with one Redis.
pub struct FakeTier {
    server: Arc<Server>,
    connection: Arc<Connection>,
}

struct Server {
    clock: Clock,
    entries: Mutex<HashMap<String, FakeRecord>>,
    connections: Mutex<Vec<Weak<Connection>>>,
    /// Journal: the tags that were invalidated, in order.
    invalidated: Mutex<Vec<String>>,
    generations: AtomicUsize,
    is_down: AtomicBool,
    loses_lease_replies: AtomicBool,
    fills_held: watch::Sender<bool>,
    deletes_held: watch::Sender<bool>,
    lookups_held: watch::Sender<bool>,
    round_trips: AtomicUsize,
}

struct Connection {
    listener: OnceLock<Arc<dyn ChangeListener>>,
    journal: OnceLock<String>,
    feed: Mutex<Arc<ChangeFeed>>,
    watched: Mutex<HashSet<String>>,
    is_silent: AtomicBool,
    /// Changes that are not delivered yet, if delivery is late; `None` if it is immediate.
    delayed: Mutex<Option<Vec<String>>>,
}

/// Contents of a key.
#[derive(Clone, Debug, Default)]
struct FakeRecord {
    value: Option<(Vec<u8>, Revision)>,
    deadline: Option<Nanos>,
    lease: Option<(LeaseToken, Nanos)>,
    has_failed: bool,
    error: Option<Note>,
}

/// Omits the contents, because a cache prints its tier in its own `Debug` output.
impl fmt::Debug for FakeTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeTier").field("entries", &lock(&self.server.entries).len()).finish_non_exhaustive()
    }
}

impl FakeTier {
    /// Creates an empty tier, in which entries expire by `clock`.
    pub fn new(clock: &ManualClock) -> Self {
        let server = Arc::new(Server {
            clock: clock.clock(),
            entries: Mutex::default(),
            connections: Mutex::default(),
            invalidated: Mutex::default(),
            generations: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            loses_lease_replies: AtomicBool::new(false),
            fills_held: watch::Sender::new(false),
            deletes_held: watch::Sender::new(false),
            lookups_held: watch::Sender::new(false),
            round_trips: AtomicUsize::new(0),
        });
        Self::connect(server)
    }

    fn connect(server: Arc<Server>) -> Self {
        let connection = Arc::new(Connection {
            listener: OnceLock::new(),
            journal: OnceLock::new(),
            feed: Mutex::new(ChangeFeed::local()),
            watched: Mutex::default(),
            is_silent: AtomicBool::new(false),
            delayed: Mutex::default(),
        });
        lock(&server.connections).push(Arc::downgrade(&connection));
        Self { server, connection }
    }

    /// Returns a handle to the same connection, unlike `clone`.
    ///
    /// A test can give one handle to a cache and keep the other.
    #[must_use]
    pub fn same_connection(&self) -> Self {
        Self { server: self.server.clone(), connection: self.connection.clone() }
    }

    /// Makes every operation of every clone fail, or work again.
    ///
    /// An operation that fails returns [`TierError::Unavailable`].
    pub fn set_down(&self, is_down: bool) {
        let was_down = self.server.is_down.swap(is_down, Ordering::SeqCst);
        for connection in self.server.connections() {
            if is_down && !was_down {
                connection.end_feed(self.server.clock.now());
            } else if was_down && !is_down {
                connection.restore_feed();
            }
        }
    }

    /// Stops the delivery of changes to this clone, or resumes it.
    ///
    /// While it is stopped, the clone has no proof that nothing changed. Operations work all the same.
    pub fn set_silent(&self, is_silent: bool) {
        self.connection.is_silent.store(is_silent, Ordering::SeqCst);
        if is_silent {
            lock(&self.connection.feed).advance_to(self.server.clock.now());
        } else {
            self.connection.end_feed(self.server.clock.now());
            self.connection.restore_feed();
        }
    }

    /// Delays the delivery of changes to this clone, or makes it immediate again.
    ///
    /// A delayed change is delivered right before the clone's next operation is answered, as over a slow
    /// network.
    pub fn set_late(&self, is_late: bool) {
        let delayed = mem::replace(&mut *lock(&self.connection.delayed), is_late.then(Vec::new));
        self.connection.deliver(delayed.unwrap_or_default());
    }

    /// Makes `fill` and `delete` wait before they take effect, or lets them proceed.
    pub fn hold_writes(&self, is_held: bool) {
        self.server.fills_held.send_replace(is_held);
        self.server.deletes_held.send_replace(is_held);
    }

    /// Makes `delete` wait before it takes effect, or lets it proceed.
    pub fn hold_deletes(&self, is_held: bool) {
        self.server.deletes_held.send_replace(is_held);
    }

    /// Loses the reply to each `lease`, or delivers it again.
    ///
    /// A `lease` without its reply takes effect, and fails with [`TierError::Timeout`].
    pub fn lose_leases(&self, are_lost: bool) {
        self.server.loses_lease_replies.store(are_lost, Ordering::SeqCst);
    }

    /// Makes `lookup` wait before it reads, or lets it proceed.
    pub fn hold_reads(&self, is_held: bool) {
        self.server.lookups_held.send_replace(is_held);
    }

    /// Returns the number of operations on all clones.
    pub fn round_trips(&self) -> usize {
        self.server.round_trips.load(Ordering::Relaxed)
    }

    /// Returns the keys that hold a value, sorted.
    pub fn keys(&self) -> Vec<String> {
        let entries = self.server.entries();
        let filled = entries.iter().filter(|(key, entry)| entry.value.is_some() && !key.contains(":%"));
        let mut keys: Vec<_> = filled.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    /// Replaces the bytes of a key by arbitrary ones, as a foreign program would.
    pub fn overwrite(&self, key: &str, bytes: Vec<u8>) {
        let mut entries = self.server.entries();
        let deadline = entries.get(key).and_then(|entry| entry.deadline);
        entries.insert(
            key.to_owned(),
            FakeRecord { value: Some((bytes, 0)), deadline, ..FakeRecord::default() },
        );
        drop(entries);
        self.server.notify(key, None);
    }

    /// Removes a key, as a foreign program would.
    pub fn remove(&self, key: &str) {
        self.server.entries().remove(key);
        self.server.notify(key, None);
    }

    /// Returns the bytes of the value under a key.
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        self.server.entries().get(key).and_then(|entry| Some(entry.value.as_ref()?.0.clone()))
    }

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

impl Server {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, FakeRecord>> {
        let mut entries = lock(&self.entries);
        let now = self.clock.now();
        entries.retain(|_, entry| entry.deadline.is_none_or(|deadline| now < deadline));
        entries
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.connections).iter().filter_map(Weak::upgrade).collect()
    }

    fn notify(&self, key: &str, by: Option<&Arc<Connection>>) {
        for connection in self.connections() {
            let was_watched = lock(&connection.watched).remove(key);
            let is_own = by.is_some_and(|by| Arc::ptr_eq(by, &connection));
            let is_delivered = was_watched && !is_own && !connection.is_silent.load(Ordering::SeqCst);
            if !is_delivered {
                continue;
            }
            let is_late =
                lock(&connection.delayed).as_mut().map(|delayed| delayed.push(key.to_owned())).is_some();
            if !is_late {
                connection.deliver(vec![key.to_owned()]);
            }
        }
    }

    fn record(&self, entry: &FakeRecord, known_revision: Option<Revision>) -> Record {
        let now = self.clock.now();
        let left = |deadline: Nanos| Duration::from_nanos(deadline.saturating_sub(now));
        let remaining = entry.deadline.map(left);
        match (&entry.value, entry.lease) {
            (Some((_, revision)), _) if known_revision == Some(*revision) => Record::Unchanged,
            _ if known_revision.is_some() => Record::Changed,
            (Some((bytes, revision)), _) => {
                Record::Value(Stored { bytes: bytes.clone(), remaining, revision: *revision })
            }
            (None, None) if entry.has_failed => Record::Failed,
            (None, None) if entry.error.is_some() => Record::Error(entry.error.clone().unwrap_or_default()),
            (None, Some((_, deadline))) => {
                Record::Leased { left: left(deadline), is_retry: entry.has_failed }
            }
            (None, None) => Record::Absent,
        }
    }

    fn grant(&self, entries: &mut HashMap<String, FakeRecord>, request: &LeaseRequest<'_>) -> LeaseReply {
        let now = self.clock.now();
        let deadline = now.saturating_add(nanos(request.lease));
        let entry = entries.entry(request.key.to_owned()).or_default();
        let other = entry.lease.filter(|(token, until)| *token != request.token && now < *until);
        if let (Some((_, until)), false) = (other, request.mode == LeaseMode::Always) {
            return LeaseReply::HeldElsewhere(Duration::from_nanos(until - now));
        }
        match (&entry.value, request.mode) {
            (Some(_), LeaseMode::IfAbsent) => return LeaseReply::ValueChanged,
            (Some((_, revision)), LeaseMode::IfRevision(seen)) if *revision != seen => {
                return LeaseReply::ValueChanged;
            }
            (Some(_), _) => entry.lease = Some((request.token, deadline)),
            (None, _) => {
                let has_failed = entry.has_failed;
                let lease = Some((request.token, deadline));
                *entry = FakeRecord { lease, deadline: Some(deadline), has_failed, ..FakeRecord::default() };
            }
        }
        LeaseReply::Granted
    }

    fn generation(&self, entries: &mut HashMap<String, FakeRecord>, tag: &str) -> u64 {
        let new_record = || {
            let number = self.generations.fetch_add(1, Ordering::Relaxed) as u64 + 1;
            FakeRecord { value: Some((number.to_le_bytes().to_vec(), number)), ..FakeRecord::default() }
        };
        let entry = entries.entry(tag.to_owned()).or_insert_with(new_record);
        entry.value.as_ref().map_or(0, |(_, generation)| *generation)
    }
}

impl Connection {
    fn deliver(&self, keys: Vec<String>) {
        let Some(listener) = self.listener.get() else { return };
        for key in keys {
            listener.changed(key.as_bytes());
        }
    }

    fn end_feed(&self, now: Nanos) {
        let feed = lock(&self.feed).clone();
        feed.advance_to(now);
        feed.end();
    }

    fn restore_feed(&self) {
        *lock(&self.feed) = ChangeFeed::local();
        if let Some(listener) = self.listener.get() {
            listener.restored();
        }
    }
}

impl Clone for FakeTier {
    fn clone(&self) -> Self {
        Self::connect(self.server.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
                |entry| self.server.record(entry, lookup.known_revision),
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
            let replies: Vec<_> =
                requests.iter().map(|request| self.server.grant(&mut entries, request)).collect();
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
