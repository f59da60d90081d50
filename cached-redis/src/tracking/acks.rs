//! Which pokes this process has handled.

use std::time::{Duration, Instant};

/// What was read from the poke key over one connection.
///
/// A number that was read has been handled: what changed before came as a push before the answer. But two things
/// delay when that may be said: over a connection that tells nothing, what was read before holds for the bound; and
/// so does what was read over the connection before this one, whose pushes nobody hears any more.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    handled: u64,
    /// A later number, and when it was read.
    pending: Option<(u64, Instant)>,
    /// The latest one that was read while that one waits. A connection that tells is not asked for it again.
    next: Option<(u64, Instant)>,
}

/// What delays a reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    pub(crate) bound: Duration,
    pub(crate) is_tracking: bool,
    /// When the connection before was given up.
    pub(crate) last_end: Option<Instant>,
}

impl Readings {
    /// The poke was read at `now`, and was `number`.
    pub(crate) fn read(&mut self, number: u64, now: Instant) {
        if number <= self.handled {
            // It starts again below only when the server's clock was set back: then the old one says nothing.
            self.handled = number;
            (self.pending, self.next) = (None, None);
            return;
        }
        match self.pending {
            // One that waits is not replaced by a later one, or it would never be said.
            Some((pending, _)) if number != pending => self.next = Some((number, now)),
            Some(_) => {}
            None => self.pending = Some((number, now)),
        }
    }

    /// The number that may be said at `now`.
    pub(crate) fn handled(&mut self, delay: Delay, now: Instant) -> u64 {
        if self.due(delay).is_some_and(|due| due <= now)
            && let Some((number, _)) = self.pending.take()
        {
            self.handled = number;
            self.pending = self.next.take();
        }
        self.handled
    }

    /// When there will be another number to say.
    pub(crate) fn due(&self, delay: Delay) -> Option<Instant> {
        let (_, read) = self.pending?;
        let due = if delay.is_tracking { read } else { read + delay.bound };
        Some(delay.last_end.map_or(due, |end| due.max(end + delay.bound)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(1);
    const TRACKING: Delay = Delay { bound: BOUND, is_tracking: true, last_end: None };
    const SILENT: Delay = Delay { bound: BOUND, is_tracking: false, last_end: None };

    #[test]
    fn what_was_read_has_been_handled() {
        let (mut readings, now) = (Readings::default(), Instant::now());
        assert_eq!(readings.handled(TRACKING, now), 0);
        readings.read(7, now);
        assert_eq!(readings.due(TRACKING), Some(now));
        assert_eq!(readings.handled(TRACKING, now), 7);
        readings.read(7, now);
        assert_eq!(readings.due(TRACKING), None);
    }

    #[test]
    fn over_a_connection_that_tells_nothing_it_takes_the_bound() {
        let (mut readings, now) = (Readings::default(), Instant::now());
        readings.read(7, now);
        readings.read(8, now + BOUND / 2);
        assert_eq!(readings.handled(SILENT, now + BOUND * 9 / 10), 0);
        assert_eq!(readings.handled(SILENT, now + BOUND), 7);
        readings.read(8, now + BOUND);
        assert_eq!(readings.handled(SILENT, now + BOUND), 7);
        assert_eq!(readings.handled(SILENT, now + 2 * BOUND), 8);
    }

    #[test]
    fn what_an_earlier_connection_read_must_have_run_out() {
        let (mut readings, now) = (Readings::default(), Instant::now());
        let delay = Delay { last_end: Some(now), ..TRACKING };
        readings.read(7, now);
        assert_eq!(readings.handled(delay, now + BOUND / 2), 0);
        assert_eq!(readings.handled(delay, now + BOUND), 7);
    }

    #[test]
    fn a_later_number_is_said_after_the_one_that_waits() {
        let (mut readings, now) = (Readings::default(), Instant::now());
        let delay = Delay { last_end: Some(now), ..TRACKING };
        readings.read(7, now);
        readings.read(8, now + BOUND / 2);
        assert_eq!(readings.handled(delay, now + BOUND), 7);
        assert_eq!(readings.due(delay), Some(now + BOUND));
        assert_eq!(readings.handled(delay, now + BOUND), 8);
        assert_eq!(readings.due(delay), None);
    }

    #[test]
    fn a_number_that_starts_again_is_believed() {
        let (mut readings, now) = (Readings::default(), Instant::now());
        readings.read(7, now);
        readings.handled(TRACKING, now);
        readings.read(0, now);
        assert_eq!(readings.handled(TRACKING, now), 0);
    }
}
