//! Turns of an arm: how many keys, and what they cost.

use std::{cell::Cell, ops::Range, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use super::CAPACITY;
use crate::{options::Options, work::loads};

/// Number of keys in the first turn of an arm.
///
/// That turn only warms up, and leaves the cache full for the turns after it.
const FILL: u64 = 2 * CAPACITY as u64;

/// Turns of one arm.
pub(super) struct Turns<'a> {
    /// Next key that no arm has used.
    next: &'a Cell<u64>,
    /// Number of calls with each key.
    times: u32,
    /// Duration of a turn, in nanoseconds.
    length: f64,
    /// Number of keys in the next turn, if there was a turn.
    keys: Option<u64>,
    /// Loads per key in the last turn.
    loads_per_key: &'a Cell<f64>,
}

impl<'a> Turns<'a> {
    pub(super) fn new(
        options: &Options,
        next: &'a Cell<u64>,
        times: u32,
        loads_per_key: &'a Cell<f64>,
    ) -> Self {
        let length = 2.0 * options.turn().as_nanos() as f64;
        Self { next, times, length, keys: None, loads_per_key }
    }

    /// Runs `work` on new keys. Returns the nanoseconds of processor time per key.
    ///
    /// The time of all threads counts, because some caches do a part of their work in other threads. The time
    /// in which other processes have the processor does not count: a turn is long enough to be interrupted.
    ///
    /// Each turn takes about the same time, whatever a key costs: a short turn would mostly measure how the
    /// processor's caches fill again after the turns of the other arms.
    pub(super) fn run(&mut self, work: impl FnOnce(Range<u64>)) -> f64 {
        let (first, count) = (self.next.get(), self.keys.unwrap_or(FILL));
        self.next.set(first + count);
        let (before, began) = (loads(), processor_time());
        work(first..first + count);
        let nanos = (processor_time() - began).as_nanos() as f64 / count as f64;
        let loads = (loads() - before) as u64;
        // A cache may decline a value, and then a later call with its key loads it again.
        assert!((count..=count * u64::from(self.times)).contains(&loads), "{loads} loads of {count} keys");
        self.loads_per_key.set(loads as f64 / count as f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a small count")]
        self.keys.get_or_insert(((self.length / nanos) as u64).clamp(500, 200_000));
        nanos
    }
}

/// Returns the time for which this process had a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("it is positive")
}
