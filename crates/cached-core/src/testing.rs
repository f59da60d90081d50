//! For tests of what is cached: time that moves when told, a tier in memory, and loads that are counted.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! # extern crate cached_core as cached_aside;
//! use cached_aside::{Cache, testing::{CountedLoad, FakeTier, ManualClock}};
//!
//! let clock = ManualClock::new();
//! let cache = Cache::builder().tier(FakeTier::new(&clock)).clock(clock.clock()).build()?;
//! let users = cache.keyspace::<u64, String>("user", Duration::from_secs(60))?;
//!
//! let load = CountedLoad::new("Ada".to_owned());
//! users.get_or_load(&7, || load.run()).await?;
//! users.get_or_load(&7, || load.run()).await?;
//! assert_eq!(load.runs(), 1);
//!
//! clock.advance(Duration::from_secs(60));
//! users.get_or_load(&7, || load.run()).await?;
//! assert_eq!(load.runs(), 2);
//! # Ok(()) }
//! ```

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    Clock, Stored, Tier, TierError,
    clock::{Nanos, nanos},
};

/// A clock that stands still until it is told to move. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock at its beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// For [`CacheBuilder::clock`](crate::CacheBuilder::clock).
    pub fn clock(&self) -> Clock {
        Clock::manual(self.0.clone())
    }

    /// Moves the time on, for every cache with this clock.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(nanos(by), Ordering::Relaxed);
    }
}

/// A shared tier in memory, with a switch that makes it fail. Clones share what they hold, so two caches with clones of
/// one tier are like two processes with one Redis.
#[derive(Clone, Debug)]
pub struct FakeTier(Arc<Fake>);

#[derive(Debug)]
struct Fake {
    clock: Clock,
    entries: Mutex<HashMap<String, FakeEntry>>,
    is_down: AtomicBool,
    writes_held: watch::Sender<bool>,
    deletes_held: watch::Sender<bool>,
    reads_held: watch::Sender<bool>,
    round_trips: AtomicUsize,
}

#[derive(Clone, Debug)]
struct FakeEntry {
    bytes: Vec<u8>,
    deadline: Option<Nanos>,
}

impl FakeTier {
    /// An empty tier whose entries expire by `clock`.
    pub fn new(clock: &ManualClock) -> Self {
        Self(Arc::new(Fake {
            clock: clock.clock(),
            entries: Mutex::default(),
            is_down: AtomicBool::new(false),
            writes_held: watch::Sender::new(false),
            deletes_held: watch::Sender::new(false),
            reads_held: watch::Sender::new(false),
            round_trips: AtomicUsize::new(0),
        }))
    }

    /// From now on, every operation fails with [`TierError::Unavailable`], or works again.
    pub fn set_down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::Relaxed);
    }

    /// From now on, `set`, `set_many` and `delete` wait before they take effect, or go on.
    pub fn hold_writes(&self, is_held: bool) {
        self.0.writes_held.send_replace(is_held);
    }

    /// From now on, `delete` waits before it takes effect, or goes on.
    pub fn hold_deletes(&self, is_held: bool) {
        self.0.deletes_held.send_replace(is_held);
    }

    /// From now on, `get` and `get_many` wait before they look, or go on.
    pub fn hold_reads(&self, is_held: bool) {
        self.0.reads_held.send_replace(is_held);
    }

    /// How many operations were asked for.
    pub fn round_trips(&self) -> usize {
        self.0.round_trips.load(Ordering::Relaxed)
    }

    /// The keys that it holds, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.entries().keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// Replaces the bytes under a key, whatever they mean, as a foreign program would.
    pub fn overwrite(&self, key: &str, bytes: Vec<u8>) {
        self.entries()
            .entry(key.to_owned())
            .and_modify(|entry| entry.bytes.clone_from(&bytes))
            .or_insert(FakeEntry { bytes, deadline: None });
    }

    /// The bytes under a key.
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        self.entries().get(key).map(|entry| entry.bytes.clone())
    }

    /// One round trip.
    fn open(&self) -> Result<MutexGuard<'_, HashMap<String, FakeEntry>>, TierError> {
        self.0.round_trips.fetch_add(1, Ordering::Relaxed);
        if self.0.is_down.load(Ordering::Relaxed) {
            return Err(TierError::Unavailable);
        }
        Ok(self.entries())
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, FakeEntry>> {
        let mut entries = self.0.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.0.clock.now();
        entries.retain(|_, entry| entry.deadline.is_none_or(|deadline| now < deadline));
        entries
    }

    fn stored(&self, entry: &FakeEntry) -> Stored {
        let now = self.0.clock.now();
        let remaining = entry.deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
        Stored { bytes: entry.bytes.clone(), remaining }
    }

    fn entry(&self, bytes: Vec<u8>, ttl: Option<Duration>) -> FakeEntry {
        FakeEntry { bytes, deadline: ttl.map(|ttl| self.0.clock.now().saturating_add(nanos(ttl))) }
    }
}

