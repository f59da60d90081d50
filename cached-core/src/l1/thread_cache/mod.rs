//! The thread cache: the entries that a thread used last, in a table that no other thread touches.
//!
//! A hit here takes no lock, changes no reference counter, and writes to nothing that another thread reads.
//! The only exception is the [use count](crate::l1::eviction::Uses) of the entry, up to its maximum.
//!
//! The thread cache is no copy of the tier, only a shorter path to entries that are in it. An entry itself
//! records whether it may be served, and whether it has left the tier (is retired). A retired entry is not
//! used, so its way is the first to be reused. A [purge](request_purge) makes all threads drop retired entries.
//!
//! A purge request increments a counter, which each thread compares with its own. The thread then sweeps a
//! few sets per call of [`maintain`], which follows each lookup that misses. So that such calls come even if
//! all lookups would hit, one in `PURGE_INTERVAL` lookups misses on purpose while a purge is
//! incomplete.
//!
//! The table is set-associative, with seven ways per set. A full set loses an entry that was not used since
//! others came. The table grows with the entries that its thread uses, up to [`table::MAX_SETS`] sets. Its
//! bytes grow up to its [share](crate::l1::memory::MemoryBudget::thread_share) of the tier, or further while all
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
const PURGE_INTERVAL: u64 = 4;

/// Number of purge requests to all threads.
static PURGE_REQUESTS: AtomicUsize = AtomicUsize::new(0);

thread_local!(static THREAD_CACHE: RefCell<ThreadCache> = const { RefCell::new(ThreadCache::new()) });

/// The cache of one thread.
struct ThreadCache {
    /// Buffer for parts of the key that is looked up.
    buffer: Vec<u8>,
    /// Number of lookups.
    lookups: u64,
    table: Table,
}

/// Looks up the key of these parts in the cache of this thread.
///
/// Returns the result of `take` for an entry under that key. The second argument of `take` is the number of
/// this lookup on its thread.
#[allow(clippy::inline_always, reason = "the compiler then folds the constant fields of the `FunctionSpec`")]
#[inline(always)]
pub(crate) fn find<T>(
    spec: &FunctionSpec,
    parts: &(impl WriteKey + ?Sized),
    take: impl Fn(&Arc<Entry>, u64) -> Option<T>,
) -> Option<T> {
    let found = THREAD_CACHE.try_with(|cache| {
        // This fails inside of a look-up: encoding an argument, or cloning or dropping a value, may call a
        // cached function.
        let cache = &mut *cache.try_borrow_mut().ok()?;
        cache.lookups = cache.lookups.wrapping_add(1);
        if cache.table.completed_purge != PURGE_REQUESTS.load(Ordering::Relaxed)
            && cache.lookups.is_multiple_of(PURGE_INTERVAL)
        {
            return None;
        }
        if cache.buffer.capacity() > LARGEST_BUFFER {
            cache.buffer = Vec::new();
        }
        let hash = key::hash(&mut cache.buffer, spec, parts).ok()?;
        cache.table.find(hash, |entry| {
            let is_match = entry.key().is_key_of(hash, &mut cache.buffer, spec, parts);
            if is_match { take(entry, cache.lookups) } else { None }
        })
    });
    found.ok().flatten()
}

/// Adds an entry to the cache of this thread, if that has a place for it.
pub(crate) fn insert(entry: &Arc<Entry>) {
    // Entries that leave are dropped outside of the borrow: the drop of a value is user code.
    let _removed = THREAD_CACHE.try_with(|cache| Some(cache.try_borrow_mut().ok()?.table.insert(entry)));
}

/// Drops retired entries from a few sets of this thread, if a purge was requested.
///
/// Returns the number of the last lookup on this thread.
pub(crate) fn maintain() -> u64 {
    let maintained = THREAD_CACHE.try_with(|cache| {
        let cache = &mut *cache.try_borrow_mut().ok()?;
        Some((cache.lookups, cache.table.purge_some()))
    });
    // Entries that leave are dropped here, outside of the borrow: the drop of a value is user code.
    maintained.ok().flatten().map_or(0, |(lookups, _removed)| lookups)
}

/// Drops all retired entries of this thread, if a purge was requested.
///
/// Looks at each set once, even if other threads go on to request purges. Does nothing inside of a look-up, such
/// as in the `Clone` of a value.
pub(crate) fn purge() {
    let steps = THREAD_CACHE.try_with(|cache| Some(cache.try_borrow().ok()?.table.steps_of_a_purge()));
    let purge_some = || {
        let purged = THREAD_CACHE.try_with(|cache| {
            let table = &mut cache.try_borrow_mut().ok()?.table;
            Some((table.purge_some(), table.completed_purge != PURGE_REQUESTS.load(Ordering::Relaxed)))
        });
        // Entries that leave are dropped here, outside of the borrow: the drop of a value is user code.
        purged.ok().flatten().is_some_and(|(_removed, has_more)| has_more)
    };
    let mut steps = steps.ok().flatten().unwrap_or(0);
    while steps > 0 && purge_some() {
        steps -= 1;
    }
}

/// Requests that all threads drop retired entries, each in its next calls of [`maintain`].
pub(crate) fn request_purge() {
    // `Release`: a thread that follows the request sees all entries that were retired before it.
    PURGE_REQUESTS.fetch_add(1, Ordering::Release);
}

impl Drop for ThreadCache {
    /// Drops the entries one by one and catches panics.
    ///
    /// A panic in the drop of a value must not abort the process when the thread ends.
    fn drop(&mut self) {
        for entry in self.table.drain() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(entry)));
        }
    }
}

impl ThreadCache {
    const fn new() -> Self {
        Self { buffer: Vec::new(), lookups: 0, table: Table::new() }
    }
}
