//! The contract of a shared tier, for writers of tiers.
//!
//! A cache calls its tier through the trait [`Tier`], and the tier reports changes through a
//! [`ChangeListener`]. Two mechanisms make the contract safe against races:
//!
//! * The fence. A load takes a lease with a random token before it runs, and its fill stores only if that
//!   token is still under the key. So an invalidation, which removes the key, also rejects the fills of loads
//!   that began before it.
//! * The change feed. Each answer carries the feed over which later changes of the keys and tags are
//!   reported. The cache takes the epochs of the names before it asks, so a change that overtakes the answer
//!   is not lost.
//!
//! `RedisTier` is the tier of this project, and `testing::FakeTier` one in memory that a test can make fail.
//! An own tier is passed to [`CacheBuilder::tier`](crate::CacheBuilder::tier).
//!
//! # Examples
//!
//! A tier in the memory of one program, which several caches share. It reports no changes, so each cache asks
//! it again after the staleness bound. It refuses everything that it does not do: tags, patterns, counters and
//! the confirmation that all caches have handled a change. The trait is written with the crate `async-trait`.
//!
//! ```
//! # extern crate cached_core as cached_aside;
//! use std::{
//!     collections::HashMap,
//!     sync::{Arc, Mutex},
//!     time::{Duration, Instant},
//! };
//!
//! use async_trait::async_trait;
//! use cached_aside::{Cache, TierError, tier::*};
//!
//! /// The lease and the value under a key, each with its end.
//! #[derive(Debug, Default)]
//! struct Content {
//!     lease: Option<(LeaseToken, Instant)>,
//!     value: Option<(Vec<u8>, Revision, Instant)>,
//! }
//!
//! impl Content {
//!     /// Drops what has expired.
//!     fn expire(&mut self) {
//!         let now = Instant::now();
//!         self.lease = self.lease.take().filter(|(_, end)| *end > now);
//!         self.value = self.value.take().filter(|(.., end)| *end > now);
//!     }
//!
//!     fn has_lease(&self, token: LeaseToken) -> bool {
//!         self.lease.is_some_and(|(held, _)| held == token)
//!     }
//! }
//!
//! #[derive(Clone, Debug, Default)]
//! struct MapTier(Arc<Mutex<HashMap<String, Content>>>);
//!
//! impl MapTier {
//!     fn with<T>(&self, key: &str, run: impl FnOnce(&mut Content) -> T) -> T {
//!         let mut contents = self.0.lock().unwrap();
//!         let content = contents.entry(key.to_owned()).or_default();
//!         content.expire();
//!         let outcome = run(content);
//!         if content.lease.is_none() && content.value.is_none() {
//!             contents.remove(key);
//!         }
//!         outcome
//!     }
//! }
//!
//! #[async_trait]
//! impl Tier for MapTier {
//!     async fn lookup(&self, lookups: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
//!         let record = |lookup: &Lookup<'_>| {
//!             self.with(lookup.key, |content| match (&content.value, &content.lease) {
//!                 (Some((bytes, revision, end)), _) => Record::Value(Stored {
//!                     bytes: bytes.clone(),
//!                     remaining: Some(end.saturating_duration_since(Instant::now())),
//!                     revision: *revision,
//!                 }),
//!                 (None, Some((_, end))) => Record::Leased {
//!                     left: end.saturating_duration_since(Instant::now()),
//!                     is_retry: false,
//!                 },
//!                 (None, None) => Record::Absent,
//!             })
//!         };
//!         let records = lookups.iter().map(record).collect();
//!         Ok(Found { records, generations: vec![None; tags.len()], feed: ChangeFeed::none() })
//!     }
//!
//!     async fn lease(&self, requests: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError> {
//!         if !tags.keys.is_empty() || tags.needs_position {
//!             return Err(TierError::Refused("no tags".to_owned()));
//!         }
//!         let reply = |request: &LeaseRequest<'_>| {
//!             self.with(request.key, |content| {
//!                 let is_forced = request.mode == LeaseMode::Always;
//!                 if let (Some((_, end)), false) = (content.lease, is_forced) {
//!                     return LeaseReply::HeldElsewhere(end.saturating_duration_since(Instant::now()));
//!                 }
//!                 let stored = content.value.as_ref().map(|(_, revision, _)| *revision);
//!                 let is_known = match (stored, request.mode) {
//!                     (Some(stored), LeaseMode::IfRevision(revision)) => stored == revision,
//!                     (stored, _) => stored.is_none(),
//!                 };
//!                 if !is_known && !is_forced {
//!                     return LeaseReply::ValueChanged;
//!                 }
//!                 content.lease = Some((request.token, Instant::now() + request.lease));
//!                 LeaseReply::Granted
//!             })
//!         };
//!         let replies = requests.iter().map(reply).collect();
//!         Ok(Leased { replies, generations: Vec::new(), position: None, feed: ChangeFeed::none() })
//!     }
//!
//!     async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
//!         let store = |fill: TierFill| {
//!             self.with(&fill.key, |content| {
//!                 // The fence: an invalidation has removed the lease, and the value is not stored.
//!                 let may_store = content.has_lease(fill.token);
//!                 if may_store {
//!                     let end = Instant::now() + fill.ttl;
//!                     *content = Content { lease: None, value: Some((fill.bytes, fill.token.revision(), end)) };
//!                 }
//!                 may_store
//!             })
//!         };
//!         Ok(Filled { stored: fills.into_iter().map(store).collect(), feed: ChangeFeed::none() })
//!     }
//!
//!     async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError> {
//!         Ok(self.with(key, |content| {
//!             let is_held = content.has_lease(token);
//!             if is_held {
//!                 content.lease = Some((token, Instant::now() + lease));
//!             }
//!             is_held
//!         }))
//!     }
//!
//!     async fn release(&self, key: &str, token: LeaseToken, _is_failed: bool) -> Result<bool, TierError> {
//!         Ok(self.with(key, |content| content.has_lease(token) && content.lease.take().is_some()))
//!     }
//!
//!     async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
//!         let mut contents = self.0.lock().unwrap();
//!         for key in keys {
//!             contents.remove(key);
//!         }
//!         // `Ok` would acknowledge an invalidation that other caches do not know of.
//!         if tags.is_empty() { Ok(()) } else { Err(TierError::Refused("no tags".to_owned())) }
//!     }
//!
//!     async fn confirm(&self) -> Result<(), TierError> {
//!         Err(TierError::Refused("no confirmation".to_owned()))
//!     }
//!
//!     async fn exists(&self, key: &str) -> Result<bool, TierError> {
//!         Ok(self.with(key, |content| content.value.is_some()))
//!     }
//!
//!     // The rest is refused.
//!     async fn claim_tags(&self, _: &[String], _: Duration, _: JournalPosition) -> Result<TagsClaimed, TierError> {
//!         Err(TierError::Refused("no tags".to_owned()))
//!     }
//!
//!     async fn delete_matching(&self, _: &str) -> Result<u64, TierError> {
//!         Err(TierError::Refused("no patterns".to_owned()))
//!     }
//!
//!     async fn incr(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, TierError> {
//!         Err(TierError::Refused("no counters".to_owned()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_aside::Error> {
//! let tier = MapTier::default();
//! let one = Cache::builder().namespace("app").tier(tier.clone()).build()?;
//! let other = Cache::builder().namespace("app").tier(tier).build()?;
//!
//! let squares = one.keyspace("square", Duration::from_secs(60))?;
//! let value = squares.get_or_load(&7_u64, || async { Ok::<_, String>(49_u64) }).await.unwrap();
//! assert_eq!(value, 49);
//! one.flush().await;
//! assert_eq!(other.keyspace("square", Duration::from_secs(60))?.get(&7_u64).await, Some(49_u64));
//! # Ok(()) }
//! ```

