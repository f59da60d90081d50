//! Two caches with one tier, and loads that a test can hold.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use cached_aside::{
    Cache, CacheBuilder,
    testing::{FakeTier, ManualClock},
};
use redis_harness::PATIENCE;
use tokio::{sync::Semaphore, task::yield_now};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Two processes.
pub(crate) struct Pair {
    pub(crate) clock: ManualClock,
    pub(crate) tier_a: FakeTier,
    pub(crate) tier_b: FakeTier,
    pub(crate) a: Cache,
    pub(crate) b: Cache,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(set: impl Fn(CacheBuilder) -> CacheBuilder) -> Self {
        let clock = ManualClock::new();
        let tier_a = FakeTier::new(&clock);
        let tier_b = tier_a.clone();
        let build = |tier: &FakeTier| {
            // The cache gets the connection that the test can silence.
            let builder =
                Cache::builder().namespace("test").tier(tier.same_connection()).clock(clock.clock());
            set(builder).build().unwrap()
        };
        Self { a: build(&tier_a), b: build(&tier_b), clock, tier_a, tier_b }
    }

    pub(crate) async fn flush(&self) {
        self.a.flush().await;
        self.b.flush().await;
    }

    /// Counts the round trips of one step, including those in the background.
    pub(crate) async fn round_trips<T>(&self, step: impl Future<Output = T>) -> (T, usize) {
        self.flush().await;
        let before = self.tier_a.round_trips();
        let out = step.await;
        self.flush().await;
        (out, self.tier_a.round_trips() - before)
    }
}

/// Database with one row. A test can hold its answers.
#[derive(Clone)]
pub(crate) struct Source(Arc<SourceState>);

struct SourceState {
    version: AtomicUsize,
    runs: AtomicUsize,
    fails: AtomicBool,
    gate: Semaphore,
}

impl Source {
    pub(crate) fn open() -> Self {
        Self::with(Semaphore::MAX_PERMITS)
    }

    /// Creates a source with loads that begin, read, and then wait.
    pub(crate) fn gated() -> Self {
        Self::with(0)
    }

    fn with(permits: usize) -> Self {
        let gate = Semaphore::new(permits);
        let (version, runs) = (AtomicUsize::new(1), AtomicUsize::new(0));
        Self(Arc::new(SourceState { version, runs, fails: AtomicBool::new(false), gate }))
    }

    pub(crate) async fn load(&self) -> usize {
        let version = self.0.version.load(SeqCst);
        self.0.runs.fetch_add(1, SeqCst);
        self.0.gate.acquire().await.unwrap().forget();
        version
    }

    /// Loads like [`load`](Self::load), and fails if `fail` has been set.
    pub(crate) async fn try_load(&self) -> Result<usize, String> {
        let version = self.load().await;
        if self.0.fails.load(SeqCst) { Err("as planned".to_owned()) } else { Ok(version) }
    }

    /// Sets whether loads that can fail do so from now on.
    pub(crate) fn fail(&self, fails: bool) {
        self.0.fails.store(fails, SeqCst);
    }

    pub(crate) fn version(&self) -> usize {
        self.0.version.load(SeqCst)
    }

    pub(crate) fn write(&self) {
        self.0.version.fetch_add(1, SeqCst);
    }

    pub(crate) fn runs(&self) -> usize {
        self.0.runs.load(SeqCst)
    }

    /// Returns the number of handles, including this one.
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    pub(crate) fn release(&self, loads: usize) {
        self.0.gate.add_permits(loads);
    }
}

/// Lets other tasks run until `condition` is true.
pub(crate) async fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "still not true after {PATIENCE:?}");
        yield_now().await;
    }
}

/// Lets all other tasks go as far as they can.
pub(crate) async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}
