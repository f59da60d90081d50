//! Who may ask Redis: the breaker, and a limit of those who wait.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use cached_core::TierError;

use crate::availability::breaker::{Breaker, Waited};

/// Stands before the connection.
///
/// The queue behind it is bounded three times. The connection's own queue takes 1024 requests, and whoever finds it
/// full waits; everybody who waits does so within his budget; and no more than
/// [`max_in_flight`](crate::RedisTierBuilder::max_in_flight) reads, and as many writes, wait at the same time. Reads
/// and writes are counted apart, so that fills that wait a second for a server that hangs do not keep callers
/// from being served when it goes on.
///
/// An open breaker turns reads away, and never a write: an invalidation has to reach Redis whenever there is a way.
#[derive(Debug)]
pub(crate) struct Gate {
    breaker: Mutex<Breaker>,
    /// What the breaker says, for those who only want to know that.
    is_open: AtomicBool,
    /// Whether any of the answers that it judges by was bad.
    has_bad: AtomicBool,
    reads: AtomicUsize,
    writes: AtomicUsize,
    most: usize,
    shed: AtomicU64,
}

impl Gate {
    /// At most `most` reads and as many writes wait.
    pub(crate) fn new(breaker: Breaker, most: usize) -> Self {
        Self {
            is_open: AtomicBool::new(breaker.is_open()),
            has_bad: AtomicBool::new(breaker.has_bad()),
            breaker: Mutex::new(breaker),
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            most,
            shed: AtomicU64::new(0),
        }
    }

    /// Whether the breaker is open.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Lets a read in, unless the breaker is open or too many wait.
    pub(crate) fn read(&self) -> Result<Place<'_>, Turned> {
        if self.is_open() {
            self.shed.fetch_add(1, Ordering::Relaxed);
            return Err(Turned { opened: false });
        }
        Place::take(&self.reads, self.most).ok_or_else(|| {
            self.shed.fetch_add(1, Ordering::Relaxed);
            Turned { opened: self.change(|breaker| breaker.overflowed(Instant::now())) }
        })
    }

    /// Lets a write in, unless too many wait.
    pub(crate) fn write(&self) -> Result<Place<'_>, TierError> {
        Place::take(&self.writes, self.most).ok_or(TierError::Unavailable)
    }

    /// A read has ended. Whether that opened the breaker.
    pub(crate) fn waited(&self, waited: &Waited) -> bool {
        // As a rule, all answers are good, and then a further one changes nothing: no lock for it.
        let is_good = waited.is_answered && !waited.is_slow();
        if is_good && !self.has_bad.load(Ordering::Acquire) {
            return false;
        }
        self.change(|breaker| breaker.waited(waited))
    }

    /// A heartbeat that was sent then was answered now, by a process that `was_late` itself or not. Whether that closed the breaker.
    pub(crate) fn probed(&self, sent: Instant, was_late: bool) -> bool {
        self.is_open() && self.change(|breaker| breaker.probed(sent, Instant::now(), was_late))
    }

    /// When a heartbeat is due to find out whether the breaker may close.
    pub(crate) fn probe_due(&self) -> Option<Instant> {
        if self.is_open() { self.breaker().due() } else { None }
    }

    /// How often the breaker has opened.
    pub(crate) fn opened(&self) -> u64 {
        self.breaker().opened()
    }

    /// How many reads were turned away.
    pub(crate) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Breaker) -> bool) -> bool {
        let mut breaker = self.breaker();
        let has_changed = change(&mut breaker);
        if has_changed {
            self.is_open.store(breaker.is_open(), Ordering::Release);
        }
        self.has_bad.store(breaker.has_bad(), Ordering::Release);
        has_changed
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read that was turned away.
#[derive(Debug)]
pub(crate) struct Turned {
    /// It was one too many, and the breaker is open now.
    pub(crate) opened: bool,
}

/// Of one who waits; free again when he does not any more, for whatever reason.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    taken: &'a AtomicUsize,
    /// How many others had one when this one was taken.
    pub(crate) others: usize,
}

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize, most: usize) -> Option<Self> {
        let place = Self { taken, others: taken.fetch_add(1, Ordering::AcqRel) };
        // Given back at once if it was one too many.
        (place.others < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let taken = AtomicUsize::new(0);
        let (one, two) = (Place::take(&taken, 2), Place::take(&taken, 2));
        assert!(one.is_some() && two.is_some());
        assert!(Place::take(&taken, 2).is_none());
        drop(one);
        assert!(Place::take(&taken, 2).is_some());
        drop(two);
        assert_eq!(taken.into_inner(), 0);
    }
}
