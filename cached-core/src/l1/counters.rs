//! Counters of a process that has no shared tier.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::base::{
    clock::{Nanos, nanos},
    glob,
};

/// Table of counters, for a process that has no shared tier.
#[derive(Debug, Default)]
pub(crate) struct LocalCounters(Mutex<CounterTable>);

#[derive(Debug, Default)]
struct CounterTable {
    /// Sum and deadline of each counter, by name.
    counters: HashMap<String, (i64, Option<Nanos>)>,
    /// Number of counters at which expired ones are removed.
    sweep_at: usize,
}

impl LocalCounters {
    /// Adds `by` and returns the sum; `None` if that overflows, and then nothing is added.
    ///
    /// A counter that is new or expired starts at zero and expires after `ttl`.
    pub(crate) fn add(&self, name: String, by: i64, ttl: Option<Duration>, now: Nanos) -> Option<i64> {
        const SMALLEST_SWEEP: usize = 1024;

        let mut table = self.table();
        if table.counters.len() >= table.sweep_at {
            table.counters.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| now < deadline));
            table.sweep_at = (2 * table.counters.len()).max(SMALLEST_SWEEP);
        }
        let fresh = (0, ttl.map(|ttl| now.saturating_add(nanos(ttl))));
        let counter = table.counters.entry(name).or_insert(fresh);
        if counter.1.is_some_and(|deadline| deadline <= now) {
            *counter = fresh;
        }
        counter.0 = counter.0.checked_add(by)?;
        Some(counter.0)
    }

    pub(crate) fn remove(&self, name: &str) {
        self.table().counters.remove(name);
    }

    pub(crate) fn remove_matching(&self, pattern: &str) {
        self.table().counters.retain(|name, _| !glob::matches(pattern, name));
    }

    fn table(&self) -> MutexGuard<'_, CounterTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
