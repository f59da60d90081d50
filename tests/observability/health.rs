//! Health of a cache.

use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use cached_aside::{
    Cache, Health, Mode, TierError, TierHealth, TierState, cached,
    tier::{
        Attachment, ChangeListener, Filled, Found, JournalPosition, LeaseRequest, LeaseToken, Leased, Lookup,
        TagRequest, TagsClaimed, Tier, TierFill,
    },
};
use tokio::task::spawn;

use crate::support::{TestCache, wait_until};

#[cached("slow:{id}", ttl = "1m", cache = cache, skip(cache))]
async fn slow(cache: &Cache, id: u64) -> u64 {
    wait_until(|| cache.health().waiting == 2 && cache.health().in_flight == 1).await;
    id
}

#[tokio::test]
async fn health_reports_current_jobs_tier_state_and_mode() {
    let set = TestCache::new();
    let cache = set.cache.clone();
    assert!(cache.health().is_healthy());
    set.tier.hold_writes(true);
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let cache = cache.clone();
            spawn(async move { slow(&cache, 1).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert!(cache.health().background_jobs > 0, "{:?}", cache.health());
    set.tier.hold_writes(false);
    cache.flush().await;
    let health = cache.health();
    assert_eq!((health.in_flight, health.waiting, health.background_jobs, health.l1_entries), (0, 0, 0, 1));
    assert!(health.l1_bytes > 0 && health.is_healthy() && health.is_tier_ready);
    assert_eq!(health.tier, Some(TierHealth::new(TierState::Up)));

    set.tier.set_down(true);
    slow::invalidate(&cache, 1).await.unwrap_err();
    let health = cache.health();
    assert_eq!(health.tier, Some(TierHealth::new(TierState::Down)));
    assert!(health.pending_invalidations == 1 && !health.is_tier_ready && !health.is_healthy());

    set.tier.set_down(false);
    cache.set_mode(Mode::LocalOnly);
    assert!(!cache.health().is_healthy() && cache.health().mode == Mode::LocalOnly);
    let json = serde_json::to_value(cache.health()).unwrap();
    assert_eq!((json["mode"].as_str(), json["tier"]["state"].as_str()), (Some("local_only"), Some("up")));
    assert_eq!(serde_json::from_value::<Health>(json).unwrap(), cache.health());
}

#[test]
fn cache_without_a_shared_tier_is_healthy() {
    let health = Cache::builder().build().unwrap().health();
    assert!(health.tier.is_none() && !health.is_tier_ready && health.is_healthy());
}

/// Tier that reports the health that a test has set.
#[derive(Clone, Debug, Default)]
pub(crate) struct FixedHealthTier {
    health: Arc<Mutex<Option<TierHealth>>>,
    listener: Arc<OnceLock<Arc<dyn ChangeListener>>>,
}

impl FixedHealthTier {
    pub(crate) fn new(health: Option<TierHealth>) -> Self {
        Self { health: Arc::new(Mutex::new(health)), ..Self::default() }
    }

    /// Changes the reported health.
    pub(crate) fn set_health(&self, health: TierHealth) {
        *self.health.lock().unwrap() = Some(health);
        self.listener.get().unwrap().status_changed();
    }
}

#[async_trait]
impl Tier for FixedHealthTier {
    fn attach(&self, attachment: Attachment) {
        assert!(self.listener.set(attachment.listener).is_ok());
    }

    fn health(&self) -> TierHealth {
        let health = self.health.lock().unwrap().clone();
        health.expect("a tier that panics")
    }

    async fn lookup(&self, _: &[Lookup<'_>], _: &[String]) -> Result<Found, TierError> {
        Err(TierError::Unavailable)
    }

    async fn lease(&self, _: &[LeaseRequest<'_>], _: TagRequest<'_>) -> Result<Leased, TierError> {
        Err(TierError::Unavailable)
    }

    async fn claim_tags(
        &self,
        _: &[String],
        _: std::time::Duration,
        _: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        Err(TierError::Unavailable)
    }

    async fn fill(&self, _: Vec<TierFill>) -> Result<Filled, TierError> {
        Err(TierError::Unavailable)
    }

    async fn renew(&self, _: &str, _: LeaseToken, _: std::time::Duration) -> Result<bool, TierError> {
        Err(TierError::Unavailable)
    }

    async fn release(&self, _: &str, _: LeaseToken, _: bool) -> Result<bool, TierError> {
        Err(TierError::Unavailable)
    }

    async fn delete(&self, _: &[String], _: &[String]) -> Result<(), TierError> {
        Err(TierError::Unavailable)
    }

    async fn delete_matching(&self, _: &str) -> Result<u64, TierError> {
        Err(TierError::Unavailable)
    }

    async fn exists(&self, _: &str) -> Result<bool, TierError> {
        Err(TierError::Unavailable)
    }

    async fn incr(&self, _: &str, _: i64, _: Option<std::time::Duration>) -> Result<i64, TierError> {
        Err(TierError::Unavailable)
    }
}

#[test]
fn tier_health_is_forwarded_and_a_panic_counts_as_down() {
    let tier_health = TierHealth::new(TierState::Degraded).reconnects(3).breaker_open(true);
    let build = |health| Cache::builder().tier(FixedHealthTier::new(health)).build().unwrap().health();
    let health = build(Some(tier_health.clone()));
    assert!(health.tier == Some(tier_health) && health.is_tier_ready && !health.is_healthy());
    assert_eq!(build(None).tier, Some(TierHealth::new(TierState::Down)));
    assert_eq!(TierState::Degraded.name(), "degraded");
}
