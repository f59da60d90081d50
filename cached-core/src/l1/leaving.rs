//! Values that leave while a lock is held: what a value does when it is dropped is the user's code, and may call the cache.
//!
//! Code that takes a lock under which an entry may go holds a [`Leaving`] that was made before. Entries hand over what they hold, and
//! the outermost `Leaving` of the thread lets go of it, after the lock. An entry may go anywhere in Moka, not only where it is
//! removed, so that it cannot be handed out by what removes it: see [`Map`](crate::l1::map::Map).

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    mem,
    sync::Arc,
};

use crate::value::erased::ErasedValue;

thread_local! {
    /// How many [`Leaving`] there are in the thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Whether something is to be let go of: a call in which nothing left looks at no more than this.
    static IS_DUE: Cell<bool> = const { Cell::new(false) };
    /// Whether a call further out lets go of it.
    static IS_GOING: Cell<bool> = const { Cell::new(false) };
    static LEFT: RefCell<Vec<Arc<dyn ErasedValue>>> = const { RefCell::new(Vec::new()) };
}

/// While it is there, no value of this thread's entries is dropped. It belongs to its thread.
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

/// One after the other: what leaves while a value is dropped is let go of after that, and not inside of it, where a chain of values
/// would need the stack of a call for each.
#[cold]
fn let_go() {
    if IS_GOING.replace(true) {
        return;
    }
    // Also when a value panics as it is dropped: then the rest goes with the next call.
    let _going = Going;
    loop {
        IS_DUE.set(false);
        let slots = LEFT.try_with(|left| mem::take(&mut *left.borrow_mut())).unwrap_or_default();
        if slots.is_empty() {
            return;
        }
        // Not under the borrow.
        drop(slots);
    }
}

struct Going;

impl Drop for Going {
    fn drop(&mut self) {
        IS_GOING.set(false);
    }
}

/// An entry is about to let go of this, which stays for as long as it must.
pub(crate) fn leave(slot: &Arc<dyn ErasedValue>) {
    if DEPTH.get() == 0 {
        return;
    }
    // A thread that ends lets go of things at once.
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
            // As the user's code may.
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

    /// Lets the next one go when it is dropped.
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
