//! The Redis tier: [`RedisTier`] and its implementation of the [`Tier`] contract.
//!
//! An operation builds a batch of commands, passes it to `topology`, and decodes the replies:
//!
//! * `lookup` reads values, `lease` requests the right to load them, and `fill` stores them.
//! * `tags` has the generations of tags and their journal, and deletes.
//! * `large` has the parts of lookups and fills that concern large values.
//! * `sweep` removes keys by a pattern, and `barrier` waits for all processes.
//! * `builder` has the settings, and `health` the status.
//!
//! The order of commands carries the guarantees:
//!
//! * Generations are read before values. If a tag changes in between, it is tracked already, and a push
//!   reports it.
//! * `PTTL` is read before a value. In the other order, a value could get the lifetime of its successor.
//! * An invalidated tag enters the journal before its generation is removed.
//! * A fill is a script that compares the token of the lease (the fence).

mod barrier;
pub(crate) mod builder;
mod fill;
mod health;
mod large;
mod lease;
mod lookup;
mod sweep;
mod tags;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cached_core::{
    TierCause, TierError, TierHealth, TierState,
    tier::{
        Attachment, Budget, ChangeFeed, Filled, Found, JournalPosition, LeaseRequest, LeaseToken, Leased,
        Lookup, Note, Record, TagRequest, TagsClaimed, Tier, TierFill,
    },
};
use redis::RedisResult;

use crate::{
    availability::status::RedisState,
    connect::settings::millis,
    protocol::{
        batch::{Batch, Replies},
        scripts::{FAIL, INCR, RELEASE, RENEW},
    },
    tier::barrier::BarrierQueue,
    topology::Topology,
};

/// Lifetime of the note of a failed load: longer than a waiting process takes to ask, however busy it is.
const NOTE_TTL: Duration = Duration::from_secs(5);

/// A shared tier in Redis.
///
/// The tier holds one connection. It is made in the background from the first operation on, and replaced when
/// it breaks. A second one carries [large](cached_core::tier::LARGE_VALUE) values, from the first of them on, so
/// that nothing small waits behind one. While there is no connection, every operation fails at once with
/// [`TierError::Unavailable`]. Only operations during the very first attempt wait for it, so that the first
/// call of a program can already hit. They wait for at most
/// [`connect_timeout`](crate::RedisTierBuilder::connect_timeout), and a server that refuses does not make
/// them wait.
///
/// Otherwise no operation takes longer than its budget
/// ([`operation_timeout`](crate::RedisTierBuilder::operation_timeout),
/// [`write_timeout`](crate::RedisTierBuilder::write_timeout)), which the cache [extends](Budget) where a load
/// costs more. It may take half as long again if this process itself is late to read the reply.
///
/// While Redis hangs or is slow, `lookup`, `lease` and `exists` fail at once as well, so that no caller pays
/// for it before it loads. A breaker opens when four of the last eight took more than four fifths of their
/// budget. One heartbeat at a time probes whether it may close. It closes within the longest pause of
/// [`retry`](crate::RedisTierBuilder::retry) after Redis is as fast as before. Writes are still attempted.
/// [`state`](Self::state), [`watch_state`](Self::watch_state) and [`health`](Self::health) return the status,
/// and [`RedisHealth::cause`](crate::RedisHealth) the reason.
///
/// Operations need a tokio runtime with time and I/O enabled; outside of any runtime they return
/// [`TierError::Unavailable`]. The background task runs on the runtime of the operation that started it. When
/// that runtime has ended, the next operation starts the task on its own. Dropping the tier ends the task.
///
/// The tier notifies its cache of changes if the server supports RESP3 and allows `CLIENT TRACKING`.
/// Otherwise an entry is valid for the [bound](Attachment::bound) after it was read. A tier belongs to one
/// cache: only the first [`attach`](Tier::attach) counts.
///
/// `Debug` shows the server's address and the state of the connection, and never a user or a password.
pub struct RedisTier {
    pub(crate) topology: Arc<Topology>,
    pub(crate) barrier_queue: Arc<BarrierQueue>,
}

impl RedisTier {
    /// Runs a batch that a caller waits for before it has a value. Also returns the change feed that was
    /// used.
    pub(crate) async fn read<T>(
        &self,
        batch: Batch,
        budget: Budget,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let answers = self.topology.read(&batch, budget).await?;
        self.topology.decode(answers, read)
    }

