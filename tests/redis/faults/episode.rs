//! One fault: calls before it, through it, and after it.

use std::time::{Duration, Instant};

use crate::{
    table::TableRow,
    tally::Tally,
    traffic::Traffic,
    world::{BOUND, GRACE, World},
};

/// Greatest cost that one fault may have. Errors, old values and wrong ones are never allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Number of calls that were delayed by about the budget of a read.
    pub(crate) delayed: usize,
    /// Time by which a call may take longer than its load.
    ///
    /// A call that waits for the load of another process does so until its process notices that Redis hangs.
    /// That takes a second, plus a quarter of a second between heartbeats.
    pub(crate) longest: Duration,
    /// Time from the end of the fault until all is well.
    pub(crate) recovery: Duration,
    /// Set if every invalidation must have been acknowledged.
    pub(crate) all_delivered: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Each of the two caches has a breaker that opens after four paid calls, while one more call
            // waits. The same happens once more when the connection is replaced.
            delayed: 20,
            longest: Duration::from_millis(2500),
            recovery: Duration::from_secs(3),
            all_delivered: false,
        }
    }
}

/// Steady calls, and the fault that they go through.
pub(crate) struct Episode<'a> {
    world: &'a World,
    traffic: Traffic,
    began: Instant,
}

impl<'a> Episode<'a> {
    /// Begins an episode with an outage, after some calls.
    ///
    /// Acknowledged invalidations of other processes must hold after the bound and the grace.
    pub(crate) async fn outage(world: &'a World) -> Self {
        Self::begin(world, BOUND + GRACE).await
    }

    /// Begins an episode with a fault that is no outage, so that the bound alone counts.
    pub(crate) async fn disturbance(world: &'a World) -> Self {
        Self::begin(world, BOUND).await
    }

    async fn begin(world: &'a World, allowed: Duration) -> Self {
        let mut episode = Self::with_traffic(world, Traffic::start(world, allowed, true));
        episode.calls(200).await;
        episode.began = Instant::now();
        episode
    }

    /// Begins an episode with a fault that is there before the first call.
    pub(crate) fn outage_from_start(world: &'a World) -> Self {
        Self::with_traffic(world, Traffic::start(world, BOUND + GRACE, true))
    }

    /// Begins an episode without writes.
    ///
    /// Each process has every key that is requested often, so no call waits for another's load.
    pub(crate) async fn without_writes(world: &'a World) -> Self {
        world.wait_until_current().await;
        let mut episode = Self::with_traffic(world, Traffic::start(world, BOUND + GRACE, false));
        episode.calls(200).await;
        episode.began = Instant::now();
        episode
    }

    fn with_traffic(world: &'a World, traffic: Traffic) -> Self {
        Self { world, traffic, began: Instant::now() }
    }

    /// Waits for this number of further calls.
    pub(crate) async fn calls(&self, further: usize) {
        self.traffic.calls(further).await;
    }

    /// Lets the fault last for this time, while calls continue.
    pub(crate) async fn hold_for(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
        self.calls(100).await;
    }

    /// Ends the episode, when the fault is over.
    ///
    /// Waits until all is well and all writes are visible everywhere, and counts the results.
    pub(crate) async fn end(self, limits: Limits) -> TableRow {
        let ended = Instant::now();
        self.world.wait_until_healthy().await;
        let recovery = self.world.pulse.elapsed_since(ended);
        self.finish(recovery, limits).await
    }

    /// Ends the episode like [`end`](Self::end), with a known time until all was well.
    pub(crate) async fn finish(self, recovery: Duration, limits: Limits) -> TableRow {
        let to = Instant::now();
        self.calls(200).await;
        let (samples, invalidations) = self.traffic.stop().await;
        self.world.wait_until_current().await;
        self.world.wait_until_idle().await;
        let tally = Tally::of(&samples, &invalidations, self.began, to);
        check(&tally, recovery, limits);
        TableRow { tally, recovery }
    }
}

fn check(tally: &Tally, recovery: Duration, limits: Limits) {
    let context = format!("{tally:#?}, normal after {recovery:?}, within {limits:?}");
    assert_eq!(
        (tally.failed, tally.outdated, tally.wrong, tally.failed_invalidations),
        (0, 0, 0, 0),
        "{context}"
    );
    assert!(tally.calls >= 200, "too few calls to say anything: {context}");
    assert!(tally.delayed <= limits.delayed, "too many paid the budget: {context}");
    assert!(tally.longest <= limits.longest, "one took too long: {context}");
    assert!(tally.longest_invalidation <= limits.longest, "an invalidation took too long: {context}");
    assert!(recovery <= limits.recovery, "it took too long until all was well: {context}");
    assert!(!limits.all_delivered || tally.unexcused == 0, "an invalidation was not delivered: {context}");
}
