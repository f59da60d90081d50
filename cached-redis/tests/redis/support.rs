//! Helpers that the tests share.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cached_core::{
    TierError,
    tier::{
        Attachment, ChangeFeed, ChangeListener, Found, LeaseMode, LeaseReply, LeaseRequest, LeaseToken,
        Lookup, Record, Stored, TagRequest, Tier, TierFill,
    },
};
use cached_redis::{RedisTier, RedisTierBuilder};
use redis_harness::eventually_async;

/// Budget that no operation exceeds, even on a busy machine: an operation that takes this long hangs.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);

/// Limit well below [`AMPLE`], and well above the duration of an operation that waits for nothing.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(5);

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Namespace of every cache in these tests.
pub(crate) const NAMESPACE: &str = "ns";

/// Maximum size of a value of every cache in these tests, in bytes.
pub(crate) const MAX_BYTES: usize = 17 << 20;

/// Returns a builder with ample budgets, and short pauses between connection attempts.
pub(crate) fn builder(url: &str) -> RedisTierBuilder {
    RedisTier::builder(url)
        .operation_timeout(AMPLE)
        .write_timeout(AMPLE)
        .connect_timeout(AMPLE)
        .retry(Duration::from_millis(5), Duration::from_millis(20))
}

/// Returns a tier with ample budgets.
pub(crate) fn tier(url: &str) -> RedisTier {
    builder(url).build().expect("the settings are valid")
}

/// Waits until the tier reaches its server.
pub(crate) async fn wait_until_up(tier: &RedisTier) {
    eventually_async("the tier reaches its server", async || tier.exists("any").await.is_ok()).await;
    assert!(tier.ready());
}

/// Waits until the tier knows that it cannot reach its server.
pub(crate) async fn wait_until_down(tier: &RedisTier) {
    eventually_async("the tier knows that its server is away", async || !tier.ready()).await;
    assert_eq!(tier.exists("any").await, Err(TierError::Unavailable));
}

/// Returns the error of a server that refuses a command with this code.
pub(crate) fn refused(code: &str) -> TierError {
    TierError::Refused(code.to_owned())
}

/// Returns the token of a load, different for each call.
pub(crate) fn token() -> LeaseToken {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut token = [0; 16];
    token[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    // Bytes that could break a script or a C string.
    token[8..].copy_from_slice(b"\0\r\n\xff\"' \x01");
    LeaseToken(token)
}

/// Returns the record of one key.
pub(crate) async fn lookup(tier: &RedisTier, key: &str) -> Result<Record, TierError> {
    Ok(tier.get(key).await?.0)
}

/// Returns the value of one key. Panics if the key holds a record of another kind.
pub(crate) async fn get(tier: &RedisTier, key: &str) -> Result<Option<Stored>, TierError> {
    match lookup(tier, key).await? {
        Record::Absent => Ok(None),
        Record::Value(stored) => Ok(Some(stored)),
        other => panic!("{other:?}"),
    }
}

/// Returns the bytes of the value of one key.
pub(crate) async fn bytes(tier: &RedisTier, key: &str) -> Option<Vec<u8>> {
    get(tier, key).await.unwrap().map(|stored| stored.bytes)
}

pub(crate) fn tag_request(keys: &[String], keep: Duration) -> TagRequest<'_> {
    TagRequest { keys, keep, needs_position: false }
}

pub(crate) fn lease_request(key: &str, token: LeaseToken, mode: LeaseMode) -> LeaseRequest<'_> {
    LeaseRequest { key, token, lease: MINUTE * 5 / 6, mode }
}

pub(crate) async fn lease(tier: &RedisTier, request: LeaseRequest<'_>) -> Result<LeaseReply, TierError> {
    let leased = tier.lease(&[request], tag_request(&[], MINUTE)).await?;
    assert_eq!((leased.replies.len(), leased.generations.len()), (1, 0));
    Ok(leased.replies[0])
}

pub(crate) fn tier_fill(key: &str, token: LeaseToken, bytes: Vec<u8>, ttl: Duration) -> TierFill {
    TierFill { key: key.to_owned(), token, bytes, ttl, tags: Vec::new() }
}

pub(crate) async fn fill(tier: &RedisTier, fill: TierFill) -> Result<bool, TierError> {
    let filled = tier.fill(vec![fill]).await?;
    assert_eq!(filled.stored.len(), 1);
    Ok(filled.stored[0])
}

