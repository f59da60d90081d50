//! Where a cached function stands: what is known of it before any call.

use std::time::Duration;

use crate::clock::{Nanos, nanos};

/// The fixed part of a cached function. Generated code holds one in a `static`.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    template: &'static str,
    print: u64,
    is_template: bool,
    is_local: bool,
    version: u32,
    max_entries: Option<u64>,
    bound: Option<Nanos>,
    coalesces_here: bool,
    soft_timeout: Option<Duration>,
    max_loads: Option<u32>,
    tier_timeout: Option<Duration>,
    keep_warm: u32,
}

impl Site {
    /// A function under a bare prefix: it is keyed on every argument, and its name ends in a digest.
    pub const fn prefix(prefix: &'static str) -> Self {
        Self::new(prefix, false)
    }

    /// A function under a template, given with `{}` in the place of each placeholder, so that two functions that
    /// name their arguments differently can share entries.
    pub const fn templated(template: &'static str) -> Self {
        Self::new(template, true)
    }

    const fn new(template: &'static str, is_template: bool) -> Self {
        Self {
            template,
            print: print_of(template),
            is_template,
            is_local: false,
            version: 0,
            max_entries: None,
            bound: None,
            coalesces_here: false,
            soft_timeout: None,
            max_loads: None,
            tier_timeout: None,
            keep_warm: 0,
        }
    }

    /// The schema version of its values.
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Its values stay in this process.
    #[must_use]
    pub const fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// The most entries that this function may hold in the in-process tier.
    #[must_use]
    pub const fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// How old the proof of freshness of an entry may be, instead of the cache's own bound.
    #[must_use]
    pub const fn bound(mut self, bound: Duration) -> Self {
        self.bound = Some(nanos(bound));
        self
    }

    /// One load in each process, not one over all.
    #[must_use]
    pub const fn coalesce_local(mut self) -> Self {
        self.coalesces_here = true;
        self
    }

    /// How long a caller waits for a fresh value before it takes a stale one.
    #[must_use]
    pub const fn soft_timeout(mut self, limit: Duration) -> Self {
        self.soft_timeout = Some(limit);
        self
    }

    /// How many loads go on at a time in a process.
    #[must_use]
    pub const fn max_loads(mut self, loads: u32) -> Self {
        self.max_loads = Some(loads);
        self
    }

    /// How long a caller waits for each answer of the shared tier.
    #[must_use]
    pub const fn tier_timeout(mut self, limit: Duration) -> Self {
        self.tier_timeout = Some(limit);
        self
    }

    /// How many of its most used keys are loaded again before they expire.
    #[must_use]
    pub const fn keep_warm(mut self, keys: u32) -> Self {
        self.keep_warm = keys;
        self
    }

    /// Zero if it was not asked for.
    pub(crate) const fn warm_keys(&self) -> usize {
        self.keep_warm as usize
    }

    pub(crate) const fn patience(&self) -> Option<Duration> {
        self.soft_timeout
    }

    pub(crate) const fn load_cap(&self) -> Option<u32> {
        self.max_loads
    }

    pub(crate) const fn own_budget(&self) -> Option<Duration> {
        self.tier_timeout
    }

    pub(crate) const fn own_bound(&self) -> Option<Nanos> {
        self.bound
    }

    pub(crate) const fn coalesces_here(&self) -> bool {
        self.coalesces_here
    }

    pub(crate) const fn template(&self) -> &'static str {
        self.template
    }

    /// Of the template, so that a call need not look at the text.
    pub(crate) const fn print(&self) -> u64 {
        self.print
    }

    pub(crate) const fn is_template(&self) -> bool {
        self.is_template
    }

    pub(crate) const fn is_local(&self) -> bool {
        self.is_local
    }

    pub(crate) const fn schema_version(&self) -> u32 {
        self.version
    }

    pub(crate) const fn entry_cap(&self) -> Option<u64> {
        self.max_entries
    }
}

/// FNV-1a, which can be evaluated at compile time. Who can choose a template has no need to make two of them collide.
const fn print_of(template: &str) -> u64 {
    const OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01B3;

    let (mut print, mut rest) = (OFFSET, template.as_bytes());
    while let [first, others @ ..] = rest {
        print = (print ^ *first as u64).wrapping_mul(PRIME);
        rest = others;
    }
    print
}