async fn pass(held: &watch::Sender<bool>) {
    // It fails only without a sender, and there is one.
    let _ = held.subscribe().wait_for(|is_held| !is_held).await;
}

#[async_trait]
impl Tier for FakeTier {
    fn ready(&self) -> bool {
        !self.0.is_down.load(Ordering::Relaxed)
    }

    async fn get(&self, key: &str) -> Result<Option<Stored>, TierError> {
        pass(&self.0.reads_held).await;
        Ok(self.open()?.get(key).map(|entry| self.stored(entry)))
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, TierError> {
        pass(&self.0.reads_held).await;
        let entries = self.open()?;
        Ok(keys.iter().map(|key| entries.get(key).map(|entry| self.stored(entry))).collect())
    }

    async fn set(&self, key: &str, bytes: Vec<u8>, ttl: Duration) -> Result<(), TierError> {
        pass(&self.0.writes_held).await;
        self.open()?.insert(key.to_owned(), self.entry(bytes, Some(ttl)));
        Ok(())
    }

    async fn set_many(&self, entries: Vec<(String, Vec<u8>, Duration)>) -> Result<(), TierError> {
        pass(&self.0.writes_held).await;
        let entries = entries.into_iter().map(|(key, bytes, ttl)| (key, self.entry(bytes, Some(ttl))));
        self.open()?.extend(entries);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<bool, TierError> {
        pass(&self.0.writes_held).await;
        pass(&self.0.deletes_held).await;
        Ok(self.open()?.remove(key).is_some())
    }

    async fn delete_if(&self, key: &str, seen: &[u8]) -> Result<bool, TierError> {
        let mut entries = self.open()?;
        let is_same = entries.get(key).is_some_and(|entry| entry.bytes == seen);
        Ok(is_same && entries.remove(key).is_some())
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        Ok(self.open()?.contains_key(key))
    }

    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        let mut entries = self.open()?;
        let entry = entries.entry(key.to_owned()).or_insert_with(|| self.entry(b"0".to_vec(), ttl));
        let old: i64 = std::str::from_utf8(&entry.bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| TierError::Refused("ERR".to_owned()))?;
        let sum = old.checked_add(by).ok_or_else(|| TierError::Refused("ERR".to_owned()))?;
        entry.bytes = sum.to_string().into_bytes();
        Ok(sum)
    }
}

/// A load that always gives the same value, and counts how often it ran.
#[derive(Debug, Default)]
pub struct CountedLoad<V> {
    value: V,
    runs: AtomicUsize,
}

impl<V: Clone> CountedLoad<V> {
    /// A load of `value` that has not run yet.
    pub fn new(value: V) -> Self {
        Self { value, runs: AtomicUsize::new(0) }
    }

    /// Runs it.
    ///
    /// # Errors
    /// Never.
    pub async fn run(&self) -> Result<V, Infallible> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        Ok(self.value.clone())
    }

    /// How often it ran.
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }
}
