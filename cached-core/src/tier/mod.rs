//! The contract of a shared tier (L2): its operations, records and notifications.
//!
//! A cache calls a tier through the trait `Tier`, and a tier reports changes through `ChangeListener`. Two
//! mechanisms make the contract safe against races:
//!
//! * The fence. A load takes a lease with a random token before it runs, and its fill stores only if that
//!   token is still under the key. So an invalidation, which removes the key, also rejects the fills of loads
//!   that began before it.
//! * The change feed. Each answer carries the feed over which later changes of the keys and tags are
//!   reported. The cache takes the epochs of the names before it asks, so a change that overtakes the answer
//!   is not lost.
//!
//! Next: `feed` has the watermark, `catch_panic` catches panics, `budget` limits the time of an operation. The
//! cache uses a tier through `l2`. `testing::fake` is an implementation in memory.

pub(crate) mod budget;
pub(crate) mod catch_panic;
pub(crate) mod cause;
pub(crate) mod feed;
pub(crate) mod health;
pub(crate) mod no_tier;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    error::tier::TierError,
    tier::{
        budget::Budget,
        cause::TierCause,
        feed::ChangeFeed,
        health::{TierHealth, TierState},
    },
};

/// A store that several processes share, such as Redis.
///
/// A key holds a value, or a lease, or both. A **lease** marks that a load of the value is under way, and
/// names that load by its [`LeaseToken`]. Only a load with its lease still in place may [`fill`](Self::fill).
/// A removal of the key, by this program or another one, removes the lease as well. So no load that began
/// before the removal can store its value.
///
/// A tier MUST bound the time of every operation by itself, by the [`Budget`] where it gets one and can
/// follow it. It MUST NOT panic: the call path awaits it while a caller waits. It SHOULD fail at once while
/// it knows that it cannot be reached, and return `false` from [`ready`](Tier::ready) during that time. An
/// operation that failed may still take effect later. But it must not change a value if the key was deleted
/// in the meantime. The tier stores opaque bytes; freshness, checksums and schemas are up to its caller.
#[async_trait]
pub trait Tier: Send + Sync + fmt::Debug + 'static {
    /// Attaches the cache that is built on the tier. Called once.
    fn attach(&self, attachment: Attachment) {
        drop(attachment);
    }

    /// Returns whether the tier is worth asking now. If `false`, reads and fills skip the tier.
    fn ready(&self) -> bool {
        true
    }

    /// Returns the health of the tier, for operators. It sends no request and returns at once.
    fn health(&self) -> TierHealth {
        TierHealth::new(if self.ready() { TierState::Up } else { TierState::Down })
    }

    /// Starts to connect, if the tier does so at all, and waits for the outcome of the first attempt.
    ///
    /// The wait is no longer than the tier allows for one attempt. If the outcome is known, it returns at
    /// once. `Err` is the cause for which there is no connection.
    async fn connected(&self) -> Result<(), TierCause> {
        Ok(())
    }

    /// Reads the record under each key, and the generation of each tag, in one round trip.
    ///
    /// A tag without a generation is `None`. If the tier can, it watches the keys and tags from then on,
    /// including those that it did not find.
    async fn lookup(&self, lookups: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError>;

    /// Reads the record under one key, as [`lookup`](Self::lookup) does, with the change feed of the answer.
    ///
    /// Most misses begin with this call, so a tier may have a shorter path for it.
    async fn get(&self, key: &str) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        let Found { mut records, feed, .. } = self.lookup(&[Lookup::new(key)], &[]).await?;
        Ok((records.pop().ok_or(TierError::Unavailable)?, feed))
    }

    /// Calls [`lookup`](Self::lookup) within a budget that follows the cost of a load.
    ///
    /// A tier with a fixed budget keeps the default implementation.
    async fn lookup_within(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        let _ = budget;
        self.lookup(lookups, tags).await
    }

    /// Calls [`get`](Self::get) within a budget.
    async fn get_within(&self, key: &str, budget: Budget) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        let _ = budget;
        self.get(key).await
    }

    /// Calls [`lease`](Self::lease) within a budget.
    async fn lease_within(
        &self,
        requests: &[LeaseRequest<'_>],
        tags: TagRequest<'_>,
        budget: Budget,
    ) -> Result<Leased, TierError> {
        let _ = budget;
        self.lease(requests, tags).await
    }

    /// Calls [`fill`](Self::fill) within a budget, so that a value with an expensive load gets more time.
    async fn fill_within(&self, fills: Vec<TierFill>, budget: Budget) -> Result<Filled, TierError> {
        let _ = budget;
        self.fill(fills).await
    }

    /// Takes a lease under each key, as each request specifies, in one round trip.
    ///
    /// Each tag without a generation gets a new one. The keys and tags are watched, as in
    /// [`lookup`](Self::lookup).
    async fn lease(&self, requests: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError>;

    /// Claims the generations of tags that became known only from a loaded value.
    ///
    /// `since` is the [journal position](Leased::position) from before the load. The result has no generations
    /// if one of the tags may have been invalidated since then. Generations are created, kept and watched as
    /// by [`lease`](Self::lease). The tier does that before it checks for invalidations: in the other order,
    /// an invalidation between the two steps would be missed.
    async fn claim_tags(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError>;

    /// Stores each value if the lease of its load is still in place, in one round trip.
    ///
    /// The stored keys are watched.
    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError>;

    /// Extends a lease to last for `lease` from now on. Returns whether it was still in place.
    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError>;

    /// Releases a lease without a value. Returns whether it was still in place.
    ///
    /// With `is_failed`, the key holds [`Record::Failed`] for a moment, so that waiting processes learn that
    /// no value will come.
    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError>;

    /// Releases a lease like [`release`](Self::release), after a load that ended in an error.
    ///
    /// For some seconds the key holds the note ([`Record::Error`]), unless it holds a value. The default
    /// calls `release`, for tiers that cannot hold notes.
    async fn fail(&self, key: &str, token: LeaseToken, note: &Note) -> Result<bool, TierError> {
        let _ = note;
        self.release(key, token, true).await
    }

    /// Removes everything under these keys, and the generations of these tags, in one round trip.
    ///
    /// Values and leases are both removed. Before that, the tier records the invalidated tags in its journal,
    /// for [`claim_tags`](Self::claim_tags).
    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError>;

    /// Removes every key that matches `pattern`, and returns the number of removed keys.
    ///
    /// `*` stands for any characters and nothing else is special. The tier may scan its keys in many steps.
    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError>;

    /// Waits until every attached process has handled all changes up to now.
    ///
    /// A process that has lost the right to serve from memory counts as one that has handled them.
    async fn confirm(&self) -> Result<(), TierError> {
        Ok(())
    }

    /// Returns whether the key holds a value.
    async fn exists(&self, key: &str) -> Result<bool, TierError>;

    /// Closes the tier, because the cache is closed.
    ///
    /// The tier removes this process from the register of processes and ends the connection. Every later
    /// operation fails at once.
    async fn close(&self) {}

    /// Adds `by` to the counter under `key`, which starts at 0, and returns the sum.
    ///
    /// `ttl` applies from the creation of the counter, and later additions do not extend it.
    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError>;
}

/// Properties of the cache that is built on a tier.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Listener for changes.
    pub listener: Arc<dyn ChangeListener>,
    /// Prefix of all keys of the cache, followed by a `:`.
    ///
    /// Keys that begin with `namespace:%` are no values.
    pub namespace: String,
    /// Name of the journal of invalidated tags.
    ///
    /// If the tier can, it reports a change of this name when a tag is invalidated after a
    /// [journal position](Leased::position) was handed out.
    pub journal: String,
    /// Staleness bound: greatest age of the [watermark](ChangeFeed::advance) at which a value is served from
    /// memory.
    pub bound: Duration,
    /// Outage grace: further time for which a value is served while the tier cannot be reached.
    pub grace: Duration,
    /// Greatest number of bytes in a value that the cache stores.
    ///
    /// A larger string was written by another program, and need not be read.
    pub max_bytes: usize,
}

/// Receiver of the changes of the keys and tags that a tier watches. All methods return at once.
pub trait ChangeListener: Send + Sync + fmt::Debug + 'static {
    /// Reports that the record under `key` has changed, or may have.
    fn changed(&self, key: &[u8]);

    /// Reports that the record under any key may have changed.
    fn all_changed(&self);

    /// Reports that the tier can be reached again.
    fn restored(&self);

    /// Reports that the state of the tier, or its cause, may have changed.
    ///
    /// The listener reads the new state from [`health`](Tier::health). During this call, the tier holds no
    /// lock that its own methods need.
    fn status_changed(&self) {}

    /// Returns the number of values served from memory so far.
    ///
    /// It is `None` while callers wait, or if the number is unknown. As long as the number does not change,
    /// nothing depends on the [watermark](ChangeFeed::advance). The tier may then stop advancing it, and the
    /// next call asks the tier first.
    fn served(&self) -> Option<u64> {
        None
    }
}

