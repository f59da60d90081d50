//! A wrapper that turns panics of a tier into errors, so that they do not reach callers of a cached function.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    error::tier::TierError,
    tier::{
        Attachment, Filled, Found, JournalPosition, LeaseRequest, LeaseToken, Leased, Lookup, Note, Record,
        TagRequest, TagsClaimed, Tier, TierFill,
        budget::Budget,
        cause::TierCause,
        feed::ChangeFeed,
        health::{TierHealth, TierState},
    },
};

/// Wraps a tier, and catches the panics of all its operations.
#[derive(Debug)]
pub(crate) struct CatchPanic(pub(crate) Arc<dyn Tier>);

type Operation<'a, T> = Pin<Box<dyn Future<Output = Result<T, TierError>> + Send + 'a>>;

impl CatchPanic {
    /// Calls [`Tier::lookup_within`] without a boxed future of its own, since it is on the path of a hit.
    pub(crate) fn lookup_within<'a>(
        &'a self,
        lookups: &'a [Lookup<'_>],
        tags: &'a [String],
        budget: Budget,
    ) -> Catch<'a, Found> {
        catch(self.0.lookup_within(lookups, tags, budget))
    }

    /// Calls [`Tier::get_within`] without a boxed future of its own, since it is on the path of a hit.
    pub(crate) fn get_within<'a>(
        &'a self,
        key: &'a str,
        budget: Budget,
    ) -> Catch<'a, (Record, Arc<ChangeFeed>)> {
        catch(self.0.get_within(key, budget))
    }
}

/// Future of an operation, whose panics are errors.
#[must_use = "an operation does nothing until it is awaited"]
pub(crate) struct Catch<'a, T>(Operation<'a, T>);

fn catch<T>(operation: Operation<'_, T>) -> Catch<'_, T> {
    Catch(operation)
}

impl<T> Future for Catch<'_, T> {
    type Output = Result<T, TierError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panic_error(&panic))))
    }
}

fn panic_error(_: &Box<dyn Any + Send>) -> TierError {
    TierError::Refused("PANIC".to_owned())
}

#[async_trait]
impl Tier for CatchPanic {
    fn attach(&self, attachment: Attachment) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.attach(attachment)));
    }

    fn ready(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.0.ready())).unwrap_or(false)
    }

    fn health(&self) -> TierHealth {
        catch_unwind(AssertUnwindSafe(|| self.0.health()))
            .unwrap_or_else(|_| TierHealth::new(TierState::Down))
    }

    async fn connected(&self) -> Result<(), TierCause> {
        let mut operation = self.0.connected();
        poll_fn(|cx| {
            catch_unwind(AssertUnwindSafe(|| operation.as_mut().poll(cx)))
                .unwrap_or_else(|_| Poll::Ready(Err(TierCause::Code("PANIC".to_owned()))))
        })
        .await
    }

    async fn lookup(&self, lookups: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        catch(self.0.lookup(lookups, tags)).await
    }

    async fn get(&self, key: &str) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        catch(self.0.get(key)).await
    }

    async fn lease_within(
        &self,
        requests: &[LeaseRequest<'_>],
        tags: TagRequest<'_>,
        budget: Budget,
    ) -> Result<Leased, TierError> {
        catch(self.0.lease_within(requests, tags, budget)).await
    }

    async fn fill_within(&self, fills: Vec<TierFill>, budget: Budget) -> Result<Filled, TierError> {
        catch(self.0.fill_within(fills, budget)).await
    }

    async fn lease(&self, requests: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError> {
        catch(self.0.lease(requests, tags)).await
    }

    async fn claim_tags(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        catch(self.0.claim_tags(tags, keep, since)).await
    }

    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        catch(self.0.fill(fills)).await
    }

    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError> {
        catch(self.0.renew(key, token, lease)).await
    }

    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        catch(self.0.release(key, token, is_failed)).await
    }

    async fn fail(&self, key: &str, token: LeaseToken, note: &Note) -> Result<bool, TierError> {
        catch(self.0.fail(key, token, note)).await
    }

    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        catch(self.0.delete(keys, tags)).await
    }

    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError> {
        catch(self.0.delete_matching(pattern)).await
    }

    async fn confirm(&self) -> Result<(), TierError> {
        catch(self.0.confirm()).await
    }

    async fn close(&self) {
        let closing = async {
            self.0.close().await;
            Ok::<_, TierError>(())
        };
        let _ = catch(Box::pin(closing)).await;
    }

    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        catch(self.0.exists(key)).await
    }

    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        catch(self.0.incr(key, by, ttl)).await
    }
}
