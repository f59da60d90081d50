//! The shared tier behind the in-process one.

use std::{fmt, time::Duration};

use async_trait::async_trait;

/// What a shared tier holds under a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// The bytes that were [`set`](Tier::set).
    pub bytes: Vec<u8>,
    /// How long the tier will still hold them; `None` if it will not expire them.
    pub remaining: Option<Duration>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("len", &self.bytes.len()).field("remaining", &self.remaining).finish()
    }
}

/// A store that several processes share, such as Redis.
///
/// A tier MUST bound the time of every operation by itself and MUST NOT panic: the call path awaits it while a
/// caller waits. It SHOULD fail at once while it knows that it cannot be reached, and then answer `false` from
/// [`ready`](Tier::ready). It stores opaque bytes; freshness, checksums and schemas are its caller's business.
#[async_trait]
pub trait Tier: Send + Sync + fmt::Debug + 'static {
    /// Whether it is worth asking now. `false` means that reads and fills pass it by.
    fn ready(&self) -> bool {
        true
    }

    /// The value and the time it has left, in one round trip.
    async fn get(&self, key: &str) -> Result<Option<Stored>, TierError>;

    /// As [`get`](Tier::get) for each key, in their order, in one round trip where the tier can.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, TierError>;

    /// Stores `bytes` for `ttl`, which is not zero.
    async fn set(&self, key: &str, bytes: Vec<u8>, ttl: Duration) -> Result<(), TierError>;

    /// As [`set`](Tier::set) for each key with its bytes and its ttl, in one round trip where the tier can.
    async fn set_many(&self, entries: Vec<(String, Vec<u8>, Duration)>) -> Result<(), TierError>;

    /// Removes the value, and says whether there was one.
    async fn delete(&self, key: &str) -> Result<bool, TierError>;

    /// Removes the value only while it is exactly `seen`, so that healing never destroys a newer value.
    async fn delete_if(&self, key: &str, seen: &[u8]) -> Result<bool, TierError>;

    /// Whether there is a value.
    async fn exists(&self, key: &str) -> Result<bool, TierError>;

    /// Adds `by` to the counter under `key`, which starts at 0, and returns the sum. `ttl` applies from the
    /// moment the counter comes into being and is not extended by later additions.
    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError>;
}

/// Why a shared tier did not answer. It holds neither keys, nor values, nor credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierError {
    /// There is no connection.
    Unavailable,
    /// The operation did not end within its budget. It may still take effect.
    Timeout,
    /// The tier answered that it will not: the tier's error code, such as `READONLY`.
    Refused(String),
}

impl fmt::Display for TierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => f.write_str("the shared tier cannot be reached"),
            Self::Timeout => f.write_str("the shared tier did not answer within its budget"),
            Self::Refused(code) => write!(f, "the shared tier refused: {code}"),
        }
    }
}

impl std::error::Error for TierError {}

/// The shared tier of a cache that has none: it holds nothing, and there is nobody to tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTier;

#[async_trait]
impl Tier for NoTier {
    fn ready(&self) -> bool {
        false
    }

    async fn get(&self, _: &str) -> Result<Option<Stored>, TierError> {
        Ok(None)
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, TierError> {
        Ok(vec![None; keys.len()])
    }

    async fn set(&self, _: &str, _: Vec<u8>, _: Duration) -> Result<(), TierError> {
        Ok(())
    }

    async fn set_many(&self, _: Vec<(String, Vec<u8>, Duration)>) -> Result<(), TierError> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Result<bool, TierError> {
        Ok(false)
    }

    async fn delete_if(&self, _: &str, _: &[u8]) -> Result<bool, TierError> {
        Ok(false)
    }

    async fn exists(&self, _: &str) -> Result<bool, TierError> {
        Ok(false)
    }

    async fn incr(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, TierError> {
        Err(TierError::Unavailable)
    }
}
