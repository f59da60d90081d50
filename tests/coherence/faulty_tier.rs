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
    TierError,
    testing::FakeTier,
    tier::{
        Attachment, Budget, ChangeFeed, Filled, Found, JournalPosition, LARGE_VALUE, LeaseRequest,
        LeaseToken, Leased, Lookup, Record, TagRequest, TagsClaimed, Tier, TierFill,
    },
};

/// Faults of a `FaultyTier`.
///
/// * `refuses_leases`: leases are refused, as by a Redis at maxmemory.
/// * `untracked`: no changes are reported (RESP2).
/// * `refuses_deletes`: deletes are refused.
/// * `not_ready`: the tier is not ready for reads, as with an open breaker.
/// * `loses_records`: the answer to a look-up has a record too few.
/// * `times_out_large_fills`: large values do not arrive at the tier in time.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) refuses_leases: AtomicBool,
    pub(crate) untracked: AtomicBool,
    pub(crate) refuses_deletes: AtomicBool,
    pub(crate) not_ready: AtomicBool,
    pub(crate) loses_records: AtomicBool,
    pub(crate) times_out_large_fills: AtomicBool,
    /// Budgets of the requests, by operation.
    pub(crate) budgets: Mutex<Vec<(&'static str, Budget)>>,
    /// Lengths of the requested leases.
    pub(crate) leases: Mutex<Vec<Duration>>,
    /// Number of bytes that each fill stored together.
    pub(crate) fills: Mutex<Vec<usize>>,
}

#[derive(Debug)]
pub(crate) struct FaultyTier(pub(crate) FakeTier, pub(crate) Arc<Faults>);

impl FaultyTier {
    fn record_budget(&self, operation: &'static str, budget: Budget) {
        self.1.budgets.lock().unwrap().push((operation, budget));
    }

    fn feed(&self, feed: Arc<ChangeFeed>) -> Arc<ChangeFeed> {
        if self.1.untracked.load(SeqCst) { ChangeFeed::none() } else { feed }
    }
}

#[async_trait]
impl Tier for FaultyTier {
    fn attach(&self, attachment: Attachment) {
        self.0.attach(attachment);
    }
    fn ready(&self) -> bool {
        self.0.ready() && !self.1.not_ready.load(SeqCst)
    }
    async fn lookup(&self, lookups: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError> {
        let mut found = self.0.lookup(lookups, tags).await?;
        if self.1.loses_records.load(SeqCst) {
            found.records.pop();
        }
        Ok(Found { feed: self.feed(found.feed), ..found })
    }
    async fn get_within(&self, key: &str, budget: Budget) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        self.record_budget("lookup", budget);
        self.get(key).await
    }
    async fn lease_within(
        &self,
        requests: &[LeaseRequest<'_>],
        tags: TagRequest<'_>,
        budget: Budget,
    ) -> Result<Leased, TierError> {
        self.record_budget("lease", budget);
        self.lease(requests, tags).await
    }
    async fn fill_within(&self, fills: Vec<TierFill>, budget: Budget) -> Result<Filled, TierError> {
        self.record_budget("fill", budget);
        self.fill(fills).await
    }
    async fn lease(&self, requests: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError> {
        if self.1.refuses_leases.load(SeqCst) {
            return Err(TierError::Refused("OOM".to_owned()));
        }
        self.1.leases.lock().unwrap().extend(requests.iter().map(|request| request.lease));
        let leased = self.0.lease(requests, tags).await?;
        Ok(Leased { feed: self.feed(leased.feed), ..leased })
    }
    async fn claim_tags(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        let claimed = self.0.claim_tags(tags, keep, since).await?;
        Ok(TagsClaimed { feed: self.feed(claimed.feed), ..claimed })
    }
    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError> {
        let bytes = fills.iter().map(|fill| fill.bytes.len());
        self.1.fills.lock().unwrap().push(bytes.clone().sum());
        if self.1.times_out_large_fills.load(SeqCst) && bytes.max().is_some_and(|most| most > LARGE_VALUE) {
            return Err(TierError::Timeout);
        }
        let filled = self.0.fill(fills).await?;
        Ok(Filled { feed: self.feed(filled.feed), ..filled })
    }
    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError> {
        self.0.renew(key, token, lease).await
    }
    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError> {
        self.0.release(key, token, is_failed).await
    }
    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError> {
        if self.1.refuses_deletes.load(SeqCst) {
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
