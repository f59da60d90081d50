//! Loads that wait for each other: a circle of them would wait for ever.
//!
//! When a load follows a flight, this is noted at every flight whose load it is inside of. The notes of all flights make a
//! graph without circles, because the wait that would close one is refused.

use std::sync::Arc;

use super::{Flight, lock};
use crate::sync::{Mutex, lazy};

// Asking and noting is one step, over all flights. Only loads that follow other loads come here.
lazy!(static GRAPH: Mutex<()> = Mutex::default());

impl Flight {
    /// Notes that the loads `within` wait for this flight, unless it waits for one of them.
    pub(super) fn begin_wait(self: &Arc<Self>, within: &[Arc<Self>]) -> bool {
        if within.is_empty() {
            return true;
        }
        let _graph = lock(&GRAPH);
        if self.waits_for_any(within) {
            return false;
        }
        for outer in within {
            lock(&outer.waits_for).push(self.clone());
        }
        true
    }

    pub(super) fn end_wait(self: &Arc<Self>, within: &[Arc<Self>]) {
        for outer in within {
            let mut waits_for = lock(&outer.waits_for);
            if let Some(at) = waits_for.iter().position(|flight| Arc::ptr_eq(flight, self)) {
                waits_for.swap_remove(at);
            }
        }
    }

    fn waits_for_any(self: &Arc<Self>, goals: &[Arc<Self>]) -> bool {
        let mut seen = vec![self.clone()];
        let mut next = 0;
        while let Some(flight) = seen.get(next).cloned() {
            if goals.iter().any(|goal| Arc::ptr_eq(goal, &flight)) {
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