    /// Runs a batch that writes.
    pub(crate) async fn write<T>(
        &self,
        batch: Batch,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        self.write_within(batch, Budget::Own, read).await
    }

    /// Runs a batch that writes, for a caller that can wait for `budget`.
    async fn write_within<T>(
        &self,
        batch: Batch,
        budget: Budget,
        read: impl FnOnce(Replies) -> RedisResult<T> + Send,
    ) -> Result<(T, Arc<ChangeFeed>), TierError> {
        let answers = self.topology.write(&batch, budget).await?;
        self.topology.decode(answers, read)
    }

    /// Runs a batch that writes and has one reply.
    async fn write_one<T: redis::FromRedisValue>(&self, batch: Batch) -> Result<T, TierError> {
        let outcome = self.write(batch, |mut replies| replies.next()).await?;
        Ok(outcome.0)
    }
}

#[async_trait]
impl Tier for RedisTier {
    fn attach(&self, attachment: Attachment) {
        self.topology.attach(attachment);
    }

    /// Returns `false` while the background task works on a missing connection, or on a Redis that is too
    /// slow.
    fn ready(&self) -> bool {
        self.topology.ready()
    }

    fn health(&self) -> TierHealth {
        let health = RedisTier::health(self);
        let state = match health.state {
            RedisState::Untried => TierState::Untried,
            RedisState::Up => TierState::Up,
            RedisState::Degraded => TierState::Degraded,
            RedisState::Down => TierState::Down,
        };
        let tier_health = TierHealth::new(state).cause(health.cause);
        tier_health.reconnects(health.reconnects).breaker_open(health.breaker_open)
    }

    async fn connected(&self) -> Result<(), TierCause> {
        self.topology.connected().await
    }

    async fn lookup(&self, lookups: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        self.lookup_within(lookups, tags, Budget::Own).await
    }

    /// Looks up values, which contain their end by the server's clock.
    ///
    /// One key of another type makes the whole call fail.
    async fn lookup_within(
        &self,
        lookups: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        self.lookup_keys(lookups, tags, budget).await
    }

    async fn get(&self, key: &str) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        self.get_within(key, Budget::Own).await
    }

    /// Looks up one key. Concurrent lookups of many callers share round trips.
    async fn get_within(&self, key: &str, budget: Budget) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        self.lookup_one(key, budget).await
    }

    async fn lease(&self, requests: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError> {
        self.lease_within(requests, tags, Budget::Own).await
    }

    async fn lease_within(
        &self,
        requests: &[LeaseRequest<'_>],
        tags: TagRequest<'_>,
        budget: Budget,
    ) -> Result<Leased, TierError> {
        self.lease_keys(requests, tags, budget).await
    }

    async fn claim_tags(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        self.claim_generations(tags, keep, since).await
    }

    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        self.fill_within(fills, Budget::Own).await
    }

    /// Stores values. If one fill is refused, others may have been stored.
    async fn fill_within(&self, fills: Vec<TierFill>, budget: Budget) -> Result<Filled, TierError> {
        self.fill_keys(fills, budget).await
    }

    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError> {
        self.write_one(Batch::of_script(&RENEW, key, (&token.0[..], millis(lease)))).await
    }

    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        let end = if is_failed { "failed" } else { "free" };
        self.write_one(Batch::of_script(&RELEASE, key, (&token.0[..], end))).await
    }

    async fn fail(&self, key: &str, token: LeaseToken, note: &Note) -> Result<bool, TierError> {
        self.write_one(Batch::of_script(&FAIL, key, (&token.0[..], &note.0[..], millis(NOTE_TTL)))).await
    }

    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        self.delete_keys(keys, tags).await
    }

    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError> {
        self.sweep(pattern).await
    }

    async fn confirm(&self) -> Result<(), TierError> {
        self.confirm_all().await
    }

    async fn close(&self) {
        self.topology.close().await;
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        self.has_value(key).await
    }

    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        self.write_one(Batch::of_script(&INCR, key, (by, ttl.map(millis)))).await
    }
}

/// Shows the address and the state, and no credentials.
impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("server", &format_args!("{}", self.topology.label()))
            .field("state", &format_args!("{}", self.topology.state_label()))
            .finish_non_exhaustive()
    }
}
