//! Values that leave while a lock is held: what a value does when it is dropped is the user's code, and may call the cache.
//!
//! Code that takes a lock under which an entry may go holds a [`Leaving`] that was made before. Entries hand over what they hold, and
//! the outermost `Leaving` of the thread lets go of it, after the lock. An entry may go anywhere in Moka, not only where it is
//! removed, so that it cannot be handed out by what removes it.

use std::{cell::RefCell, marker::PhantomData, mem, sync::Arc};

use crate::slot::Slot;

thread_local!(static STAY: RefCell<Stay> = const { RefCell::new(Stay { depth: 0, slots: Vec::new() }) });

struct Stay {
    /// How many there are of it in the thread.
    depth: usize,
    slots: Vec<Arc<dyn Slot>>,
}

/// While it is there, no value of this thread's entries is dropped. It belongs to its thread.
#[must_use = "what leaves stays until this is dropped"]
pub(crate) struct Leaving(PhantomData<*const ()>);

impl Leaving {
    pub(crate) fn begin() -> Self {
        // A thread that ends lets go of things at once.
        let _ = STAY.try_with(|stay| stay.borrow_mut().depth += 1);
        Self(PhantomData)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let slots = STAY.try_with(|stay| {
            let mut stay = stay.borrow_mut();
            stay.depth -= 1;
            if stay.depth == 0 { mem::take(&mut stay.slots) } else { Vec::new() }
        });
        // Not under the borrow.
        drop(slots);
    }
}

/// An entry is about to let go of this, which stays for as long as it must.
pub(crate) fn leave(slot: &Arc<dyn Slot>) {
    let _ = STAY.try_with(|stay| {
        let mut stay = stay.borrow_mut();
        if stay.depth > 0 {
            stay.slots.push(slot.clone());
        }
    });
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::slot::Meta;

    thread_local!(static GONE: Cell<u32> = const { Cell::new(0) });

    struct Last(Meta);

    impl Slot for Last {
        fn meta(&self) -> &Meta {
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
        let slot: Arc<dyn Slot> =
            Arc::new(Last(Meta::new(0, std::time::Duration::ZERO, std::time::Duration::ZERO, 0)));
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
}
