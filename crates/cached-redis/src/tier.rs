//! The operations.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cached_core::{Stored, Tier, TierError};
use redis::{Pipeline, RedisResult, aio::MultiplexedConnection};
use tokio::time::timeout;

use crate::{
    builder::RedisTierBuilder,
    failure::{Failure, Verdict},
    link::Link,
    scripts::{DELETE_IF, INCR},
    settings::Settings,
    supervisor::Supervision,
};

/// The longest life of a value, a century: a longer one is cut to it, as Redis refuses a point in time that
/// does not fit 64 bits.
const LONGEST_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A shared tier in Redis.
///
/// It holds one connection, made in the background from the first operation on and replaced when it breaks.
/// While there is none, every operation fails at once with [`TierError::Unavailable`]; only operations that
/// come during the very first attempt wait for it, within their budgets. No operation takes longer than its
/// budget ([`operation_timeout`](RedisTierBuilder::operation_timeout),
/// [`write_timeout`](RedisTierBuilder::write_timeout)).
///
/// Operations need a tokio runtime with time and I/O enabled; outside of any runtime they are
/// [`TierError::Unavailable`]. The background task lives on the runtime of the operation that started it; when
/// that runtime has ended, the next operation starts it on its own. Dropping the tier ends the task.
///
/// `Debug` shows the server's address and the state of the connection, and never a user or a password.
pub struct RedisTier {
    settings: Arc<Settings>,
    link: Arc<Link>,
    supervision: Supervision,
}

impl RedisTier {
    /// Starts with the defaults and the server's address:
    /// `redis://[[user]:password@]host[:port][/database number]`.
    ///
    /// The port defaults to 6379 and the database to 0. `valkey://` means the same; `unix:///path` is a socket.
    pub fn builder(url: impl Into<String>) -> RedisTierBuilder {
        RedisTierBuilder::new(url.into())
    }

    pub(crate) fn new(settings: Settings) -> Self {
        let (settings, link) = (Arc::new(settings), Arc::new(Link::new()));
        let supervision = Supervision::new(Arc::clone(&settings), Arc::clone(&link));
        Self { settings, link, supervision }
    }

    /// Runs `operation` on the current connection, all within `budget`.
    async fn run<T, F>(
        &self,
        budget: Duration,
        operation: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, TierError>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        self.supervision.ensure()?;
        let mut asked = false;
        let attempt = async {
            let session = self.link.session().await.ok_or(TierError::Unavailable)?;
            asked = true;
            operation(session.connection.clone()).await.map_err(|error| {
                let failure = Failure::from(error);
                if failure.verdict != Verdict::Sound {
                    self.link.report(&session, failure.verdict);
                }
                failure.error
            })
        };
        match timeout(budget, attempt).await {
            Ok(outcome) => outcome,
            Err(_) if asked => Err(TierError::Timeout),
            Err(_) => Err(TierError::Unavailable),
        }
    }

    async fn read<T, F>(
        &self,
        operation: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, TierError>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        self.run(self.settings.read_timeout, operation).await
    }

    async fn write<T, F>(
        &self,
        operation: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, TierError>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        self.run(self.settings.write_timeout, operation).await
    }
}

#[async_trait]
impl Tier for RedisTier {
    /// `false` while there is no connection and the background task is at work on one.
    fn ready(&self) -> bool {
        // When the task has ended with its runtime, only an operation can start it again.
        !self.link.is_down() || !self.supervision.is_running()
    }

    /// The time that is left is read before the value. For a value that is replaced in between by one that
    /// lives as long or longer it is therefore too short, never too long.
    async fn get(&self, key: &str) -> Result<Option<Stored>, TierError> {
        let mut pipeline = Pipeline::with_capacity(2);
        ask(&mut pipeline, key);
        let reply: Reply =
            self.read(|mut redis| async move { pipeline.query_async(&mut redis).await }).await?;
        Ok(stored(reply))
    }

    /// As [`get`](Tier::get). One value of another type makes the whole call fail.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, TierError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(2 * keys.len());
        for key in keys {
            ask(&mut pipeline, key);
        }
        let replies: Vec<Reply> =
            self.read(|mut redis| async move { pipeline.query_async(&mut redis).await }).await?;
        Ok(replies.into_iter().map(stored).collect())
    }

    async fn set(&self, key: &str, bytes: Vec<u8>, ttl: Duration) -> Result<(), TierError> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(bytes).arg("PX").arg(millis(ttl));
        self.write(|mut redis| async move { command.exec_async(&mut redis).await }).await
    }

    /// As [`set`](Tier::set). When one entry is refused, others may have been stored.
    async fn set_many(&self, entries: Vec<(String, Vec<u8>, Duration)>) -> Result<(), TierError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::with_capacity(entries.len());
        for (key, bytes, ttl) in entries {
            pipeline.cmd("SET").arg(key).arg(bytes).arg("PX").arg(millis(ttl));
        }
        self.write(|mut redis| async move { pipeline.exec_async(&mut redis).await }).await
    }

    async fn delete(&self, key: &str) -> Result<bool, TierError> {
        let mut command = redis::cmd("DEL");
        command.arg(key);
        let count: u64 = self.write(|mut redis| async move { command.query_async(&mut redis).await }).await?;
        Ok(count > 0)
    }

    async fn delete_if(&self, key: &str, seen: &[u8]) -> Result<bool, TierError> {
        let mut call = DELETE_IF.key(key);
        call.arg(seen);
        let count: u64 = self.write(|mut redis| async move { call.invoke_async(&mut redis).await }).await?;
        Ok(count > 0)
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        let mut command = redis::cmd("EXISTS");
        command.arg(key);
        let count: u64 = self.read(|mut redis| async move { command.query_async(&mut redis).await }).await?;
        Ok(count > 0)
    }

    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        let mut call = INCR.key(key);
        call.arg(by);
        if let Some(ttl) = ttl {
            call.arg(millis(ttl));
        }
        self.write(|mut redis| async move { call.invoke_async(&mut redis).await }).await
    }
}

/// The address and the state, and nothing of the credentials.
impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("server", &self.settings.endpoint)
            .field("state", &self.link.state())
            .finish_non_exhaustive()
    }
}

/// What `PTTL` and `GET` answer.
type Reply = (i64, Option<Vec<u8>>);

/// The two commands in this order: the other order would give a value the life of its successor.
fn ask(pipeline: &mut Pipeline, key: &str) {
    pipeline.cmd("PTTL").arg(key).cmd("GET").arg(key);
}

fn stored((left, bytes): Reply) -> Option<Stored> {
    let remaining = match left {
        // The key does not expire.
        -1 => None,
        // There was no key (-2), and the value has come since: nothing is known of its life.
        left => Some(Duration::from_millis(u64::try_from(left).unwrap_or(0))),
    };
    bytes.map(|bytes| Stored { bytes, remaining })
}

/// Redis refuses a life of less than a millisecond, and one that ends past the range of its clock.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.min(LONGEST_TTL).as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_value_that_came_between_the_two_commands_counts_as_over() {
        let value = |left| stored((left, Some(vec![1]))).unwrap().remaining;
        assert_eq!(value(-2), Some(Duration::ZERO));
        assert_eq!(value(-1), None);
        assert_eq!(value(0), Some(Duration::ZERO));
        assert_eq!(value(1500), Some(Duration::from_millis(1500)));
        assert_eq!(stored((1500, None)), None);
    }

    #[test]
    fn a_life_fits_what_redis_accepts() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_micros(2500)), 2);
        assert_eq!(millis(Duration::MAX), 3_153_600_000_000);
    }
}