// The trait is in this file. These files have the arguments and the answers of its operations:
//
// * `attachment`: the cache that a tier serves, and the listener for changes.
// * `lookup`, `record`: reads, and the state of a key.
// * `lease`, `tags`: the right of a load, and the generations of its tags.
// * `fill`: values to store.
// * `budget`: the time of an operation.
// * `feed`: the change feed, with its watermark.
// * `health`, `cause`: the state of a tier, for operators.
//
// `catch_panic` catches the panics of a tier, and `no_tier` is the tier of a cache without one. The cache
// uses a tier through `l2`.

mod attachment;
pub(crate) mod budget;
pub(crate) mod catch_panic;
pub(crate) mod cause;
pub(crate) mod feed;
mod fill;
pub(crate) mod health;
mod lease;
mod lookup;
pub(crate) mod no_tier;
mod record;
mod tags;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use self::{
    attachment::{Attachment, ChangeListener},
    budget::Budget,
    feed::ChangeFeed,
    fill::{Filled, TierFill},
    lease::{LeaseMode, LeaseReply, LeaseRequest, LeaseToken, Leased},
    lookup::{Found, LARGE_VALUE, Lookup},
    no_tier::NoTier,
    record::{Note, Record, Revision, Stored},
    tags::{JournalPosition, TagRequest, TagsClaimed},
};
use crate::{
    error::tier::TierError,
    tier::{
        cause::TierCause,
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
///
/// A tier may report a change to the process that made it, or to the other processes only: both are allowed.
/// The cache ends the epochs of its own invalidations itself. If the tier reports a lease or a fill to its own
/// process, the cache asks the tier once more.
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
    ///
    /// Values, leases and counters are removed alike. Keys that begin with `namespace:%` are kept: they are the
    /// tags, the journal, and the keys of the tier itself (see [`Attachment::namespace`]).
    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError>;

    /// Waits until every attached process has handled all changes up to now.
    ///
    /// A process that has lost the right to serve from memory counts as one that has handled them.
    ///
    /// The default returns at once, and promises nothing about other processes. A tier that several caches share
    /// overrides it: otherwise [`confirmed`](crate::Invalidation::confirmed) returns `Ok` too early.
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
