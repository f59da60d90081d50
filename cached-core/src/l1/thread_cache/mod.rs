//! The thread cache: the entries that a thread used last, in a table that no other thread touches.
//!
//! A hit here takes no lock, changes no reference counter, and writes to nothing that another thread reads.
//! The only exception is the [use count](crate::l1::eviction::Uses) of the entry, up to its maximum.
//!
//! The thread cache is no copy of the tier, only a shorter path to entries that are in it. An entry itself
//! records whether it may be served, and whether it has left the tier (is retired). A retired entry is not
//! used, so its way is the first to be reused. A [purge](let_go) makes all threads drop retired entries.
//!
//! A purge request increments a counter, which each thread compares with its own. The thread then sweeps a
//! few sets per call of [`come_by`], which follows each lookup that misses. So that such calls come even if
//! all lookups would hit, one in `FOLLOWS` lookups misses on purpose while a purge is incomplete.
//!
//! The table is set-associative, with seven ways per set. A full set loses an entry that was not used since
//! others came. The table grows with the entries that its thread uses, up to [`table::MOST_SETS`] sets. Its
//! bytes grow up to its [share](crate::l1::entry::MemoryBudget::share) of the tier, or further while all
//! thread caches together hold at most half of the tier.
//!
//! The table is in `table`, and one set in `set`.

mod set;
mod table;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use self::table::Table;
use crate::{
    key::{self, LARGEST_BUFFER, WriteKey},
    l1::entry::Entry,
    spec::FunctionSpec,
    sync::thread_local,
};

/// Interval of the lookups that work on an incomplete purge. They miss on purpose; the others need not wait.
const FOLLOWS: u64 = 4;

/// Number of purge requests to all threads.
static CALLS: AtomicUsize = AtomicUsize::new(0);

thread_local!(static HAND: RefCell<ThreadCache> = const { RefCell::new(ThreadCache::new()) });

/// The cache of one thread.
struct ThreadCache {
    /// Buffer for parts of the key that is looked up.
    buffer: Vec<u8>,
    /// Number of lookups.
    looks: u64,
    front: Table,
}

/// Looks up the key of these parts in the cache of this thread.
///
/// Returns the result of `take` for an entry under that key. The second argument of `take` is the number of
/// this lookup on its thread.
#[allow(clippy::inline_always, reason = "what is known of the site then needs no look at it")]
#[inline(always)]
pub(crate) fn find<T>(
    site: &FunctionSpec,
    parts: &(impl WriteKey + ?Sized),
    take: impl Fn(&Arc<Entry>, u64) -> Option<T>,
) -> Option<T> {
    let found = HAND.try_with(|hand| {
        // This fails inside of a look-up: encoding an argument, or cloning or dropping a value, may call a
        // cached function.
        let hand = &mut *hand.try_borrow_mut().ok()?;
        hand.looks = hand.looks.wrapping_add(1);
        if hand.front.calls != CALLS.load(Ordering::Relaxed) && hand.looks.is_multiple_of(FOLLOWS) {
            return None;
        }
        if hand.buffer.capacity() > LARGEST_BUFFER {
            hand.buffer = Vec::new();
        }
        let hash = key::hash(&mut hand.buffer, site, parts).ok()?;
        hand.front.find(hash, |kept| {
            let is_it = kept.key().is_of(hash, &mut hand.buffer, site, parts);
            if is_it { take(kept, hand.looks) } else { None }
        })
    });
    found.ok().flatten()
}

/// Adds an entry to the cache of this thread, if that has a place for it.
pub(crate) fn keep(kept: &Arc<Entry>) {
    // Entries that leave are dropped outside of the borrow: the drop of a value is user code.
    let _gone = HAND.try_with(|hand| Some(hand.try_borrow_mut().ok()?.front.keep(kept)));
}

/// Drops retired entries from a few sets of this thread, if a purge was requested.
///
/// Returns the number of the last lookup on this thread.
pub(crate) fn come_by() -> u64 {
    let come = HAND.try_with(|hand| {
        let hand = &mut *hand.try_borrow_mut().ok()?;
        Some((hand.looks, hand.front.follow_calls()))
    });
    // Entries that leave are dropped here, outside of the borrow: the drop of a value is user code.
    come.ok().flatten().map_or(0, |(looks, _gone)| looks)
}

/// Requests that all threads drop retired entries, each in its next calls of [`come_by`].
pub(crate) fn let_go() {
    // `Release`: a thread that follows the request sees all entries that were retired before it.
    CALLS.fetch_add(1, Ordering::Release);
}

impl Drop for ThreadCache {
    /// Drops the entries one by one and catches panics.
    ///
    /// A panic in the drop of a value must not abort the process when the thread ends.
    fn drop(&mut self) {
        for kept in self.front.drain() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(kept)));
        }
    }
}

impl ThreadCache {
    const fn new() -> Self {
        Self { buffer: Vec::new(), looks: 0, front: Table::new() }
    }
}
