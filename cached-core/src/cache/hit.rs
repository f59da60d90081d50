//! The fast path of a plain call: the thread cache first, and then L1.
//!
//! No lock is taken in the thread cache, and nothing is allocated. The path is inlined into generated code, so
//! the parts that most hits do not need are kept out of line. `lookup` judges an entry that is not found here.

use std::sync::Arc;

use crate::{
    base::clock::Nanos,
    cache::{Cache, lookup::L1Lookup},
    key::{WriteKey, with_identity},
    l1::{entry::Entry, thread_cache},
    spec::FunctionSpec,
    telemetry::stats::{self, Count},
};

/// Outcome of a call without a fast hit: true if L1 has no entry under the key.
#[derive(Clone, Copy)]
pub(crate) struct Absent(pub(crate) bool);

impl Cache {
    /// Applies `take` to the entry that answers a plain call, on the fast path for the common case.
    ///
    /// The thread cache is tried first: without a lock, and with an upper bound of the current time. If it
    /// has no entry, or one that may be due or not valid, [`lookup`](Self::lookup) judges the entry in L1. So it
    /// does about once in a second for any entry, to remove those that are over. Only a fresh entry is a hit here;
    /// all other cases are left to the caller.
    #[allow(
        clippy::inline_always,
        reason = "the compiler then folds the constant fields of the `FunctionSpec`"
    )]
    #[inline(always)]
    pub(crate) fn hit<T>(
        &self,
        spec: &FunctionSpec,
        parts: &impl WriteKey,
        take: impl Fn(&Arc<Entry>) -> Option<T>,
    ) -> Result<T, Absent> {
        let cached = thread_cache::find(spec, parts, |entry, lookup_number| {
            let started = stats::is_sample(lookup_number).then(|| self.clock().now_exactly());
            let now = self.0.clock.now_upper_bound();
            let may_serve = entry.is_in(self.0.l1.memory())
                && entry.is_before_due(now)
                && !self.0.l1.is_expiry_due(now)
                && entry
                    .validity()
                    .is_valid_at(now, self.staleness().effective_bound(spec, entry.validity()));
            if !may_serve {
                return None;
            }
            let result = take(entry)?;
            entry.touch(spec.own_max_entries().is_some());
            self.count_hit(entry, started, spec);
            Some(result)
        });
        if let Some(result) = cached {
            return Ok(result);
        }
        let (entry, started) = self.lookup_l1(spec, parts)?;
        let result = take(&entry).ok_or(Absent(false))?;
        self.end_l1_hit(&entry, started, spec);
        Ok(result)
    }

    /// Looks up an entry that is not in the cache of this thread. Returns it with the time of a sampled lookup.
    #[inline(never)]
    fn lookup_l1(
        &self,
        spec: &FunctionSpec,
        parts: &dyn WriteKey,
    ) -> Result<(Arc<Entry>, Option<Nanos>), Absent> {
        let lookup_number = thread_cache::maintain();
        let started = stats::is_sample(lookup_number).then(|| self.clock().now_exactly());
        match with_identity(spec, parts, |key| self.lookup(spec, key)) {
            Ok(L1Lookup::Fresh(entry, _)) => Ok((entry, started)),
            Ok(lookup) => Err(Absent(matches!(lookup, L1Lookup::Nothing))),
            Err(_) => Err(Absent(false)),
        }
    }

    /// Counts a hit outside of the cache of this thread, and adds the entry to that cache.
    #[inline(never)]
    fn end_l1_hit(&self, entry: &Arc<Entry>, started: Option<Nanos>, spec: &FunctionSpec) {
        self.count_hit(entry, started, spec);
        thread_cache::insert(entry);
    }

    /// Counts a hit of a plain call.
    ///
    /// This is on the fast path, so the counter is reached through the entry and not by a look-up.
    #[allow(clippy::inline_always, reason = "a call would cost more than the body")]
    #[inline(always)]
    fn count_hit(&self, entry: &Entry, started: Option<Nanos>, spec: &FunctionSpec) {
        entry.metrics().add(Count::HitL1);
        if started.is_some() || !self.0.observers.is_empty() {
            self.report_hit(entry, started, spec);
        }
    }

    /// Records the latency of a sampled hit, and notifies the observers.
    #[cold]
    fn report_hit(&self, entry: &Entry, started: Option<Nanos>, spec: &FunctionSpec) {
        if let Some(started) = started {
            entry.metrics().hit_latency().record(self.clock().now().saturating_sub(started));
        }
        if !self.0.observers.is_empty() {
            self.notify_observers(Count::HitL1, spec.template(), Some(entry.key()));
        }
    }
}
