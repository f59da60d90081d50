//! The removal of entries that are over, which frees their memory although no call asks for them.
//!
//! The calls of the cache do this, a little each. Once in a second, one of them checks whether entries are
//! over, and removes a bounded number of them: a hit fewer than a call that has to load anyway. While there are
//! more, each call that comes here goes on, with larger parts if calls are rare. A hit of the thread cache
//! compares one number with the time, and takes the longer path when a check is due. So there is no thread for
//! it, and no lock on the path of a hit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::{
    base::clock::Nanos,
    l1::{deferred_drops::DeferredDrops, store::L1, thread_cache},
};

/// Time between two checks.
const CHECK_INTERVAL: Nanos = 1_000_000_000;

/// Time by which a check may be early.
///
/// A hit that finds with an upper bound of the time that a check is due must be able to begin it. Otherwise all
/// hits would take the longer path until it is due. The bound is ahead by 40 ms, and by as much as the coarse
/// clock lagged behind when the process started.
const EARLINESS: Nanos = CHECK_INTERVAL / 4;

/// Number of entries that a hit looks at, if calls are frequent.
const STEPS_PER_HIT: usize = 8;

/// Number of entries that a miss or an insertion looks at, if calls are frequent.
const STEPS_PER_MISS: usize = 64;

/// Greatest number of entries that a call looks at.
const MOST_STEPS: usize = 512;

/// Time between the parts of a backlog from which a hit takes as many steps as a miss.
const RARE: Nanos = 200_000;

/// Time between the parts of a backlog from which each call takes [`MOST_STEPS`].
const VERY_RARE: Nanos = 5_000_000;

/// Value of `next_check` while a thread removes entries: no other one begins.
const AT_WORK: Nanos = Nanos::MAX;

/// State of the removal of entries that are over.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// Time from which a call checks for entries that are over.
    next_check: AtomicU64,
    /// Set if the last check has found more than it could remove. Then `next_check` is the time of that check.
    has_backlog: AtomicBool,
    /// Set if an entry was removed that may be in a thread cache.
    is_purge_due: AtomicBool,
}

/// The right to check, which one thread has at a time.
struct Check<'a> {
    expiry: &'a Expiry,
    /// Time since the check was due.
    waited: Nanos,
    /// Time of the next check.
    next: Nanos,
}

impl Expiry {
    #[inline]
    fn is_due(&self, now: Nanos) -> bool {
        now >= self.next_check.load(Ordering::Relaxed)
    }

    /// Takes the right to check, if a check is due, or is so soon, and no other thread is at work.
    fn begin(&self, now: Nanos) -> Option<Check<'_>> {
        let due = self.next_check.load(Ordering::Relaxed);
        let is_due = due != AT_WORK && now.saturating_add(EARLINESS) >= due;
        let claim = || self.next_check.compare_exchange(due, AT_WORK, Ordering::Acquire, Ordering::Relaxed);
        (is_due && claim().is_ok()).then(|| Check {
            expiry: self,
            waited: now.saturating_sub(due),
            next: now.saturating_add(CHECK_INTERVAL),
        })
    }
}

impl Check<'_> {
    /// Returns the number of entries to look at: more, if a backlog has to wait for calls.
    fn steps(&self, steps: usize) -> usize {
        if !self.expiry.has_backlog.load(Ordering::Relaxed) {
            return steps;
        }
        match self.waited {
            ..RARE => steps,
            RARE..VERY_RARE => steps.max(STEPS_PER_MISS),
            VERY_RARE.. => MOST_STEPS,
        }
    }

    /// Records whether there are more entries to remove. Then the next call goes on.
    fn end(&mut self, now: Nanos, has_more: bool) {
        self.expiry.has_backlog.store(has_more, Ordering::Relaxed);
        if has_more {
            self.next = now;
        }
    }
}

impl Drop for Check<'_> {
    fn drop(&mut self) {
        self.expiry.next_check.store(self.next, Ordering::Release);
    }
}

impl L1 {
    /// Returns whether a call should come to [`get`](Self::get), to remove entries that are over.
    #[inline]
    pub(crate) fn is_expiry_due(&self, now: Nanos) -> bool {
        self.expiry.is_due(now)
    }

    /// Removes a few of the entries that are over, if a hit has come here for that.
    #[inline]
    pub(super) fn expire_at_hit(&self, now: Nanos) {
        // A hit may have come because of an upper bound of the time, which is ahead.
        if self.expiry.is_due(now.saturating_add(EARLINESS)) {
            self.check_expiry(now, STEPS_PER_HIT);
        }
    }

    /// Removes some of the entries that are over, if a check is due.
    #[inline]
    pub(super) fn expire_at_miss(&self, now: Nanos) {
        if self.expiry.is_due(now) {
            self.check_expiry(now, STEPS_PER_MISS);
        }
    }

    #[cold]
    fn check_expiry(&self, now: Nanos, steps: usize) {
        // The values are dropped when another thread may go on.
        let _deferred = DeferredDrops::begin();
        let Some(mut check) = self.expiry.begin(now) else { return };
        self.regions.release_removed();
        let has_more = self.remove_some_expired(now, check.steps(steps));
        check.end(now, has_more);
        if !has_more {
            self.request_due_purge();
        }
    }

    /// Removes all entries that are over at `now`, and those of the thread cache of this thread.
    pub(crate) fn remove_expired(&self, now: Nanos) {
        while {
            // The values of each part are dropped at its end.
            let _deferred = DeferredDrops::begin();
            self.remove_some_expired(now, STEPS_PER_MISS)
        } {}
        self.request_due_purge();
        thread_cache::purge();
        self.regions.release_removed();
    }

    /// Asks threads to purge if a thread cache may hold an entry that was removed.
    fn request_due_purge(&self) {
        if self.expiry.is_purge_due.swap(false, Ordering::Relaxed) {
            self.purge.request();
        }
    }

    /// Removes some of the entries that are over. Returns whether there may be more.
    fn remove_some_expired(&self, now: Nanos, steps: usize) -> bool {
        let (expired, has_more) = self.list.take_expired(now, steps);
        for entry in expired {
            self.remove_entry(&entry);
            // Moka may hold the entry as well, so the count alone does not show it.
            if entry.may_be_in_thread_cache() && Arc::strong_count(&entry) > 1 {
                self.expiry.is_purge_due.store(true, Ordering::Relaxed);
            }
        }
        has_more
    }
}
