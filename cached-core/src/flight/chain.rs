//! Which loads the current code is inside of: a load that waits for itself would wait for ever.
//!
//! The chain follows a load into the tasks that this crate spawns for nested loads, but not into tasks that the
//! load spawns by itself.

use std::{cell::RefCell, iter, sync::Arc};

use super::Flight;
use crate::sync::thread_local;

/// A load, and the load that it was called from.
pub(super) struct Link {
    flight: Arc<Flight>,
    outer: Option<Arc<Link>>,
}

impl Link {
    /// Whether its load is inside of another one.
    pub(super) fn is_nested(&self) -> bool {
        self.outer.is_some()
    }
}

thread_local!(static INNERMOST: RefCell<Option<Arc<Link>>> = const { RefCell::new(None) });

/// The chain of the current code with one more load.
pub(super) fn extend(flight: &Arc<Flight>) -> Arc<Link> {
    Arc::new(Link { flight: flight.clone(), outer: INNERMOST.with_borrow(Option::clone) })
}

/// Runs `f` as code inside of `link`'s load.
pub(super) fn enter<T>(link: &Arc<Link>, f: impl FnOnce() -> T) -> T {
    let _restore = Restore(INNERMOST.replace(Some(link.clone())));
    f()
}

/// The flights whose loads the current code is inside of.
pub(super) fn flights() -> Vec<Arc<Flight>> {
    INNERMOST.with_borrow(|innermost| {
        let links = iter::successors(innermost.as_deref(), |link| link.outer.as_deref());
        links.map(|link| link.flight.clone()).collect()
    })
}

/// Whether the current code is inside of a load.
pub(crate) fn is_inside() -> bool {
    INNERMOST.with_borrow(Option::is_some)
}

/// Which loads some code is inside of.
pub(crate) struct Inside(Option<Arc<Link>>);

impl Inside {
    /// Those of the current code.
    pub(crate) fn here() -> Self {
        Self(INNERMOST.with_borrow(Option::clone))
    }

    /// Runs `f` as code inside of them.
    pub(crate) fn run<T>(self, f: impl FnOnce() -> T) -> T {
        let _restore = Restore(INNERMOST.replace(self.0));
        f()
    }
}

struct Restore(Option<Arc<Link>>);

impl Drop for Restore {
    fn drop(&mut self) {
        INNERMOST.set(self.0.take());
    }
}
