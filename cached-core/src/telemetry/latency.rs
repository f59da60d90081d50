//! Latency histograms of fixed size, which are recorded without a lock.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::base::clock::Nanos;

/// Base-2 logarithm of the number of buckets per power of two. The middle of a bucket is off by at most 1/16.
const SUB_BITS: u32 = 3;
const SUB_BUCKETS: usize = 1 << SUB_BITS;

/// Longest duration of the histogram, more than two hours. A longer one counts as this.
const MAX_NANOS: Nanos = (1 << 43) - 1;

pub(crate) const BUCKETS: usize = bucket(MAX_NANOS) + 1;

/// Histogram of durations: logarithmic, and linear within each power of two. Recording takes two atomic
/// operations.
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    max: AtomicU64,
}

/// Latency statistics of one operation since the cache was built, in nanoseconds.
///
/// Percentiles are off by at most 1/16; the maximum is exact. More fields may be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Latency {
    /// Number of measurements.
    pub count: u64,
    /// 50th percentile: half of the measurements took no longer.
    pub p50_ns: u64,
    /// 90th percentile: nine of ten measurements took no longer.
    pub p90_ns: u64,
    /// 99th percentile: 99 of a hundred measurements took no longer.
    pub p99_ns: u64,
    /// Longest measurement.
    pub max_ns: u64,
}

#[allow(clippy::cast_possible_truncation, reason = "the cast values are less than 16")]
const fn bucket(nanos: Nanos) -> usize {
    let nanos = if nanos > MAX_NANOS { MAX_NANOS } else { nanos };
    if nanos < SUB_BUCKETS as u64 {
        return nanos as usize;
    }
    let power = nanos.ilog2();
    (power - SUB_BITS + 1) as usize * SUB_BUCKETS + (nanos >> (power - SUB_BITS)) as usize % SUB_BUCKETS
}

/// Returns the middle of a bucket.
pub(crate) const fn bucket_middle(bucket: usize) -> Nanos {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let width = 1 << (bucket / SUB_BUCKETS - 1);
    (SUB_BUCKETS + bucket % SUB_BUCKETS) as u64 * width + width / 2
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: array::from_fn(|_| AtomicU64::new(0)), max: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, took: Nanos) {
        self.buckets[bucket(took)].fetch_add(1, Ordering::Relaxed);
        // Usually this is no new maximum, and nothing is written.
        if took > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(took, Ordering::Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> [u64; BUCKETS] {
        array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed))
    }

    pub(crate) fn snapshot(&self) -> Latency {
        let (counts, max_ns) = (self.counts(), self.max.load(Ordering::Relaxed));
        let count: u64 = counts.iter().sum();
        let percentile = |percent: u64| {
            let rank = (count * percent).div_ceil(100);
            let mut seen = 0;
            let reaches_rank = |of: &u64| {
                seen += of;
                seen >= rank
            };
            counts.iter().position(reaches_rank).map_or(0, bucket_middle).min(max_ns)
        };
        let (p50_ns, p90_ns, p99_ns) = (percentile(50), percentile(90), percentile(99));
        Latency { count, p50_ns, p90_ns, p99_ns, max_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_without_gaps_and_hold_their_middle() {
        let mut last = 0;
        for power in 0..64 {
            for nanos in [(1_u64 << power) - 1, 1 << power, (1 << power) + (1 << power) / 3] {
                let bucket = bucket(nanos);
                assert!(bucket == last || bucket > last && bucket < BUCKETS, "{nanos}");
                last = bucket;
            }
        }
        for index in 0..BUCKETS {
            assert_eq!(bucket(bucket_middle(index)), index);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_within_a_sixteenth_and_the_maximum_is_exact() {
        let histogram = Histogram::new();
        assert_eq!(histogram.snapshot(), Latency::default());
        for nanos in 1..=100_000_u64 {
            histogram.record(nanos * 1_000);
        }
        let found = histogram.snapshot();
        assert_eq!((found.count, found.max_ns), (100_000, 100_000_000));
        for (percentile, exact) in
            [(found.p50_ns, 50_000_000_u64), (found.p90_ns, 90_000_000), (found.p99_ns, 99_000_000)]
        {
            assert!(percentile.abs_diff(exact) <= exact / 16, "{percentile} for {exact}");
        }
    }

    #[test]
    fn every_percentile_of_one_measurement_is_that_measurement() {
        let histogram = Histogram::new();
        histogram.record(1_000_000);
        let found = histogram.snapshot();
        assert_eq!(
            (found.count, found.p50_ns, found.p99_ns),
            (1, found.max_ns.min(found.p50_ns), found.p50_ns)
        );
        assert!(found.p50_ns <= found.max_ns && found.p50_ns >= 937_500);
    }
}
