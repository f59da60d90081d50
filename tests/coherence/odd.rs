//! A tier with faults that a test switches on.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use cached_aside::{
    Attachment, Budget, ChangeFeed, Filled, Found, JournalPosition, LARGE_VALUE, LeaseRequest, LeaseToken,
    Leased, Lookup, Record, TagRequest, TagsClaimed, Tier, TierError, TierFill, testing::FakeTier,
};

/// Faults of an `Odd` tier.
///
/// * `full`: leases are refused, as by a Redis at maxmemory.
/// * `deaf`: no changes are reported (RESP2).
/// * `keeps`: deletes are refused.
/// * `shy`: the tier is not ready for reads, as with an open breaker.
/// * `slow`: large values do not arrive at the tier in time.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    pub(crate) full: AtomicBool,
    pub(crate) deaf: AtomicBool,
    pub(crate) keeps: AtomicBool,
    pub(crate) shy: AtomicBool,
    pub(crate) slow: AtomicBool,
    /// Budgets of the requests, by operation.
    pub(crate) budgets: Mutex<Vec<(&'static str, Budget)>>,
    /// Lengths of the requested leases.
    pub(crate) leases: Mutex<Vec<Duration>>,
    /// Number of bytes that each fill stored together.
    pub(crate) fills: Mutex<Vec<usize>>,
}

#[derive(Debug)]
pub(crate) struct Odd(pub(crate) FakeTier, pub(crate) Arc<Switches>);

impl Odd {
    fn note(&self, what: &'static str, budget: Budget) {
        self.1.budgets.lock().unwrap().push((what, budget));
    }

    fn line(&self, line: Arc<ChangeFeed>) -> Arc<ChangeFeed> {
        if self.1.deaf.load(SeqCst) { ChangeFeed::silent() } else { line }
    }
}

#[async_trait]
impl Tier for Odd {
    fn attach(&self, attachment: Attachment) {
        self.0.attach(attachment);
    }
    fn ready(&self) -> bool {
        self.0.ready() && !self.1.shy.load(SeqCst)
    }
    async fn look(&self, asks: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        let seen = self.0.look(asks, tags).await?;
        Ok(Found { line: self.line(seen.line), ..seen })
    }
    async fn look_at_within(
        &self,
        key: &str,
        budget: Budget,
    ) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        self.note("look", budget);
        self.look_at(key).await
    }
    async fn lease_within(
        &self,
        claims: &[LeaseRequest<'_>],
        tags: TagRequest<'_>,
        budget: Budget,
    ) -> Result<Leased, TierError> {
        self.note("lease", budget);
        self.lease(claims, tags).await
    }
    async fn fill_within(&self, fills: Vec<TierFill>, budget: Budget) -> Result<Filled, TierError> {
        self.note("fill", budget);
        self.fill(fills).await
    }
    async fn lease(&self, claims: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError> {
        if self.1.full.load(SeqCst) {
            return Err(TierError::Refused("OOM".to_owned()));
        }
        self.1.leases.lock().unwrap().extend(claims.iter().map(|claim| claim.lease));
        let leased = self.0.lease(claims, tags).await?;
        Ok(Leased { line: self.line(leased.line), ..leased })
    }
    async fn adopt(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        let adopted = self.0.adopt(tags, keep, since).await?;
        Ok(TagsClaimed { line: self.line(adopted.line), ..adopted })
    }
    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        let bytes = fills.iter().map(|fill| fill.bytes.len());
        self.1.fills.lock().unwrap().push(bytes.clone().sum());
        if self.1.slow.load(SeqCst) && bytes.max().is_some_and(|most| most > LARGE_VALUE) {
            return Err(TierError::Timeout);
        }
        let filled = self.0.fill(fills).await?;
        Ok(Filled { line: self.line(filled.line), ..filled })
    }
    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError> {
        self.0.renew(key, token, lease).await
    }
    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        self.0.release(key, token, is_failed).await
    }
    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        if self.1.keeps.load(SeqCst) {
            return Err(TierError::Refused("NOPERM".to_owned()));
        }
        self.0.delete(keys, tags).await
    }
    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError> {
        self.0.delete_matching(pattern).await
    }
    async fn confirm(&self) -> Result<(), TierError> {
        self.0.confirm().await
    }
    async fn exists(&self, key: &str) -> Result<bool, TierError> {
        self.0.exists(key).await
    }
    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError> {
        self.0.incr(key, by, ttl).await
    }
}
