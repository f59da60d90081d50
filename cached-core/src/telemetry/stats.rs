//! Counters, spread over shards so that threads which count do not wait for each other.

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

        /// What a cache has counted since it was built. More fields may come.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])+ pub $field: u64,)+
            /// Entries in the in-process tier now.
            pub l1_entries: u64,
            /// Their estimated bytes.
            pub l1_bytes: u64,
            /// Estimated bytes of entries that have left the in-process tier and are still held: by a thread that has them at
            /// hand until it calls again, by a reader, or until Moka frees them.
            pub l1_retired_bytes: u64,
            /// Loads under way now.
            pub in_flight: u64,
            /// Calls that wait for the load of another call of this process now.
            pub waiting: u64,
            /// Invalidations that the shared tier has still to be told of.
            pub pending_invalidations: u64,
        }

        /// What a cache has counted of one function since it was built, and how long things took. More fields may come.
        ///
        /// What is about more than one function, such as the invalidation of a tag, is in the [`Stats`] of the cache only.
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct FunctionStats {
            /// The prefix or template of the function, with `{}` for each placeholder. Functions that share it share this.
            pub function: String,
            $($(#[$doc])+ pub $field: u64,)+
            /// Plain calls that the in-process tier answered: one in about 64 is measured, from when the time was read
            /// for the look until the value was there. Encoding the key comes before that.
            pub hit: Latency,
            /// Questions to the shared tier, each one round trip.
            pub look: Latency,
            /// Runs of the function's body that came to an end.
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

            pub(crate) fn of_function(&self) -> FunctionStats {
                FunctionStats { $($field: self.sum(Count::$variant),)+ ..FunctionStats::default() }
            }
        }
    };
}

counters! {
    /// Answered by the in-process tier.
    HitL1 => hits_l1,
    /// Answered by the shared tier.
    HitL2 => hits_l2,
    /// Answered with a value that was not fresh any more.
    Stale => stale_served,
    /// In no tier.
    Miss => misses,
    /// Answered by the load of another call.
    Joined => joined,
    /// The cache took no part.
    Bypass => bypassed,
    /// Runs of a function's body.
    Load => loads,
    /// Renewals of the most used keys, begun before they expired and without a call. Where another process was faster, its
    /// value is taken.
    KeptWarm => kept_warm,
    /// Loads that returned an error.
    LoadError => load_errors,
    /// Loads that took longer than they may.
    LoadTimeout => load_timeouts,
    /// Loads that panicked.
    LoadPanic => load_panics,
    /// Values put into the in-process tier after a load.
    Fill => fills,
    /// Values that were loaded, but not kept because an invalidation overtook the load.
    RejectedFill => rejected_fills,
    /// Entries of the in-process tier that were checked with the shared tier and found unchanged.
    Revalidate => revalidated,
    /// Entries that were served although the shared tier could not be asked.
    ServedAlone => served_in_outage,
    /// Values put into the shared tier.
    SharedFill => shared_fills,
    /// Values that the shared tier refused, because an invalidation overtook their load.
    SharedReject => shared_rejected,
    /// Values that could not be put into the shared tier.
    SharedFillError => shared_fill_errors,
    /// Values that were kept in this process only, because the shared tier cannot hold them: no codec has a form for them, or they
    /// are too large. The tier has a stub in their place, so that invalidations reach them.
    Unshared => kept_unshared,
    /// Reads that the shared tier failed to answer.
    SharedReadError => shared_read_errors,
    /// Reads and fills that passed the shared tier by, because it is known that it cannot be reached.
    SharedSkipped => shared_skipped,
    /// Values in the shared tier that were foreign, damaged, too large or of another type; each counted as a miss.
    Unreadable => unreadable,
    /// Arguments that could not be part of a key.
    KeyRefused => keys_refused,
    /// Invalidations.
    Invalidate => invalidations,
    /// Invalidations that the shared tier could not be told of.
    NotPropagated => not_propagated,
}

/// Threads that have a shard of their own. Others share one.
const OWNED: usize = 16;

/// Two cache lines, since processors fetch them in pairs.
#[repr(align(128))]
struct Shard([AtomicU64; COUNTERS]);

/// Of one function in one cache.
pub(crate) struct Counters {
    owned: [Shard; OWNED],
    common: Shard,
}

impl Shard {
    fn new() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self { owned: array::from_fn(|_| Shard::new()), common: Shard::new() }
    }

    #[allow(clippy::inline_always, reason = "a call would take longer than what it does")]
    #[inline(always)]
    pub(crate) fn add(&self, count: Count) {
        let shard = OWN.try_with(Own::shard).unwrap_or(NONE);
        if let Some(shard) = self.owned.get(shard) {
            // Nobody else writes to it.
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

/// Whether this is one of the hits whose time is taken: one in 64 of a thread's, at no fixed distance. Whatever else happens
/// at every 64th hit, such as the housekeeping of a cache, is neither always nor never among them.
#[inline]
pub(crate) fn is_sample(number: u64) -> bool {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    number.wrapping_mul(GOLDEN) > u64::MAX - (u64::MAX >> 6)
}

/// The shard of a thread.
struct Own(Cell<usize>);

thread_local!(static OWN: Own = const { Own(Cell::new(UNKNOWN)) });

const UNKNOWN: usize = usize::MAX;

/// It has none of its own.
const NONE: usize = OWNED;

/// A bit for each shard that a thread has.
static TAKEN: AtomicU32 = AtomicU32::new(0);

impl Own {
    #[inline]
    fn shard(&self) -> usize {
        let shard = self.0.get();
        if shard == UNKNOWN { self.take() } else { shard }
    }

    #[cold]
    fn take(&self) -> usize {
        // What the thread that had it before has counted is seen by this one.
        let taken = TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
            let free = taken.trailing_ones() as usize;
            (free < OWNED).then(|| taken | 1 << free)
        });
        self.0.set(taken.map_or(NONE, |taken| taken.trailing_ones() as usize));
        self.0.get()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let shard = self.0.replace(NONE);
        if shard < OWNED {
            TAKEN.fetch_and(!(1 << shard), Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hit_in_64_is_timed_at_no_fixed_distance() {
        let timed: Vec<u64> = (0..64_000).filter(|number| is_sample(*number)).collect();
        assert!((980..=1_020).contains(&timed.len()), "{}", timed.len());
        let of_64 = timed.iter().filter(|number| *number % 64 == 0).count();
        assert!((10..=25).contains(&of_64), "{of_64}");
    }

    #[test]
    fn nothing_is_lost_when_more_threads_count_than_have_a_shard_and_when_shards_change_hands() {
        const THREADS: u64 = 3 * OWNED as u64;
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
