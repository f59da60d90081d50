//! A tier whose panics are errors: a cache must not take its callers down with it.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;

use crate::tier::{Stored, Tier, TierError};

/// Stands before the tier that it was given.
#[derive(Debug)]
pub(crate) struct Guarded(pub(crate) Arc<dyn Tier>);

type Operation<'a, T> = Pin<Box<dyn Future<Output = Result<T, TierError>> + Send + 'a>>;

async fn catch<T>(mut operation: Operation<'_, T>) -> Result<T, TierError> {
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| operation.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Err(refused(&panic))))
    })
    .await
}

fn refused(_: &Box<dyn Any + Send>) -> TierError {
    TierError::Refused("PANIC".to_owned())
}

#[async_trait]
impl Tier for Guarded {
    fn ready(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.0.ready())).unwrap_or(false)
    }

    async fn get(&self, key: &str) -> Result<Option<Stored>, TierError> {
        catch(self.0.get(key)).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, TierError> {
        catch(self.0.get_many(keys)).await
    }

    async fn set(&self, key: &str, bytes: Vec<u8>, ttl: Duration) -> Result<(), TierError> {
        catch(self.0.set(key, bytes, ttl)).await
    }

    async fn set_many(&self, entries: Vec<(String, Vec<u8>, Duration)>) -> Result<(), TierError> {
        catch(self.0.set_many(entries)).await
    }

    async fn delete(&self, key: &str) -> Result<bool, TierError> {
        catch(self.0.delete(key)).await
    }

    async fn delete_if(&self, key: &str, seen: &[u8]) -> Result<bool, TierError> {
        catch(self.0.delete_if(key, seen)).await
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        catch(self.0.exists(key)).await
    }

    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        catch(self.0.incr(key, by, ttl)).await
    }
}
