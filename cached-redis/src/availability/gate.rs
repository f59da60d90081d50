//! Admission of operations to Redis: the breaker, and a limit on the number that wait.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use cached_core::TierError;

use crate::availability::breaker::{Breaker, Waited};

/// The admission gate in front of a connection.
///
/// The queue behind the gate is bounded three times:
///
/// * The queue of the connection holds 1024 requests; further requests wait for space.
/// * Each operation waits no longer than its budget.
/// * At most [`max_in_flight`](crate::RedisTierBuilder::max_in_flight) reads, and as many writes, wait at the
///   same time.
///
/// Reads and writes are counted separately. Otherwise fills that wait a second for a hung server would keep
/// callers from being served once the server continues.
///
/// An open breaker rejects reads, but never a write: an invalidation must reach Redis whenever there is a
/// way.
#[derive(Debug)]
pub(crate) struct AdmissionGate {
    breaker: Mutex<Breaker>,
    /// Copy of the breaker's state that is read without the lock.
    is_open: AtomicBool,
    /// Set if any reply in the breaker's window was bad; read without the lock.
    has_bad: AtomicBool,
    reads: AtomicUsize,
    writes: AtomicUsize,
    most: usize,
    shed: AtomicU64,
}

impl AdmissionGate {
    /// Creates a gate that admits at most `most` reads, and as many writes, at the same time.
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

    /// Returns whether the breaker is open.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Admits a read, unless the breaker is open or too many reads wait.
    pub(crate) fn read(&self) -> Result<Permit<'_>, Rejected> {
        if self.is_open() {
            self.shed.fetch_add(1, Ordering::Relaxed);
            return Err(Rejected { opened: false });
        }
        Permit::take(&self.reads, self.most).ok_or_else(|| {
            self.shed.fetch_add(1, Ordering::Relaxed);
            Rejected { opened: self.change(|breaker| breaker.overflowed(Instant::now())) }
        })
    }

    /// Admits a write, unless too many writes wait.
    pub(crate) fn write(&self) -> Result<Permit<'_>, TierError> {
        Permit::take(&self.writes, self.most).ok_or(TierError::Unavailable)
    }

    /// Records the end of a read, and returns whether it opened the breaker.
    pub(crate) fn waited(&self, waited: &Waited) -> bool {
        // Usually all replies are good, and a further good one changes nothing. No lock is taken then.
        let is_good = waited.is_answered && !waited.is_slow();
        if is_good && !self.has_bad.load(Ordering::Acquire) {
            return false;
        }
        self.change(|breaker| breaker.waited(waited))
    }

    /// Records the reply to a heartbeat, and returns whether it closed the breaker.
    ///
    /// The heartbeat was sent at `sent` and is answered now. `was_late` is set if the process itself was
    /// late.
    pub(crate) fn probed(&self, sent: Instant, was_late: bool) -> bool {
        self.is_open() && self.change(|breaker| breaker.probed(sent, Instant::now(), was_late))
    }

    /// Returns the time at which a heartbeat must test whether the breaker may close.
    pub(crate) fn probe_due(&self) -> Option<Instant> {
        if self.is_open() { self.breaker().due() } else { None }
    }

    /// Returns the number of times that the breaker has opened.
    pub(crate) fn opened(&self) -> u64 {
        self.breaker().opened()
    }

    /// Returns the number of rejected reads.
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

/// Rejection of a read.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// Set if the read exceeded the limit, and thereby opened the breaker.
    pub(crate) opened: bool,
}

/// An admission permit, released on drop.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    taken: &'a AtomicUsize,
    /// Number of permits in use when this one was acquired.
    pub(crate) others: usize,
}

impl<'a> Permit<'a> {
    fn take(taken: &'a AtomicUsize, most: usize) -> Option<Self> {
        let place = Self { taken, others: taken.fetch_add(1, Ordering::AcqRel) };
        // A permit beyond the limit is dropped, and thus released, at once.
        (place.others < most).then_some(place)
    }
}

impl Drop for Permit<'_> {
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
        let (one, two) = (Permit::take(&taken, 2), Permit::take(&taken, 2));
        assert!(one.is_some() && two.is_some());
        assert!(Permit::take(&taken, 2).is_none());
        drop(one);
        assert!(Permit::take(&taken, 2).is_some());
        drop(two);
        assert_eq!(taken.into_inner(), 0);
    }
}