/// Size in bytes above which a value is large.
///
/// A tier may transfer large values separately, so that small ones do not wait behind them.
pub const LARGE_VALUE: usize = 256 * 1024;

/// Look-up of one key.
///
/// `Debug` does not show the key, as it holds the arguments of a call.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// Key to read.
    pub key: &'a str,
    /// Revision of a value that the caller already has.
    ///
    /// If it is still the stored one, the bytes are not sent.
    pub known_revision: Option<Revision>,
    /// Estimated size of the value in bytes, if other values of its function were [large](LARGE_VALUE);
    /// otherwise 0.
    pub size: usize,
}

impl<'a> Lookup<'a> {
    /// Creates a look-up for a caller that has no value of this key.
    #[must_use]
    pub fn new(key: &'a str) -> Self {
        Self { key, known_revision: None, size: 0 }
    }

    /// Creates a look-up for a caller that has the value with this revision.
    #[must_use]
    pub fn if_none_match(key: &'a str, revision: Revision) -> Self {
        Self { known_revision: Some(revision), ..Self::new(key) }
    }

    /// Returns whether a [large](LARGE_VALUE) value is expected in the answer.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.known_revision.is_none() && self.size > LARGE_VALUE
    }
}

impl fmt::Debug for Lookup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("known_revision", &self.known_revision.is_some())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Answer of a tier to look-ups.
#[derive(Clone, Debug)]
pub struct Found {
    /// One record for each key, in the order of the look-ups.
    pub records: Vec<Record>,
    /// One generation for each tag, in order; `None` for a tag that has none.
    pub generations: Vec<Option<u64>>,
    /// Change feed that reports later changes of these keys and tags.
    pub feed: Arc<ChangeFeed>,
}

