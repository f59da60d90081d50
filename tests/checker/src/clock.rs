//! The one clock that all processes of a run share.

use rustix::time::{ClockId, clock_gettime};

/// Returns the nanoseconds on the host's monotonic clock.
///
/// All processes read the same clock, so all times of a history can be compared.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanos.unwrap_or_default()
}

/// Converts milliseconds to nanoseconds.
pub(crate) const fn ms(millis: u64) -> u64 {
    millis * 1_000_000
}
