//! The chain of loads that enclose the current code: a load that waited for itself would never end.
//!
//! The chain follows a load into the tasks that this crate spawns for nested loads, but not into tasks that
//! the load itself spawns.

use std::{cell::RefCell, iter, sync::Arc};

use crate::{
    flight::state::{Flight, Lead},
    sync::thread_local,
};

thread_local!(static INNERMOST: RefCell<Option<Lead>> = const { RefCell::new(None) });

/// Returns the lead of the innermost load that encloses the current code.
pub(super) fn innermost() -> Option<Lead> {
    INNERMOST.with_borrow(Option::clone)
}

/// Runs `f` as code inside the load of `lead`, which is not there meanwhile.
pub(super) fn enter<T>(lead: &mut Option<Lead>, f: impl FnOnce() -> T) -> T {
    let entered = lead.take();
    let _restore = Restore { outer: INNERMOST.replace(entered), lead };
    f()
}

/// Returns whether a load that encloses the current code is of a flight for which `is_match` is true.
pub(super) fn is_inside(is_match: impl Fn(&Arc<Flight>) -> bool) -> bool {
    INNERMOST.with_borrow(|innermost| {
        iter::successors(innermost.as_ref(), |lead| lead.outer()).any(|lead| is_match(lead.flight()))
    })
}

/// Returns the flights of all loads that enclose the current code.
pub(super) fn flights() -> Vec<Arc<Flight>> {
    INNERMOST.with_borrow(|innermost| {
        let leads = iter::successors(innermost.as_ref(), |lead| lead.outer());
        leads.map(|lead| lead.flight().clone()).collect()
    })
}

/// Returns whether the current code is inside a load.
pub(crate) fn is_inside_load() -> bool {
    INNERMOST.with_borrow(Option::is_some)
}

/// Restores the previous chain, and gives the lead back, when it is dropped.
struct Restore<'a> {
    outer: Option<Lead>,
    lead: &'a mut Option<Lead>,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        *self.lead = INNERMOST.replace(self.outer.take());
    }
}
