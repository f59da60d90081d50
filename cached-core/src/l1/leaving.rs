//! Deferred drops: no value is dropped while a lock is held.
//!
//! The `Drop` of a value is user code, and may call the cache. Code that takes a lock under which an entry
//! may be dropped creates a [`Leaving`] first. A dropped entry then hands over its value, and the outermost
//! `Leaving` of the thread drops the value after the lock is released.
//!
//! The operation that removes an entry cannot return it to its caller instead: Moka drops entries in any of
//! its calls, not only in those that remove them. See [`Map`](crate::l1::map::Map).

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    mem,
    sync::Arc,
};

use crate::value::erased::ErasedValue;

thread_local! {
    /// Number of [`Leaving`] guards of the thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Set when `LEFT` has values. A call in which no entry was dropped checks only this.
    static IS_DUE: Cell<bool> = const { Cell::new(false) };
    /// Set while a call further out on the stack drops the values.
    static IS_GOING: Cell<bool> = const { Cell::new(false) };
    /// Values to drop once the outermost guard is gone.
    static LEFT: RefCell<Vec<Arc<dyn ErasedValue>>> = const { RefCell::new(Vec::new()) };
}

/// Guard that defers the drops of values on its thread.
///
/// While it exists, the values of entries that this thread drops stay alive. It is not `Send`.
#[must_use = "what leaves stays until this is dropped"]
pub(crate) struct Leaving(PhantomData<*const ()>);

impl Leaving {
    #[inline]
    pub(crate) fn begin() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for Leaving {
    #[inline]
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 && IS_DUE.get() {
            let_go();
        }
    }
}

/// Drops the values one after the other.
///
/// A value that is handed over during the drop of another one is dropped after that, and not inside of it. A
/// chain of values would otherwise need the stack of a call for each.
#[cold]
fn let_go() {
    if IS_GOING.replace(true) {
        return;
    }
    // Reset also if the drop of a value panics: the next call then drops the remaining values.
    let _going = DroppingGuard;
    loop {
        IS_DUE.set(false);
        let slots = LEFT.try_with(|left| mem::take(&mut *left.borrow_mut())).unwrap_or_default();
        if slots.is_empty() {
            return;
        }
        // Outside of the borrow, as a drop may hand over more values.
        drop(slots);
    }
}

struct DroppingGuard;

impl Drop for DroppingGuard {
    fn drop(&mut self) {
        IS_GOING.set(false);
    }
}

/// Takes over the value of an entry that is being dropped, while the thread has a [`Leaving`].
pub(crate) fn leave(slot: &Arc<dyn ErasedValue>) {
    if DEPTH.get() == 0 {
        return;
    }
    // On a thread that is ending, the list may be gone, and the value is dropped at once.
    let _ = LEFT.try_with(|left| left.borrow_mut().push(slot.clone()));
    IS_DUE.set(true);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::value::erased::Freshness;

    thread_local!(static GONE: Cell<u32> = const { Cell::new(0) });

    struct Last(Freshness);

    impl ErasedValue for Last {
        fn meta(&self) -> &Freshness {
            &self.0
        }
    }

    impl Drop for Last {
        fn drop(&mut self) {
            // User code may do the same.
            drop(Leaving::begin());
            GONE.set(GONE.get() + 1);
        }
    }

    fn go() {
        let slot: Arc<dyn ErasedValue> =
            Arc::new(Last(Freshness::new(0, std::time::Duration::ZERO, std::time::Duration::ZERO, 0)));
        leave(&slot);
    }

    #[test]
    fn a_value_goes_after_the_outermost_lock_or_at_once() {
        go();
        assert_eq!(GONE.get(), 1);
        let outer = Leaving::begin();
        let inner = Leaving::begin();
        go();
        drop(inner);
        go();
        assert_eq!(GONE.get(), 1);
        drop(outer);
        assert_eq!(GONE.get(), 3);
    }

    /// Value that hands over the next one of a chain when it is dropped.
    struct Chained(Freshness, u32);

    impl ErasedValue for Chained {
        fn meta(&self) -> &Freshness {
            &self.0
        }
    }

    impl Drop for Chained {
        fn drop(&mut self) {
            if self.1 > 0 {
                let _leaving = Leaving::begin();
                leave(&chained(self.1 - 1));
            }
            GONE.set(GONE.get() + 1);
        }
    }

    fn chained(left: u32) -> Arc<dyn ErasedValue> {
        Arc::new(Chained(Freshness::new(0, std::time::Duration::ZERO, std::time::Duration::ZERO, 0), left))
    }

    #[test]
    fn a_chain_of_values_needs_no_deeper_stack() {
        const VALUES: u32 = 100_000;

        let leaving = Leaving::begin();
        leave(&chained(VALUES - 1));
        drop(leaving);
        assert_eq!(GONE.replace(0), VALUES);
    }
}
