//! The wait-for graph of loads: a cycle of waiting loads would never end.
//!
//! When code inside loads follows a flight, each of these loads gets an edge to that flight. The graph never
//! has a cycle, because the wait that would close one is refused.

use std::sync::Arc;

use crate::{
    flight::{lock, state::Flight},
    sync::{Mutex, lazy},
};

// The check and the insertion are one step, over all flights. Only loads that follow other loads lock this.
lazy!(static GRAPH: Mutex<()> = Mutex::default());

impl Flight {
    /// Records that the loads `enclosing` wait for this flight.
    ///
    /// Returns `false`, and records nothing, if this flight waits for one of them.
    pub(super) fn begin_wait(self: &Arc<Self>, enclosing: &[Arc<Self>]) -> bool {
        if enclosing.is_empty() {
            return true;
        }
        let _graph = lock(&GRAPH);
        if self.waits_for_any(enclosing) {
            return false;
        }
        for outer in enclosing {
            lock(&outer.waits_for).push(self.clone());
        }
        true
    }

    /// Removes the record that the loads `enclosing` wait for this flight.
    pub(super) fn end_wait(self: &Arc<Self>, enclosing: &[Arc<Self>]) {
        for outer in enclosing {
            let mut waits_for = lock(&outer.waits_for);
            if let Some(at) = waits_for.iter().position(|flight| Arc::ptr_eq(flight, self)) {
                waits_for.swap_remove(at);
            }
        }
    }

    /// Returns whether this flight is one of `targets`, or waits for one, directly or through others.
    fn waits_for_any(self: &Arc<Self>, targets: &[Arc<Self>]) -> bool {
        let mut seen = vec![self.clone()];
        let mut next = 0;
        while let Some(flight) = seen.get(next).cloned() {
            if targets.iter().any(|target| Arc::ptr_eq(target, &flight)) {
                return true;
            }
            for further in lock(&flight.waits_for).iter() {
                if !seen.iter().any(|known| Arc::ptr_eq(known, further)) {
                    seen.push(further.clone());
                }
            }
            next += 1;
        }
        false
    }
}
