//! Export of the counters of a cache to the recorder of the `metrics` crate.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use metrics::Label;

use crate::{
    cache::{Cache, WeakCache},
    telemetry::metrics::{
        BACKGROUND, BREAKER_OPEN, IN_FLIGHT, L1_BYTES, L1_ENTRIES, PENDING, TIER_READY, TIER_RECONNECTS,
        WAITING, describe, export,
    },
};

impl Cache {
    /// Exports the counts since the last export to the recorder of the `metrics` crate.
    ///
    /// The recorder is the installed one, or the one of this thread.
    /// [`publish_metrics`](crate::CacheBuilder::publish_metrics) exports at an interval.
    ///
    /// The names are in [`METRICS`](crate::METRICS). Labels hold templates of functions and fixed names of
    /// this crate, and the namespace in metrics of the whole cache. A count that has never been more than
    /// zero is not exported. If no recorder is installed, the counts so far are lost to a later one.
    ///
    /// ```
    /// # extern crate cached_core as cached_aside;
    /// let cache = cached_aside::Cache::builder().build()?;
    /// cache.export_metrics(); // before each scrape, say
    /// # Ok::<(), cached_core::Error>(())
    /// ```
    pub fn export_metrics(&self) {
        describe();
        let functions = self.functions();
        functions.iter().chain([functions.cache_wide()]).for_each(|function| export(function));
        self.export_health();
    }

    fn export_health(&self) {
        let health = self.health();
        let set = |name: &'static str, value: u64| {
            let labels = vec![Label::new("namespace", self.shared().namespace.clone())];
            #[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
            metrics::gauge!(name, labels).set(value as f64);
        };
        set(L1_ENTRIES, health.l1_entries);
        set(L1_BYTES, health.l1_bytes);
        set(IN_FLIGHT, health.in_flight);
        set(WAITING, health.waiting);
        set(PENDING, health.pending_invalidations);
        set(BACKGROUND, health.background_jobs);
        if let Some(tier) = health.tier {
            set(TIER_READY, health.is_tier_ready.into());
            set(TIER_RECONNECTS, tier.reconnects);
            set(BREAKER_OPEN, tier.is_breaker_open.into());
        }
    }

    /// Exports in a thread of its own, since there may be no runtime, for as long as the cache lives.
    pub(crate) fn publish(&self, every: Duration) {
        let cache = self.downgrade();
        let publish = move || {
            loop {
                thread::sleep(every);
                if !export_if_alive(&cache) {
                    return;
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("cached-aside".to_owned()).spawn(publish) {
            eprintln!("cached-aside: metrics are not published: {error}");
        }
    }
}

/// Exports once, and returns whether the cache is still alive.
///
/// A recorder is the user's code, so its panics are caught: they do not end the thread.
fn export_if_alive(cache: &WeakCache) -> bool {
    let Some(cache) = cache.upgrade() else { return false };
    let _ = catch_unwind(AssertUnwindSafe(|| cache.export_metrics()));
    true
}
