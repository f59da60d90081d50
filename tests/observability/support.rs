//! Two caches over one tier, like two processes, and helpers for the tests.

use std::time::Duration;

use cached_aside::{
    Cache, CacheBuilder, FunctionStats,
    testing::{FakeTier, ManualClock},
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A cache with its tier and its clock.
pub(crate) struct TestCache {
    pub(crate) cache: Cache,
    pub(crate) tier: FakeTier,
    pub(crate) clock: ManualClock,
}

impl TestCache {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(set: impl FnOnce(CacheBuilder) -> CacheBuilder) -> Self {
        let clock = ManualClock::new();
        let tier = FakeTier::new(&clock);
        let builder = Cache::builder().namespace("test").tier(tier.same_connection()).clock(clock.clock());
        Self { cache: set(builder).build().unwrap(), tier, clock }
    }

    /// Returns the cache of another process.
    pub(crate) fn other(&self) -> Cache {
        Cache::builder().namespace("test").tier(self.tier.clone()).clock(self.clock.clock()).build().unwrap()
    }
}

pub(crate) fn stats_of(cache: &Cache, function: &str) -> FunctionStats {
    let all = cache.stats_by_function();
    all.into_iter().find(|one| one.function == function).unwrap_or_default()
}

/// Lets other tasks run until `condition` is true.
pub(crate) async fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
