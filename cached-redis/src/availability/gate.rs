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
    has_bad_reply: AtomicBool,
    reads: AtomicUsize,
    writes: AtomicUsize,
    limit: usize,
    shed: AtomicU64,
}

impl AdmissionGate {
    /// Creates a gate that admits at most `limit` reads, and as many writes, at the same time.
    pub(crate) fn new(breaker: Breaker, limit: usize) -> Self {
        Self {
            is_open: AtomicBool::new(breaker.is_open()),
            has_bad_reply: AtomicBool::new(breaker.has_bad_reply()),
            breaker: Mutex::new(breaker),
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            limit,
            shed: AtomicU64::new(0),
        }
    }

    /// Returns whether the breaker is open.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Admits a read, unless the breaker is open or too many reads wait.
    pub(crate) fn admit_read(&self) -> Result<Permit<'_>, Rejected> {
        if self.is_open() {
            self.shed.fetch_add(1, Ordering::Relaxed);
            return Err(Rejected { has_opened: false });
        }
        Permit::take(&self.reads, self.limit).ok_or_else(|| {
            self.shed.fetch_add(1, Ordering::Relaxed);
            Rejected { has_opened: self.update(|breaker| breaker.record_overflow(Instant::now())) }
        })
    }

    /// Admits a write, unless too many writes wait.
    pub(crate) fn admit_write(&self) -> Result<Permit<'_>, TierError> {
        Permit::take(&self.writes, self.limit).ok_or(TierError::Unavailable)
    }

    /// Records the end of a read, and returns whether it opened the breaker.
    pub(crate) fn record_wait(&self, waited: &Waited) -> bool {
        // Usually all replies are good, and a further good one changes nothing. No lock is taken then.
        let is_good = waited.is_answered && !waited.is_slow();
        if is_good && !self.has_bad_reply.load(Ordering::Acquire) {
            return false;
        }
        self.update(|breaker| breaker.record_wait(waited))
    }

    /// Records the reply to a heartbeat, and returns whether it closed the breaker.
    ///
    /// The heartbeat was sent at `sent` and is answered now. `was_late` is set if the process itself was
    /// late.
    pub(crate) fn record_probe(&self, sent: Instant, was_late: bool) -> bool {
        self.is_open() && self.update(|breaker| breaker.record_probe(sent, Instant::now(), was_late))
    }

    /// Returns the time at which a heartbeat must test whether the breaker may close.
    pub(crate) fn probe_due(&self) -> Option<Instant> {
        if self.is_open() { self.breaker().probe_due() } else { None }
    }

    /// Returns the number of times that the breaker has opened.
    pub(crate) fn open_count(&self) -> u64 {
        self.breaker().open_count()
    }

    /// Returns the number of rejected reads.
    pub(crate) fn shed_count(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    fn update(&self, change: impl FnOnce(&mut Breaker) -> bool) -> bool {
        let mut breaker = self.breaker();
        let has_changed = change(&mut breaker);
        if has_changed {
            self.is_open.store(breaker.is_open(), Ordering::Release);
        }
        self.has_bad_reply.store(breaker.has_bad_reply(), Ordering::Release);
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
    pub(crate) has_opened: bool,
}

/// An admission permit, released on drop.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    in_use: &'a AtomicUsize,
    /// Number of permits in use when this one was acquired.
    pub(crate) others: usize,
}

impl<'a> Permit<'a> {
    fn take(in_use: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let permit = Self { in_use, others: in_use.fetch_add(1, Ordering::AcqRel) };
        // A permit beyond the limit is dropped, and thus released, at once.
        (permit.others < limit).then_some(permit)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_permit_can_be_taken_again() {
        let in_use = AtomicUsize::new(0);
        let (one, two) = (Permit::take(&in_use, 2), Permit::take(&in_use, 2));
        assert!(one.is_some() && two.is_some());
        assert!(Permit::take(&in_use, 2).is_none());
        drop(one);
        assert!(Permit::take(&in_use, 2).is_some());
        drop(two);
        assert_eq!(in_use.into_inner(), 0);
    }
}
