//! Metrics of each cached function: counters, latencies, and the cost and size of its loads.
//!
//! An L1 entry holds the `FunctionMetrics` of its function, so a hit finds its counter without a lookup. All
//! other code looks the function up by its template in the `FunctionRegistry`.

use std::{
    fmt,
    iter::successors,
    ptr,
    sync::{
        Arc, Once, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    base::{clock::Nanos, notice},
    error::{Error, tier::TierError},
    spec::{FunctionSpec, Owner},
    telemetry::{
        latency::Histogram,
        stats::{Count, Counters, FunctionStats, Stats},
    },
    tier::{LARGE_VALUE, budget::Budget},
};

/// Metrics of one function, or of all functions that share a template.
pub(crate) struct FunctionMetrics {
    name: &'static str,
    counters: Counters,
    /// Latencies of hits. Allocated with the function, because a hit must not allocate.
    hit: Histogram,
    look: OnceLock<Box<Histogram>>,
    load: OnceLock<Box<Histogram>>,
    /// Moving average of the duration of loads that returned a value, in nanoseconds; zero before the first.
    price: AtomicU64,
    /// Approximate size in bytes of the larger values in the shared tier; at most `LARGE_VALUE` if none was
    /// large recently.
    size: AtomicUsize,
    /// Guards the warning that errors are not shared, which is given once.
    is_error_unshared_said: Once,
    /// Set while the next value is decoded again before it is stored. This is so for the first value, and
    /// after a stored value could not be decoded, until one value passes the check.
    is_codec_unsure: AtomicBool,
    is_unshared_said: AtomicBool,
    is_untaken_said: AtomicBool,
    /// Fingerprint of the first `FunctionSpec` with this template that uses the shared tier; 0 if there is
    /// none.
    user: AtomicU64,
    /// Set if a second such `FunctionSpec` has another fingerprint, so that different functions share the
    /// template.
    has_clash: AtomicBool,
    #[cfg(feature = "metrics")]
    pub(crate) exported: crate::telemetry::exported::Exported,
}

impl FunctionMetrics {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            counters: Counters::new(),
            hit: Histogram::new(),
            look: OnceLock::new(),
            load: OnceLock::new(),
            price: AtomicU64::new(0),
            size: AtomicUsize::new(0),
            is_error_unshared_said: Once::new(),
            is_codec_unsure: AtomicBool::new(true),
            is_unshared_said: AtomicBool::new(false),
            is_untaken_said: AtomicBool::new(false),
            user: AtomicU64::new(0),
            has_clash: AtomicBool::new(false),
            #[cfg(feature = "metrics")]
            exported: crate::telemetry::exported::Exported::default(),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns whether the next value is decoded again before it is stored.
    pub(crate) fn checks_codec(&self) -> bool {
        self.is_codec_unsure.load(Ordering::Relaxed)
    }

    /// Records that a value was encoded and, if `was_checked`, decoded again.
    pub(crate) fn trust_codec(&self, was_checked: bool) {
        if was_checked {
            self.is_codec_unsure.store(false, Ordering::Relaxed);
        }
    }

    /// Records that a stored value could not be decoded.
    pub(crate) fn distrust_codec(&self) {
        self.is_codec_unsure.store(true, Ordering::Relaxed);
    }

    /// Warns that the shared tier cannot hold a value. The warning is given once, because other values of the
    /// function are likely to have the same problem.
    pub(crate) fn say_unshared(&self, why: &Error) {
        if !self.is_unshared_said.swap(true, Ordering::Relaxed) {
            notice::warn(self.name, &format!("{why}; each process keeps its own values"));
        }
    }

    /// Warns, once, that the shared tier did not store a large value although it stored the stub in its
    /// place.
    pub(crate) fn say_untaken(&self, bytes: usize, why: &TierError) {
        if !self.is_untaken_said.swap(true, Ordering::Relaxed) {
            notice::warn(self.name, &format!("a value of {bytes} bytes: {why}; each process keeps its own"));
        }
    }

    /// Registers a `FunctionSpec` with this template, and warns once if it is not that of the first function.
    #[cold]
    fn meet(&self, site: &FunctionSpec) {
        let before = self.user.compare_exchange(0, site.print(), Ordering::Relaxed, Ordering::Relaxed);
        if before.is_err_and(|before| before != site.print()) && !self.has_clash.swap(true, Ordering::Relaxed)
        {
            let owner = match site.owned_by() {
                Owner::Anyone => "a keyspace",
                Owner::Function(path) | Owner::Schema(path) => path,
            };
            notice::warn(
                self.name,
                &format!(
                    "more than one function has this prefix or template (one of them: {owner}). They displace each other's \
                     values in the shared tier: give each its own, or all of them the same `schema`"
                ),
            );
        }
    }

    /// Returns whether different functions that use the shared tier have this template.
    pub(crate) fn has_clash(&self) -> bool {
        self.has_clash.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn add(&self, count: Count) {
        self.counters.add(count);
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn hit(&self) -> &Histogram {
        &self.hit
    }

    pub(crate) fn look(&self) -> &Histogram {
        self.look.get_or_init(|| Box::new(Histogram::new()))
    }

    /// Returns the latencies of lookups in the shared tier; `None` before the first lookup.
    #[cfg(feature = "metrics")]
    pub(crate) fn looked(&self) -> Option<&Histogram> {
        self.look.get().map(|histogram| &**histogram)
    }

    /// Returns the latencies of loads; `None` before the first load.
    #[cfg(feature = "metrics")]
    pub(crate) fn loaded(&self) -> Option<&Histogram> {
        self.load.get().map(|histogram| &**histogram)
    }

    pub(crate) fn load(&self) -> &Histogram {
        self.load.get_or_init(|| Box::new(Histogram::new()))
    }

    /// Adds the duration of a load that returned a value to the moving average.
    pub(crate) fn costs(&self, took: Nanos) {
        const SHARE: u64 = 8;

        // The update is not atomic: of two concurrent updates, one may be lost.
        let before = self.price.load(Ordering::Relaxed);
        let now = if before == 0 { took } else { before - before / SHARE + took / SHARE };
        self.price.store(now.max(1), Ordering::Relaxed);
    }

    /// Returns the average duration of a load; `None` if no load in this process has returned a value.
    pub(crate) fn price(&self) -> Option<Duration> {
        Some(self.price.load(Ordering::Relaxed)).filter(|price| *price > 0).map(Duration::from_nanos)
    }

    /// Records the size of a value that the shared tier holds or is about to hold.
    ///
    /// A large value counts at once, and its size decays over the next hundreds of values. If some values of
    /// a function are large, the next one may be, too.
    pub(crate) fn measures(&self, bytes: usize) {
        const SHARE: usize = 64;

        let before = self.size.load(Ordering::Relaxed);
        // Usually no value is large, and nothing is written. Zero bytes mean that the value was not read: its
        // real size is unknown.
        if bytes.max(before) <= LARGE_VALUE || bytes == 0 {
            return;
        }
        let now = bytes.max(before - before / SHARE);
        if now != before {
            self.size.store(now, Ordering::Relaxed);
        }
    }

    /// Returns the estimated size in bytes of the next value, if it may be large; at most `LARGE_VALUE`
    /// otherwise.
    pub(crate) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// Returns the time for which a call may wait for the shared tier.
    pub(crate) fn budget(&self, site: &FunctionSpec) -> Budget {
        match site.own_budget() {
            Some(budget) => Budget::Exactly(budget),
            None => Budget::of_price(self.price.load(Ordering::Relaxed)),
        }
    }

    /// Warns, once, that the errors of the function are not shared, and names the option that shares them.
    pub(crate) fn warn_of_errors(&self) {
        self.is_error_unshared_said.call_once(|| {
            notice::warn(
                self.name,
                "its error is neither `Clone` nor `From<SharedLoadError>`, so callers that wait for a failing load each load \
                 for themselves, one after the other: `share_err = |e| ..` shares the error",
            );
        });
    }

    pub(crate) fn snapshot(&self) -> FunctionStats {
        let of = |histogram: &OnceLock<Box<Histogram>>| {
            histogram.get().map(|histogram| histogram.snapshot()).unwrap_or_default()
        };
        FunctionStats {
            function: self.name.to_owned(),
            hit: self.hit.snapshot(),
            look: of(&self.look),
            load: of(&self.load),
            ..self.counters.of_function()
        }
    }
}

/// Number of linked lists in the registry's hash table. Programs have tens or hundreds of functions.
const LISTS: usize = 128;

/// Registry of the functions of a cache.
///
/// The registry only grows, up to the number of templates in the program, and therefore needs no lock.
pub(crate) struct FunctionRegistry {
    lists: [NextNode; LISTS],
    /// Counters for events that concern several functions, or none.
    others: Arc<FunctionMetrics>,
}

type NextNode = OnceLock<Box<FunctionNode>>;

struct FunctionNode {
    function: Arc<FunctionMetrics>,
    next: NextNode,
}

impl FunctionRegistry {
    pub(crate) fn new() -> Self {
        Self { lists: [const { OnceLock::new() }; LISTS], others: Arc::new(FunctionMetrics::new("")) }
    }

    pub(crate) fn of(&self, site: &FunctionSpec) -> &Arc<FunctionMetrics> {
        let template = site.template();
        #[allow(clippy::cast_possible_truncation, reason = "any of its bits will do")]
        let mut link = &self.lists[site.template_print() as usize % LISTS];
        loop {
            let node = link.get_or_init(|| Box::new(FunctionNode::new(template)));
            // Usually both are the text of one `FunctionSpec`, at one address.
            if ptr::eq(node.function.name, template) || node.function.name == template {
                if !site.is_local() && node.function.user.load(Ordering::Relaxed) != site.print() {
                    node.function.meet(site);
                }
                return &node.function;
            }
            link = &node.next;
        }
    }

    pub(crate) fn others(&self) -> &Arc<FunctionMetrics> {
        &self.others
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<FunctionMetrics>> {
        let lists = self.lists.iter();
        lists.flat_map(|link| successors(link.get(), |node| node.next.get())).map(|node| &node.function)
    }

    /// Returns the statistics of each function, sorted by name.
    pub(crate) fn snapshots(&self) -> Vec<FunctionStats> {
        let mut all: Vec<_> = self.iter().map(|function| function.snapshot()).collect();
        all.sort_by(|a, b| a.function.cmp(&b.function));
        all
    }

    /// Returns the templates that different functions share, sorted.
    pub(crate) fn clashes(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .iter()
            .filter(|function| function.has_clash())
            .map(|function| function.name.to_owned())
            .collect();
        all.sort();
        all
    }

    /// Returns a number that grows with every value served from memory. One call may count more than once.
    pub(crate) fn served(&self) -> u64 {
        let of = |function: &Arc<FunctionMetrics>| {
            let counts = [Count::HitL1, Count::Stale, Count::ServedAlone];
            counts.iter().map(|count| function.counters.sum(*count)).fold(0, u64::wrapping_add)
        };
        self.iter().map(of).fold(0, u64::wrapping_add)
    }

    /// Returns the totals of all functions, and of events that belong to none.
    pub(crate) fn total(&self) -> Stats {
        Counters::total(self.iter().chain([&self.others]).map(|function| &function.counters))
    }
}

impl fmt::Debug for FunctionRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionRegistry").finish_non_exhaustive()
    }
}

impl FunctionNode {
    #[cold]
    fn new(template: &'static str) -> Self {
        Self { function: Arc::new(FunctionMetrics::new(template)), next: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_template_has_its_own_and_only_one() {
        let functions = FunctionRegistry::new();
        let names: Vec<&'static str> = (0..1000).map(|n: u32| &*n.to_string().leak()).collect();
        for name in &names {
            functions.of(&FunctionSpec::prefix(name)).add(Count::Miss);
        }
        for name in &names {
            // Equal text at another address.
            functions.of(&FunctionSpec::prefix(name.to_string().leak())).add(Count::Load);
        }
        functions.others().add(Count::Miss);
        let all = functions.snapshots();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|one| (one.misses, one.loads) == (1, 1)));
        assert_eq!((functions.total().misses, functions.total().loads), (1001, 1000));
    }

    #[test]
    fn a_large_value_is_expected_again_for_a_while() {
        let function = FunctionMetrics::new("");
        function.measures(LARGE_VALUE);
        assert_eq!(function.size(), 0, "it is not large");
        function.measures(12 << 20);
        assert_eq!(function.size(), 12 << 20);
        for _ in 0..100 {
            function.measures(10);
        }
        assert!(function.size() > LARGE_VALUE);
        for _ in 0..1000 {
            function.measures(10);
        }
        assert!(function.size() <= LARGE_VALUE, "{}", function.size());
    }

    #[test]
    fn threads_that_meet_a_function_at_once_count_in_one_place() {
        let functions = FunctionRegistry::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for name in ["a", "b", "c", "d"] {
                        functions.of(&FunctionSpec::prefix(name)).add(Count::Miss);
                    }
                });
            }
        });
        let all = functions.snapshots();
        assert_eq!(all.iter().map(|one| one.misses).collect::<Vec<_>>(), [8; 4]);
    }
}
