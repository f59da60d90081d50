//! A sample: the measured quantities at one moment.

use std::{fmt, fs, time::Duration};

use cached_aside::Health;
use tokio::runtime::RuntimeMetrics;

use crate::calls::{Calls, Process};

/// Measures, with the growth that still counts as flat.
///
/// Memory, descriptors and threads are read from Linux; elsewhere they are 0.
pub(crate) const MEASURES: [Measure; 9] = [
    // Allows for pages that the allocator keeps, fragments, and histograms that fill.
    Measure { name: "rss_kib", share: 0.15, slack: 4096.0 },
    Measure { name: "tasks", share: 0.25, slack: 8.0 },
    Measure { name: "descriptors", share: 0.0, slack: 3.0 },
    // Allows for the pool of blocking threads, which grows and shrinks.
    Measure { name: "threads", share: 0.0, slack: 3.0 },
    Measure { name: "in_flight", share: 0.25, slack: 8.0 },
    Measure { name: "waiting", share: 0.25, slack: 8.0 },
    Measure { name: "background_jobs", share: 0.25, slack: 8.0 },
    Measure { name: "pending", share: 0.0, slack: 8.0 },
    Measure { name: "l1_entries", share: 0.15, slack: 100.0 },
];

/// Quantity that must not grow by more than a share of its first value, plus a slack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) share: f64,
    pub(crate) slack: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) values: [f64; MEASURES.len()],
    pub(crate) calls: u64,
    pub(crate) wrong: u64,
}

impl Sample {
    #[allow(clippy::cast_precision_loss)] // Counts far below 2^52.
    pub(crate) fn take(
        at: Duration,
        processes: &[Process; 2],
        runtime: &RuntimeMetrics,
        calls: &Calls,
    ) -> Self {
        let health = processes.each_ref().map(|process| process.cache.health());
        let sum = |of: fn(&Health) -> u64| health.iter().map(of).sum::<u64>() as f64;
        let values = [
            status("VmRSS:"),
            runtime.num_alive_tasks() as f64,
            fs::read_dir("/proc/self/fd").map_or(0.0, |descriptors| descriptors.count() as f64),
            status("Threads:"),
            sum(|health| health.in_flight),
            sum(|health| health.waiting),
            sum(|health| health.background_jobs),
            sum(|health| health.pending_invalidations),
            sum(|health| health.l1_entries),
        ];
        Self { at, values, calls: calls.made(), wrong: calls.wrong() }
    }
}

/// Returns a number that the system reports for this process.
fn status(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.1} s", self.at.as_secs_f64())?;
        for (measure, value) in MEASURES.iter().zip(self.values) {
            write!(f, "  {} {value}", measure.name)?;
        }
        write!(f, "  calls {}  wrong {}", self.calls, self.wrong)
    }
}
