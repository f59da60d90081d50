//! What a cache knows of each function that it was asked for: its counters, and how long things take.
//!
//! Entries of the in-process tier hold their function, so that a hit finds its counter without a look-up. Everything else
//! looks it up by its template.

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

/// One function, or all that share a template.
pub(crate) struct FunctionMetrics {
    name: &'static str,
    counters: Counters,
    /// Made at once: a hit must not allocate.
    hit: Histogram,
    look: OnceLock<Box<Histogram>>,
    load: OnceLock<Box<Histogram>>,
    /// How long a load has taken lately that gave a value; zero if none has.
    price: AtomicU64,
    /// About how many bytes its larger values have in the shared tier, if any was large lately.
    size: AtomicUsize,
    /// Whether the log has said that its errors are not shared.
    is_error_unshared_said: Once,
    /// The next value is read back before it is stored: the first one, and each one from when a stored value could not be read
    /// until one was.
    is_codec_unsure: AtomicBool,
    is_unshared_said: AtomicBool,
    is_untaken_said: AtomicBool,
    /// The print of the first site with this template that uses the shared tier; 0 if there was none.
    user: AtomicU64,
    /// There are several, and they are not one function.
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

    /// Whether the next value is read back before it is stored.
    pub(crate) fn checks_codec(&self) -> bool {
        self.is_codec_unsure.load(Ordering::Relaxed)
    }

    /// A value could be written, and read again if that `was_checked`.
    pub(crate) fn trust_codec(&self, was_checked: bool) {
        if was_checked {
            self.is_codec_unsure.store(false, Ordering::Relaxed);
        }
    }

    /// A stored value could not be read.
    pub(crate) fn distrust_codec(&self) {
        self.is_codec_unsure.store(true, Ordering::Relaxed);
    }

    /// The shared tier cannot hold a value: said once, as it is likely to be so with all of them.
    pub(crate) fn say_unshared(&self, why: &Error) {
        if !self.is_unshared_said.swap(true, Ordering::Relaxed) {
            notice::warn(self.name, &format!("{why}; each process keeps its own values"));
        }
    }

    /// The shared tier did not take a value, although it takes a word of it: said once.
    pub(crate) fn say_untaken(&self, bytes: usize, why: &TierError) {
        if !self.is_untaken_said.swap(true, Ordering::Relaxed) {
            notice::warn(self.name, &format!("a value of {bytes} bytes: {why}; each process keeps its own"));
        }
    }

    /// A site with this template that may be another one than before.
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

    /// Whether several functions have this template.
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

    /// If it was ever asked for.
    #[cfg(feature = "metrics")]
    pub(crate) fn looked(&self) -> Option<&Histogram> {
        self.look.get().map(|histogram| &**histogram)
    }

    /// If it was ever loaded.
    #[cfg(feature = "metrics")]
    pub(crate) fn loaded(&self) -> Option<&Histogram> {
        self.load.get().map(|histogram| &**histogram)
    }

    pub(crate) fn load(&self) -> &Histogram {
        self.load.get_or_init(|| Box::new(Histogram::new()))
    }

    /// A load has taken so long, and has given a value.
    pub(crate) fn costs(&self, took: Nanos) {
        const SHARE: u64 = 8;

        // Of two at the same time one may be lost.
        let before = self.price.load(Ordering::Relaxed);
        let now = if before == 0 { took } else { before - before / SHARE + took / SHARE };
        self.price.store(now.max(1), Ordering::Relaxed);
    }

    /// What a load costs; `None` if this process has not had one.
    pub(crate) fn price(&self) -> Option<Duration> {
        Some(self.price.load(Ordering::Relaxed)).filter(|price| *price > 0).map(Duration::from_nanos)
    }

    /// The shared tier has, or is to have, a value of so many bytes. A large one counts at once and is forgotten over the next
    /// hundreds: where some values of a function are large, the next one may be.
    pub(crate) fn measures(&self, bytes: usize) {
        const SHARE: usize = 64;

        let before = self.size.load(Ordering::Relaxed);
        // As a rule nothing is large, and then nothing is written. And a value that could not be had has a size all the same.
        if bytes.max(before) <= LARGE_VALUE || bytes == 0 {
            return;
        }
        let now = bytes.max(before - before / SHARE);
        if now != before {
            self.size.store(now, Ordering::Relaxed);
        }
    }

    /// About how many bytes the next value may have, if it may be large.
    pub(crate) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// How long the shared tier may be waited for.
    pub(crate) fn budget(&self, site: &FunctionSpec) -> Budget {
        match site.own_budget() {
            Some(budget) => Budget::Exactly(budget),
            None => Budget::of_price(self.price.load(Ordering::Relaxed)),
        }
    }

    /// Logs, once, that its errors are not shared, and which option shares them.
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

/// A cut of this many lists. Programs have tens or hundreds of functions.
const LISTS: usize = 128;

/// The functions of a cache. It only ever grows, to the number of templates in the program, and so needs no lock.
pub(crate) struct FunctionRegistry {
    lists: [Link; LISTS],
    /// Of what is about more than one, or none.
    others: Arc<FunctionMetrics>,
}

type Link = OnceLock<Box<Node>>;

struct Node {
    function: Arc<FunctionMetrics>,
    next: Link,
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
            let node = link.get_or_init(|| Box::new(Node::new(template)));
            // As a rule it is the text of one site, at one place.
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

    /// Of each function, by name.
    pub(crate) fn snapshots(&self) -> Vec<FunctionStats> {
        let mut all: Vec<_> = self.iter().map(|function| function.snapshot()).collect();
        all.sort_by(|a, b| a.function.cmp(&b.function));
        all
    }

    /// Templates of more than one function.
    pub(crate) fn clashes(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .iter()
            .filter(|function| function.has_clash())
            .map(|function| function.name.to_owned())
            .collect();
        all.sort();
        all
    }

    /// How often values were served from memory.
    pub(crate) fn served(&self) -> u64 {
        let of = |function: &Arc<FunctionMetrics>| {
            let counts = [Count::HitL1, Count::Stale, Count::ServedAlone];
            counts.iter().map(|count| function.counters.sum(*count)).fold(0, u64::wrapping_add)
        };
        self.iter().map(of).fold(0, u64::wrapping_add)
    }

    /// In total.
    pub(crate) fn total(&self) -> Stats {
        Counters::total(self.iter().chain([&self.others]).map(|function| &function.counters))
    }
}

impl fmt::Debug for FunctionRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

impl Node {
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
            // The same text at another place.
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
