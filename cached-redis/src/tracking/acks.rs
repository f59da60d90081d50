//! Acknowledgements of barriers: the barrier number up to which this process has handled all changes.
//!
//! A barrier (`tier::barrier`) raises the number under the barrier key (`Registry::barrier`) and waits until
//! every member has acknowledged it. The heartbeat reads the key, feeds the number to [`BarrierAcks`], and
//! registers the acknowledged number with `REGISTER`.

use std::time::{Duration, Instant};

/// Barrier numbers that were read over one connection, and the one that may be acknowledged.
///
/// A number that was read is handled at once on a tracked connection: the pushes of all earlier changes
/// arrived before the reply. Two things delay its acknowledgement. Over an untracked connection, entries read
/// earlier remain servable for the staleness bound. Entries read over the previous connection do as well,
/// since their pushes no longer arrive.
#[derive(Debug, Default)]
pub(crate) struct BarrierAcks {
    acknowledged: u64,
    /// Next number to acknowledge, and when it was read.
    pending: Option<(u64, Instant)>,
    /// Latest number read while `pending` waits. It is kept because a tracked connection does not read it
    /// again.
    next: Option<(u64, Instant)>,
}

/// Conditions that delay an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckDelay {
    pub(crate) bound: Duration,
    pub(crate) is_tracking: bool,
    /// Time at which the previous connection was given up.
    pub(crate) previous_end: Option<Instant>,
}

impl BarrierAcks {
    /// Records that the barrier key held `number` at `now`.
    pub(crate) fn record(&mut self, number: u64, now: Instant) {
        if number <= self.acknowledged {
            // It decreases only if the server's clock was set back, which makes the old number meaningless.
            self.acknowledged = number;
            (self.pending, self.next) = (None, None);
            return;
        }
        match self.pending {
            // A pending number is not replaced by a later one, or it might never be acknowledged.
            Some((pending, _)) if number != pending => self.next = Some((number, now)),
            Some(_) => {}
            None => self.pending = Some((number, now)),
        }
    }

    /// Returns the number that may be acknowledged at `now`.
    pub(crate) fn acknowledge(&mut self, delay: AckDelay, now: Instant) -> u64 {
        if self.due(delay).is_some_and(|due| due <= now)
            && let Some((number, _)) = self.pending.take()
        {
            self.acknowledged = number;
            self.pending = self.next.take();
        }
        self.acknowledged
    }

    /// Returns the time at which the next number may be acknowledged, if one is pending.
    pub(crate) fn due(&self, delay: AckDelay) -> Option<Instant> {
        let (_, read_at) = self.pending?;
        let due = if delay.is_tracking { read_at } else { read_at + delay.bound };
        Some(delay.previous_end.map_or(due, |end| due.max(end + delay.bound)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(1);
    const TRACKING: AckDelay = AckDelay { bound: BOUND, is_tracking: true, previous_end: None };
    const UNTRACKED: AckDelay = AckDelay { bound: BOUND, is_tracking: false, previous_end: None };

    #[test]
    fn tracked_connection_acknowledges_barrier_at_once() {
        let (mut acks, now) = (BarrierAcks::default(), Instant::now());
        assert_eq!(acks.acknowledge(TRACKING, now), 0);
        acks.record(7, now);
        assert_eq!(acks.due(TRACKING), Some(now));
        assert_eq!(acks.acknowledge(TRACKING, now), 7);
        acks.record(7, now);
        assert_eq!(acks.due(TRACKING), None);
    }

    #[test]
    fn untracked_connection_acknowledges_barriers_after_the_bound() {
        let (mut acks, now) = (BarrierAcks::default(), Instant::now());
        acks.record(7, now);
        acks.record(8, now + BOUND / 2);
        assert_eq!(acks.acknowledge(UNTRACKED, now + BOUND * 9 / 10), 0);
        assert_eq!(acks.acknowledge(UNTRACKED, now + BOUND), 7);
        acks.record(8, now + BOUND);
        assert_eq!(acks.acknowledge(UNTRACKED, now + BOUND), 7);
        assert_eq!(acks.acknowledge(UNTRACKED, now + 2 * BOUND), 8);
    }

    #[test]
    fn barrier_is_acknowledged_one_bound_after_previous_connection_ended() {
        let (mut acks, now) = (BarrierAcks::default(), Instant::now());
        let delay = AckDelay { previous_end: Some(now), ..TRACKING };
        acks.record(7, now);
        assert_eq!(acks.acknowledge(delay, now + BOUND / 2), 0);
        assert_eq!(acks.acknowledge(delay, now + BOUND), 7);
    }

    #[test]
    fn later_barrier_is_acknowledged_after_the_pending_one() {
        let (mut acks, now) = (BarrierAcks::default(), Instant::now());
        let delay = AckDelay { previous_end: Some(now), ..TRACKING };
        acks.record(7, now);
        acks.record(8, now + BOUND / 2);
        assert_eq!(acks.acknowledge(delay, now + BOUND), 7);
        assert_eq!(acks.due(delay), Some(now + BOUND));
        assert_eq!(acks.acknowledge(delay, now + BOUND), 8);
        assert_eq!(acks.due(delay), None);
    }

    #[test]
    fn acknowledged_number_decreases_with_the_barrier_number() {
        let (mut acks, now) = (BarrierAcks::default(), Instant::now());
        acks.record(7, now);
        acks.acknowledge(TRACKING, now);
        acks.record(0, now);
        assert_eq!(acks.acknowledge(TRACKING, now), 0);
    }
}
