//! The chain of loads that enclose the current code: a load that waited for itself would never end.
//!
//! The chain follows a load into the tasks that this crate spawns for nested loads, but not into tasks that
//! the load itself spawns.

use std::{cell::RefCell, iter, sync::Arc};

use crate::{flight::state::Flight, sync::thread_local};

/// A load, with the load that it was called from.
pub(super) struct Link {
    flight: Arc<Flight>,
    outer: Option<Arc<Link>>,
}

impl Link {
    /// Returns whether the load runs inside another one.
    pub(super) fn is_nested(&self) -> bool {
        self.outer.is_some()
    }
}

thread_local!(static INNERMOST: RefCell<Option<Arc<Link>>> = const { RefCell::new(None) });

/// Returns the chain of the current code, extended by the load of `flight`.
pub(super) fn extend(flight: &Arc<Flight>) -> Arc<Link> {
    Arc::new(Link { flight: flight.clone(), outer: INNERMOST.with_borrow(Option::clone) })
}

/// Runs `f` as code inside the load of `link`.
pub(super) fn enter<T>(link: &Arc<Link>, f: impl FnOnce() -> T) -> T {
    let _restore = Restore(INNERMOST.replace(Some(link.clone())));
    f()
}

/// Returns the flights of all loads that enclose the current code.
pub(super) fn flights() -> Vec<Arc<Flight>> {
    INNERMOST.with_borrow(|innermost| {
        let links = iter::successors(innermost.as_deref(), |link| link.outer.as_deref());
        links.map(|link| link.flight.clone()).collect()
    })
}

/// Returns whether the current code is inside a load.
pub(crate) fn is_inside_load() -> bool {
    INNERMOST.with_borrow(Option::is_some)
}

/// Restores the previous chain when it is dropped.
struct Restore(Option<Arc<Link>>);

impl Drop for Restore {
    fn drop(&mut self) {
        INNERMOST.set(self.0.take());
    }
}