/// Takes the lease of a key and stores a value, over any record.
pub(crate) async fn put(tier: &RedisTier, key: &str, bytes: Vec<u8>, ttl: Duration) -> Result<(), TierError> {
    assert!(try_put(tier, key, bytes, ttl).await?, "the lease is gone");
    Ok(())
}

/// Stores a value like [`put`]. Returns false if the lease is gone, since a full server may evict it.
pub(crate) async fn try_put(
    tier: &RedisTier,
    key: &str,
    bytes: Vec<u8>,
    ttl: Duration,
) -> Result<bool, TierError> {
    let token = token();
    assert_eq!(lease(tier, lease_request(key, token, LeaseMode::Always)).await?, LeaseReply::Granted);
    fill(tier, tier_fill(key, token, bytes, ttl)).await
}

/// Deletes one key.
pub(crate) async fn delete(tier: &RedisTier, key: &str) -> Result<(), TierError> {
    tier.delete(&[key.to_owned()], &[]).await
}

/// Returns the change feed of the connection that serves lookups.
pub(crate) async fn feed(tier: &RedisTier) -> Arc<ChangeFeed> {
    let found: Found = tier.lookup(&[Lookup::new("any")], &[]).await.unwrap();
    found.feed
}

/// Returns a field of a change feed from its debug output: only the cache itself can read the fields.
pub(crate) fn debug_field(feed: &ChangeFeed, field: &str) -> String {
    let text = format!("{feed:?}");
    let (_, rest) = text.split_once(&format!("{field}: ")).unwrap_or_else(|| panic!("no {field} in {text}"));
    rest.split([',', ' ']).next().unwrap_or_default().to_owned()
}

/// Returns the watermark of a change feed, up to which nothing has changed unnoticed.
pub(crate) fn watermark(feed: &ChangeFeed) -> u64 {
    debug_field(feed, "watermark").parse().unwrap()
}

/// Returns the current time on the clock of [`watermark`].
pub(crate) fn now() -> u64 {
    let feed = ChangeFeed::tracked();
    feed.advance(Instant::now());
    watermark(&feed)
}

/// Listener that records its notifications.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    keys: Mutex<Vec<String>>,
    pub(crate) all: AtomicUsize,
    pub(crate) restored: AtomicUsize,
    status_changes: AtomicUsize,
}

impl Recorder {
    /// Takes the recorded keys.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.keys.lock().unwrap())
    }

    /// Returns the number of notifications that the state or its cause may have changed.
    pub(crate) fn status_changes(&self) -> usize {
        self.status_changes.load(Ordering::SeqCst)
    }

    /// Waits for the notification that `key` has changed, and removes it.
    pub(crate) async fn wait_for_change(&self, key: &str) {
        eventually_async(&format!("a change of {key} is reported"), async || {
            let mut keys = self.keys.lock().unwrap();
            let before = keys.len();
            keys.retain(|changed| changed != key);
            keys.len() < before
        })
        .await;
    }
}

impl ChangeListener for Recorder {
    fn changed(&self, key: &[u8]) {
        self.keys.lock().unwrap().push(String::from_utf8_lossy(key).into_owned());
    }

    fn all_changed(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    fn restored(&self) {
        self.restored.fetch_add(1, Ordering::SeqCst);
    }

    fn status_changed(&self) {
        self.status_changes.fetch_add(1, Ordering::SeqCst);
    }
}

/// Attaches `listener` with a staleness bound of one second and a long outage grace.
pub(crate) fn attach(tier: &RedisTier, listener: Arc<dyn ChangeListener>) {
    attach_with(tier, listener, Duration::from_secs(1), AMPLE);
}

pub(crate) fn attach_with(
    tier: &RedisTier,
    listener: Arc<dyn ChangeListener>,
    bound: Duration,
    grace: Duration,
) {
    let (namespace, journal) = (NAMESPACE.to_owned(), format!("{NAMESPACE}:%tags"));
    tier.attach(Attachment { listener, namespace, journal, bound, grace, max_bytes: MAX_BYTES });
}

/// Returns a connected tier that is attached to a recorder.
pub(crate) async fn attached_tier(url: &str) -> (RedisTier, Arc<Recorder>) {
    let (tier, recorder) = (tier(url), Arc::new(Recorder::default()));
    attach(&tier, recorder.clone());
    wait_until_up(&tier).await;
    (tier, recorder)
}
