//! The tier of a cache without a shared tier.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    error::tier::TierError,
    tier::{
        Filled, Found, JournalPosition, LeaseRequest, LeaseToken, Leased, Lookup, TagRequest, TagsClaimed,
        Tier, TierFill,
    },
};

/// The shared tier of a cache that has none: it holds nothing, and there is no process to notify.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTier;

#[async_trait]
impl Tier for NoTier {
    fn ready(&self) -> bool {
        false
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
        _: Duration,
        _: JournalPosition,
    ) -> Result<TagsClaimed, TierError> {
        Err(TierError::Unavailable)
    }

    async fn fill(&self, _: Vec<TierFill>) -> Result<Filled, TierError> {
        Err(TierError::Unavailable)
    }

    async fn renew(&self, _: &str, _: LeaseToken, _: Duration) -> Result<bool, TierError> {
        Err(TierError::Unavailable)
    }

    async fn release(&self, _: &str, _: LeaseToken, _: bool) -> Result<bool, TierError> {
        Err(TierError::Unavailable)
    }

    async fn delete(&self, _: &[String], _: &[String]) -> Result<(), TierError> {
        Ok(())
    }

    async fn delete_matching(&self, _: &str) -> Result<u64, TierError> {
        Ok(0)
    }

    async fn exists(&self, _: &str) -> Result<bool, TierError> {
        Ok(false)
    }

    async fn incr(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, TierError> {
        Err(TierError::Unavailable)
    }
}