/// State of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The key holds nothing.
    Absent,
    /// The key holds a value. There may also be a lease to replace it.
    Value(Stored),
    /// The value is the one that the caller [has](Lookup::known_revision).
    Unchanged,
    /// There is another value than the known one, or none. The caller looks it up again.
    Changed,
    /// There is no value, but a load is under way.
    Leased {
        /// Remaining time of the lease, unless it is renewed.
        left: Duration,
        /// True if the load before this one had [nothing to share](Self::Failed).
        is_retry: bool,
    },
    /// There is no value: a load has ended with nothing to share.
    Failed,
    /// There is no value: a load has ended in an error.
    Error(Note),
}

/// Text of a load's error, as opaque bytes under the key. Empty if the error has no text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Note(pub Vec<u8>);

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Note").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

/// A value under a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Bytes of the [fill](Tier::fill).
    pub bytes: Vec<u8>,
    /// Remaining time until the tier expires the value; `None` if it does not expire.
    pub remaining: Option<Duration>,
    /// Revision, which identifies the fill among all fills of this key. Zero for bytes that no fill wrote.
    pub revision: Revision,
}

/// Revision of a stored value: identifies the fill that wrote it, as an `ETag` does.
pub type Revision = u64;

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("len", &self.bytes.len())
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// Token of a load, which its lease carries. It is drawn anew for each load, and cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub [u8; 16]);

impl LeaseToken {
    /// Returns the [`Revision`] of the value that this load fills: never zero.
    pub fn revision(&self) -> Revision {
        self.0.first_chunk().copied().map_or(1, u64::from_le_bytes).max(1)
    }
}

/// Hides the token, since it authorizes a fill.
impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(..)")
    }
}

/// Request of a load for a lease.
///
/// `Debug` does not show the key, as it holds the arguments of a call.
#[derive(Clone, Copy)]
pub struct LeaseRequest<'a> {
    /// Key to load.
    pub key: &'a str,
    /// Token of the load.
    pub token: LeaseToken,
    /// Duration of the lease, unless it is renewed.
    pub lease: Duration,
    /// Condition under which the lease is granted.
    pub mode: LeaseMode,
}

