//! Two processes with one Redis, and the conditions under which all is well.

use std::{sync::Arc, time::Duration};

use cached_aside::{Cache, CacheBuilder, CacheControl, CacheOutcome, Layer, RedisTier};
use redis_harness::{Proxy, Pulse, RedisServer, eventually_async};

use crate::source::{HOT_KEYS, Process, Source, row};

pub(crate) const NAMESPACE: &str = "resilience";

/// The default of [`CacheBuilder::staleness_bound`].
pub(crate) const BOUND: Duration = Duration::from_secs(1);

/// Outage grace that is shorter than a fault lasts. Everything else has its default.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// Two caches with one source of truth.
pub(crate) struct World {
    pub(crate) processes: [Process; 2],
    pub(crate) source: Arc<Source>,
    pub(crate) pulse: Arc<Pulse>,
}

impl World {
    /// Creates the caches, on these two addresses of one Redis. They do not connect yet.
    pub(crate) fn new(urls: [&str; 2]) -> Self {
        Self::with_settings(urls, |_, builder| builder)
    }

    /// Creates the caches like [`new`](Self::new), with further settings for each.
    pub(crate) fn with_settings(urls: [&str; 2], set: impl Fn(usize, CacheBuilder) -> CacheBuilder) -> Self {
        let source = Arc::new(Source::default());
        let process = |number: usize| {
            let tier = RedisTier::builder(urls[number]).build().unwrap();
            let builder = Cache::builder().namespace(NAMESPACE).outage_grace(GRACE).tier(tier);
            Process { number, cache: set(number, builder).build().unwrap(), source: source.clone() }
        };
        Self { processes: [process(0), process(1)], source, pulse: Arc::new(Pulse::start()) }
    }

    /// Connects without anything in between.
    pub(crate) async fn direct(redis: &RedisServer) -> Self {
        let url = redis.url();
        Self::new([&url, &url]).connect().await
    }

    /// Connects with a lease of a second.
    ///
    /// If a lease can neither be used nor released, a caller waits until its end.
    pub(crate) async fn with_short_lease(redis: &RedisServer) -> Self {
        let url = redis.url();
        Self::with_settings([&url, &url], |_, builder| builder.lease(Duration::from_secs(1))).connect().await
    }

    /// Connects each cache through a proxy of its own.
    pub(crate) async fn proxied(redis: &RedisServer) -> (Self, [Proxy; 2]) {
        let proxies = [Proxy::start(redis.port()), Proxy::start(redis.port())];
        let world = Self::new([&proxies[0].url(), &proxies[1].url()]).connect().await;
        (world, proxies)
    }

    pub(crate) async fn connect(self) -> Self {
        self.wait_until_healthy().await;
        self
    }

    /// Waits until each process is well, and both share values through Redis.
    ///
    /// Each one gets from Redis a value that the other one has loaded.
    pub(crate) async fn wait_until_healthy(&self) {
        eventually_async("all is well", async || {
            self.shares_value(0, 1).await && self.shares_value(1, 0).await && self.is_healthy()
        })
        .await;
    }

    /// Waits until both processes know that Redis cannot be reached.
    pub(crate) async fn wait_until_unreachable(&self) {
        eventually_async("it is noticed that Redis is gone", async || {
            self.processes.iter().all(|process| !process.cache.health().is_tier_ready)
        })
        .await;
    }

    fn is_healthy(&self) -> bool {
        self.processes.iter().all(|process| process.cache.health().is_healthy())
    }

    /// Returns whether one process gets from Redis a value that the other one loads.
    async fn shares_value(&self, from: usize, to: usize) -> bool {
        let id = self.source.unused_key();
        row(&self.processes[from], id).await;
        self.processes[from].cache.flush().await;
        let reply = row::with(CacheControl::new(), &self.processes[to], id).await;
        matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L2, .. })
    }

    /// Waits until a read of this key is answered by Redis.
    ///
    /// A read that is answered too late causes a load, and the value stays in this process.
    pub(crate) async fn wait_until_shared(&self, process: &Process, id: u64, description: &str) {
        eventually_async(description, async || {
            process.cache.clear_local();
            let reply = row::with(CacheControl::new(), process, id).await;
            matches!(reply.outcome, CacheOutcome::Hit { tier: Layer::L2, .. })
        })
        .await;
    }

    /// Waits until both processes have the current version of every key.
    ///
    /// Nothing may write meanwhile.
    pub(crate) async fn wait_until_current(&self) {
        for process in &self.processes {
            for id in 0..HOT_KEYS {
                eventually_async("what was written is seen everywhere", async || {
                    row(process, id).await.version == self.source.version(id)
                })
                .await;
            }
        }
    }

    /// Waits until nothing is in progress, and checks that nothing is left behind.
    pub(crate) async fn wait_until_idle(&self) {
        for process in &self.processes {
            process.cache.flush().await;
            eventually_async("nothing is left in flight", async || {
                let health = process.cache.health();
                (health.in_flight, health.waiting, health.background_jobs) == (0, 0, 0)
            })
            .await;
        }
    }

    /// Returns the name in Redis of one of the hot keys.
    pub(crate) fn key_name(id: u64) -> String {
        format!("{NAMESPACE}:row:{id}")
    }
}
