//! What the tests share.

use std::time::Duration;

use cached_core::{Tier, TierError};
use cached_redis::{RedisTier, RedisTierBuilder};
use redis_harness::eventually_async;

/// A budget that no operation of a busy machine exceeds: what takes this long hangs.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);

/// Well below [`AMPLE`], well above what an operation takes that does not wait for anything.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(5);

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Ample budgets, and short pauses between connection attempts.
pub(crate) fn builder(url: &str) -> RedisTierBuilder {
    RedisTier::builder(url)
        .operation_timeout(AMPLE)
        .write_timeout(AMPLE)
        .connect_timeout(AMPLE)
        .retry(Duration::from_millis(5), Duration::from_millis(20))
}

/// A tier with ample budgets.
pub(crate) fn tier(url: &str) -> RedisTier {
    builder(url).build().expect("the settings are valid")
}

/// Waits until the tier reaches its server.
pub(crate) async fn up(tier: &RedisTier) {
    eventually_async("the tier reaches its server", async || tier.exists("any").await.is_ok()).await;
    assert!(tier.ready());
}

/// Waits until the tier knows that it does not reach its server.
pub(crate) async fn down(tier: &RedisTier) {
    eventually_async("the tier knows that its server is away", async || !tier.ready()).await;
    assert_eq!(tier.exists("any").await, Err(TierError::Unavailable));
}

/// The error of a server that refuses.
pub(crate) fn refused(code: &str) -> TierError {
    TierError::Refused(code.to_owned())
}