impl fmt::Debug for LeaseRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseRequest")
            .field("token", &self.token)
            .field("lease", &self.lease)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// Condition under which a lease is granted. An existing value stays, and is served, until the fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseMode {
    /// There is neither a value nor another lease.
    IfAbsent,
    /// There is no other lease, and no value except the one with this revision.
    IfRevision(Revision),
    /// No condition. A lease of another load is replaced, and that load's fill is rejected.
    Always,
}

/// Tags of a load that begins.
///
/// `Debug` shows only their number, as their keys hold the arguments of a call.
#[derive(Clone, Copy)]
pub struct TagRequest<'a> {
    /// Keys of the tags.
    pub keys: &'a [String],
    /// Shortest time for which their generations are kept.
    pub keep: Duration,
    /// True if further tags become known from the value, so that the [journal position](Leased::position) is
    /// needed.
    pub needs_position: bool,
}

impl fmt::Debug for TagRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagRequest")
            .field("keys", &self.keys.len())
            .field("keep", &self.keep)
            .field("needs_position", &self.needs_position)
            .finish()
    }
}

/// Answer to requests for leases and for generations of tags.
#[derive(Clone, Debug)]
pub struct Leased {
    /// One reply for each request, in order.
    pub replies: Vec<LeaseReply>,
    /// One generation for each tag, in order.
    pub generations: Vec<u64>,
    /// Position of the journal of invalidated tags at the time of the request, if it was asked for.
    pub position: Option<JournalPosition>,
    /// Change feed that reports later changes of these keys and tags.
    pub feed: Arc<ChangeFeed>,
}

/// Position in the journal of invalidated tags.
///
/// Positions of two journals cannot be compared: a tier that loses its journal starts another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPosition {
    /// Identifies the journal: a random number that no earlier journal had.
    pub journal_id: u64,
    /// Number of tags that had been invalidated.
    pub offset: u64,
}

/// Answer to a claim of tags that were not known before the load.
#[derive(Clone, Debug)]
pub struct TagsClaimed {
    /// One generation for each tag, in order; `None` if one of the tags may have been invalidated.
    pub generations: Option<Vec<u64>>,
    /// Change feed that reports later changes of these tags.
    pub feed: Arc<ChangeFeed>,
}

/// Reply to a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseReply {
    /// The caller holds the lease.
    Granted,
    /// Another load holds the lease, which ends after this time unless it is renewed.
    HeldElsewhere(Duration),
    /// There is a value that the caller has not seen.
    ValueChanged,
}

/// A value to store in a tier.
#[derive(Clone, PartialEq, Eq)]
pub struct TierFill {
    /// Key of the value.
    pub key: String,
    /// Token of the load that returned the value.
    pub token: LeaseToken,
    /// The value.
    pub bytes: Vec<u8>,
    /// Time for which the tier keeps the value; not zero.
    pub ttl: Duration,
    /// Tags of the value that may lose their generations before the value expires.
    ///
    /// A generation that still exists is kept for as long as the value. A missing one is not created.
    pub tags: Vec<String>,
}

impl fmt::Debug for TierFill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TierFill")
            .field("len", &self.bytes.len())
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// Outcome of fills.
#[derive(Clone, Debug)]
pub struct Filled {
    /// One flag for each fill, in order: true if the value was stored.
    pub stored: Vec<bool>,
    /// Change feed that reports later changes of the stored keys.
    pub feed: Arc<ChangeFeed>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An application's own tier may log its requests, so `Debug` must not show arguments of calls.
    #[test]
    fn debug_output_of_requests_shows_no_keys() {
        let (key, keys) = ("ns:user:ada@example.org", ["ns:%tag:ada@example.org".to_owned()]);
        let (token, lease) = (LeaseToken([7; 16]), Duration::from_secs(10));
        let outputs = [
            format!("{:?}", Lookup::if_none_match(key, 7)),
            format!("{:?}", LeaseRequest { key, token, lease, mode: LeaseMode::IfAbsent }),
            format!("{:?}", TagRequest { keys: &keys, keep: lease, needs_position: false }),
            format!("{:?}", Stored { bytes: key.into(), remaining: None, revision: 7 }),
            format!(
                "{:?}",
                TierFill { key: key.to_owned(), token, bytes: key.into(), ttl: lease, tags: keys.to_vec() }
            ),
        ];
        assert!(outputs.iter().all(|text| !text.contains("ada")), "{outputs:?}");
        assert!(outputs[1].contains("10s") && outputs[2].contains("keys: 1"), "{outputs:?}");
    }
}
