//! Deferred drops: no value is dropped while a lock is held.
//!
//! The `Drop` of a value is user code, and may call the cache. Code that takes a lock under which an entry
//! may be dropped creates a [`DeferredDrops`] first. A dropped entry then hands over its value, and the
//! outermost `DeferredDrops` of the thread drops the value after the lock is released.
//!
//! The operation that removes an entry cannot return it to its caller instead: Moka drops entries in any of
//! its calls, not only in those that remove them. See `regions::map`.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    mem,
    sync::Arc,
};

use crate::value::erased::ErasedValue;

/// Number of values up to which a thread keeps the memory of its list.
const KEPT_CAPACITY: usize = 64;

thread_local! {
    /// Number of [`DeferredDrops`] guards of the thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Set when `DEFERRED` has values. A call in which no entry was dropped checks only this.
    static HAS_DEFERRED: Cell<bool> = const { Cell::new(false) };
    /// Set while a call further out on the stack drops the values.
    static IS_DROPPING: Cell<bool> = const { Cell::new(false) };
    /// Values to drop once the outermost guard is gone.
    static DEFERRED: RefCell<Vec<Arc<dyn ErasedValue>>> = const { RefCell::new(Vec::new()) };
}

/// Guard that defers the drops of values on its thread.
///
/// While it exists, the values of entries that this thread drops stay alive. It is not `Send`.
#[must_use = "values are kept until this is dropped"]
pub(crate) struct DeferredDrops(PhantomData<*const ()>);

impl DeferredDrops {
    #[inline]
    pub(crate) fn begin() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for DeferredDrops {
    #[inline]
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 && HAS_DEFERRED.get() {
            drop_deferred();
        }
    }
}

/// Drops the values one after the other.
///
/// A value that is handed over during the drop of another one is dropped after that, and not inside of it. A
/// chain of values would otherwise need the stack of a call for each.
#[cold]
fn drop_deferred() {
    if IS_DROPPING.replace(true) {
        return;
    }
    // Reset also if the drop of a value panics: the next call then drops the remaining values.
    let _dropping = DroppingGuard;
    loop {
        HAS_DEFERRED.set(false);
        let mut values =
            DEFERRED.try_with(|deferred| mem::take(&mut *deferred.borrow_mut())).unwrap_or_default();
        if values.is_empty() {
            return;
        }
        // Outside of the borrow, as a drop may hand over more values.
        values.clear();
        if HAS_DEFERRED.get() {
            continue;
        }
        // Most calls drop one value, and the next one need not allocate the list again.
        if values.capacity() <= KEPT_CAPACITY {
            let _ = DEFERRED.try_with(|deferred| deferred.replace(values));
        }
        return;
    }
}

struct DroppingGuard;

impl Drop for DroppingGuard {
    fn drop(&mut self) {
        IS_DROPPING.set(false);
    }
}

/// Takes over the value of an entry that is being dropped, while the thread has a [`DeferredDrops`].
pub(crate) fn defer_drop(erased: &Arc<dyn ErasedValue>) {
    if DEPTH.get() == 0 {
        return;
    }
    // On a thread that is ending, the list may be gone, and the value is dropped at once.
    let _ = DEFERRED.try_with(|deferred| deferred.borrow_mut().push(erased.clone()));
    HAS_DEFERRED.set(true);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::value::erased::Freshness;

    thread_local!(static DROPPED: Cell<u32> = const { Cell::new(0) });

    struct CountedDrop(Freshness);

    impl ErasedValue for CountedDrop {
        fn freshness(&self) -> &Freshness {
            &self.0
        }
    }

    impl Drop for CountedDrop {
        fn drop(&mut self) {
            // User code may do the same.
            drop(DeferredDrops::begin());
            DROPPED.set(DROPPED.get() + 1);
        }
    }

    fn defer_one() {
        let erased: Arc<dyn ErasedValue> =
            Arc::new(CountedDrop(Freshness::new(0, std::time::Duration::ZERO, std::time::Duration::ZERO, 0)));
        defer_drop(&erased);
    }

    #[test]
    fn value_is_dropped_after_the_outermost_guard_or_at_once_without_one() {
        defer_one();
        assert_eq!(DROPPED.get(), 1);
        let outer = DeferredDrops::begin();
        let inner = DeferredDrops::begin();
        defer_one();
        drop(inner);
        defer_one();
        assert_eq!(DROPPED.get(), 1);
        drop(outer);
        assert_eq!(DROPPED.get(), 3);
    }

    /// Value that hands over the next one of a chain when it is dropped.
    struct Chained(Freshness, u32);

    impl ErasedValue for Chained {
        fn freshness(&self) -> &Freshness {
            &self.0
        }
    }

    impl Drop for Chained {
        fn drop(&mut self) {
            if self.1 > 0 {
                let _deferred = DeferredDrops::begin();
                defer_drop(&chained(self.1 - 1));
            }
            DROPPED.set(DROPPED.get() + 1);
        }
    }

    fn chained(remaining: u32) -> Arc<dyn ErasedValue> {
        Arc::new(Chained(
            Freshness::new(0, std::time::Duration::ZERO, std::time::Duration::ZERO, 0),
            remaining,
        ))
    }

    #[test]
    fn chain_of_dropped_values_does_not_deepen_the_stack() {
        const VALUES: u32 = 100_000;

        let guard = DeferredDrops::begin();
        defer_drop(&chained(VALUES - 1));
        drop(guard);
        assert_eq!(DROPPED.replace(0), VALUES);
    }
}
