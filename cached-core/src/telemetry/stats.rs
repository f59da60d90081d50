//! Event counters in shards, so that concurrent threads do not contend for them.
//!
//! Each of the first 16 threads owns a shard and increments it with a plain load and store. All other threads
//! share one shard, and increment it atomically. A thread that ends frees its shard for the next one.

use std::{
    array,
    cell::Cell,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use crate::telemetry::latency::Latency;

macro_rules! counters {
    ($($(#[$doc:meta])+ $variant:ident => $field:ident,)+) => {
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Count { $($variant,)+ }

        pub(crate) const COUNTERS: usize = [$(Count::$variant),+].len();

        /// Counters of a cache since it was built.
        ///
        /// More fields may be added.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])+ pub $field: u64,)+
            /// Number of entries in the in-process tier now.
            pub l1_entries: u64,
            /// Estimated bytes of the entries in the in-process tier now.
            pub l1_bytes: u64,
            /// Estimated bytes of entries that have left L1 but are still in memory.
            ///
            /// Such an entry is held by a thread cache until its thread makes another call, by a reader, or
            /// by Moka until it frees the entry.
            pub l1_retired_bytes: u64,
            /// Number of loads in progress now.
            pub in_flight: u64,
            /// Number of calls that wait for the load of another call of this process now.
            pub waiting: u64,
            /// Number of invalidations that are still to be sent to the shared tier.
            pub pending_invalidations: u64,
        }

        /// Counters and latencies of one function since the cache was built.
        ///
        /// More fields may be added.
        ///
        /// Events that concern several functions, such as the invalidation of a tag, are only in the
        /// [`Stats`] of the cache.
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct FunctionStats {
            /// Prefix or template of the function, with `{}` for each placeholder.
            ///
            /// Functions with the same prefix or template share these statistics.
            pub function: String,
            $($(#[$doc])+ pub $field: u64,)+
            /// Latencies of plain calls that the in-process tier answered.
            ///
            /// About one call in 64 is measured, from the clock reading for the lookup until the value is
            /// available. A hit in the thread cache encodes its key before that reading.
            pub hit: Latency,
            /// Latencies of lookups in the shared tier, each of which is one round trip.
            pub lookup: Latency,
            /// Latencies of runs of the function's body that came to an end.
            pub load: Latency,
        }

        #[cfg(feature = "metrics")]
        impl Count {
            pub(crate) const ALL: [Self; COUNTERS] = [$(Self::$variant),+];
        }

        impl Counters {
            pub(crate) fn total<'a>(all: impl Iterator<Item = &'a Self>) -> Stats {
                let mut stats = Stats::default();
                for counters in all {
                    $(stats.$field += counters.sum(Count::$variant);)+
                }
                stats
            }

            pub(crate) fn function_stats(&self) -> FunctionStats {
                FunctionStats { $($field: self.sum(Count::$variant),)+ ..FunctionStats::default() }
            }
        }
    };
}

counters! {
    /// Calls answered by the in-process tier.
    HitL1 => hits_l1,
    /// Calls answered by the shared tier.
    HitL2 => hits_l2,
    /// Calls answered with a value that was no longer fresh.
    Stale => stale_served,
    /// Calls that no tier answered.
    Miss => misses,
    /// Calls answered by the load of another call.
    Joined => joined,
    /// Calls that bypassed the cache.
    Bypass => bypassed,
    /// Runs of a function's body.
    Load => loads,
    /// Renewals of the most used keys, started without a call before the keys expired.
    ///
    /// If another process renews a key first, its value is taken.
    KeptWarm => kept_warm,
    /// Loads that returned an error.
    LoadError => load_errors,
    /// Loads, and waits for loads, that exceeded their time limit (`load_timeout`).
    LoadTimeout => load_timeouts,
    /// Loads that panicked.
    LoadPanic => load_panics,
    /// Values stored in the in-process tier after a load.
    Fill => fills,
    /// Loaded values that were not stored because an invalidation overtook the load.
    RejectedFill => rejected_fills,
    /// Entries of the in-process tier that the shared tier found unchanged.
    Revalidate => revalidated,
    /// Entries served although the shared tier could not be reached.
    ServedInOutage => served_in_outage,
    /// Values stored in the shared tier.
    SharedFill => shared_fills,
    /// Values that the shared tier rejected because an invalidation overtook the load.
    SharedReject => shared_rejected,
    /// Values that could not be stored in the shared tier.
    SharedFillError => shared_fill_errors,
    /// Values kept in this process only, because the shared tier cannot hold them.
    ///
    /// Either no codec can encode the value, or it is too large. The tier holds a stub in its place, so that
    /// invalidations reach it.
    Unshared => kept_unshared,
    /// Reads that the shared tier failed to answer.
    SharedReadError => shared_read_errors,
    /// Reads that skipped the shared tier, known to be unreachable.
    SharedSkipped => shared_skipped,
    /// Values in the shared tier that could not be read; each counts as a miss.
    ///
    /// Such a value was foreign, damaged, too large or of another type.
    Unreadable => unreadable,
    /// Arguments that could not be part of a key.
    KeyRefused => keys_refused,
    /// Invalidations of a key, a tag, a pattern or everything.
    Invalidate => invalidations,
    /// Invalidations that could not be sent to the shared tier.
    NotPropagated => not_propagated,
}

/// Number of threads with a shard of their own. All others share one.
const OWNED_SHARDS: usize = 16;

/// Counters of one thread, aligned to two cache lines because processors fetch them in pairs.
#[repr(align(128))]
struct CounterShard([AtomicU64; COUNTERS]);

/// Counters of one function in one cache.
pub(crate) struct Counters {
    owned: [CounterShard; OWNED_SHARDS],
    common: CounterShard,
}

impl CounterShard {
    fn new() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self { owned: array::from_fn(|_| CounterShard::new()), common: CounterShard::new() }
    }

    #[allow(clippy::inline_always, reason = "a call would cost more than the body")]
    #[inline(always)]
    pub(crate) fn add(&self, count: Count) {
        let shard = THREAD_SHARD.try_with(ThreadShard::shard).unwrap_or(COMMON_SHARD);
        if let Some(shard) = self.owned.get(shard) {
            // Only this thread writes to the shard, so a load and a store lose no increment.
            let counter = &shard.0[count as usize];
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        } else {
            self.common.0[count as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn sum(&self, count: Count) -> u64 {
        let shards = self.owned.iter().chain([&self.common]);
        shards.map(|shard| shard.0[count as usize].load(Ordering::Relaxed)).sum()
    }
}

/// Returns whether a hit is timed, by its number among the lookups of a thread: one in 64, at varying
/// distances.
///
/// Other work at every 64th hit, such as the housekeeping of a cache, is thus neither always nor never part
/// of a measurement.
#[inline]
pub(crate) fn is_sample(number: u64) -> bool {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    number.wrapping_mul(GOLDEN) > u64::MAX - (u64::MAX >> 6)
}

/// Index of a thread's shard.
struct ThreadShard(Cell<usize>);

thread_local!(static THREAD_SHARD: ThreadShard = const { ThreadShard(Cell::new(UNASSIGNED)) });

const UNASSIGNED: usize = usize::MAX;

/// Index for a thread without a shard of its own.
const COMMON_SHARD: usize = OWNED_SHARDS;

/// Bit set of the shards that have an owner.
static TAKEN_SHARDS: AtomicU32 = AtomicU32::new(0);

impl ThreadShard {
    #[inline]
    fn shard(&self) -> usize {
        let shard = self.0.get();
        if shard == UNASSIGNED { self.acquire() } else { shard }
    }

    #[cold]
    fn acquire(&self) -> usize {
        // Acquires the increments of the previous owner, which released the shard in `drop`.
        let taken = TAKEN_SHARDS.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
            let free = taken.trailing_ones() as usize;
            (free < OWNED_SHARDS).then(|| taken | 1 << free)
        });
        self.0.set(taken.map_or(COMMON_SHARD, |taken| taken.trailing_ones() as usize));
        self.0.get()
    }
}

impl Drop for ThreadShard {
    fn drop(&mut self) {
        let shard = self.0.replace(COMMON_SHARD);
        if shard < OWNED_SHARDS {
            TAKEN_SHARDS.fetch_and(!(1 << shard), Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sample_selects_one_number_in_64_at_varying_distances() {
        let timed: Vec<u64> = (0..64_000).filter(|number| is_sample(*number)).collect();
        assert!((980..=1_020).contains(&timed.len()), "{}", timed.len());
        let of_64 = timed.iter().filter(|number| *number % 64 == 0).count();
        assert!((10..=25).contains(&of_64), "{of_64}");
    }

    #[test]
    fn no_increment_is_lost_when_threads_outnumber_shards_and_shards_are_reused() {
        const THREADS: u64 = 3 * OWNED_SHARDS as u64;
        let counters = Counters::new();
        for _ in 0..20 {
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| (0..100).for_each(|_| counters.add(Count::Miss)));
                }
            });
        }
        assert_eq!(counters.sum(Count::Miss), 20 * THREADS * 100);
        assert!(counters.owned[0].0[Count::Miss as usize].load(Ordering::Relaxed) > 0);
    }
}
