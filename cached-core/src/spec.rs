//! Where a cached function stands: what is known of it before any call.

use std::time::Duration;

use crate::base::clock::{Nanos, nanos};

/// The fixed part of a cached function. Generated code holds one in a `static`.
#[derive(Clone, Copy, Debug)]
pub struct FunctionSpec {
    template: &'static str,
    /// Of the template alone.
    template_print: u64,
    /// Of all that entries which are shared have in common.
    print: u64,
    owner: Owner,
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

/// Whose the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Of all that have the same prefix, and values of the same type.
    Anyone,
    /// Of the function of this path.
    Function(&'static str),
    /// Of all that name this schema.
    Schema(&'static str),
}

impl FunctionSpec {
    /// A function under a bare prefix: it is keyed on every argument, and its name ends in a digest.
    pub const fn prefix(prefix: &'static str) -> Self {
        Self::new(prefix, false)
    }

    /// A function under a template, given with `{}` in the place of each placeholder: how a function names its arguments is no
    /// part of its keys.
    pub const fn templated(template: &'static str) -> Self {
        Self::new(template, true)
    }

    const fn new(template: &'static str, is_template: bool) -> Self {
        let print = print_of(FNV_OFFSET, template.as_bytes());
        Self {
            template,
            template_print: print,
            print,
            owner: Owner::Anyone,
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

    /// The path of the function. Its values say so of themselves, and no other function takes them for its own.
    #[must_use]
    pub const fn owner(mut self, path: &'static str) -> Self {
        if !matches!(self.owner, Owner::Schema(_)) {
            self.owner = Owner::Function(path);
        }
        self.printed()
    }

    /// Names the schema of its values, in the place of the path of the function and the name of the type: functions that name
    /// the same one share entries.
    #[must_use]
    pub const fn schema(mut self, name: &'static str) -> Self {
        self.owner = Owner::Schema(name);
        self.printed()
    }

    /// With the print of what it is now.
    const fn printed(mut self) -> Self {
        let (kind, owner) = match self.owner {
            Owner::Anyone => (0, ""),
            Owner::Function(path) => (1, path),
            Owner::Schema(name) => (2, name),
        };
        let print = print_of(self.template_print, &[0xFF, self.is_local as u8, kind]);
        let print = print_of(print, &self.version.to_le_bytes());
        self.print = print_of(print, owner.as_bytes());
        self
    }

    /// The schema version of its values.
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self.printed()
    }

    /// Its values stay in this process.
    #[must_use]
    pub const fn local(mut self) -> Self {
        self.is_local = true;
        self.printed()
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

    /// Of the template, so that a look-up need not compare the text.
    pub(crate) const fn template_print(&self) -> u64 {
        self.template_print
    }

    /// Of the template, the version, whether it is local, and the function or its schema: what is not equal in one of these is
    /// no entry of this function.
    pub(crate) const fn print(&self) -> u64 {
        self.print
    }

    pub(crate) const fn owned_by(&self) -> Owner {
        self.owner
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

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;

/// FNV-1a, which can be evaluated at compile time, of what was printed `before` and of `bytes`. A program that can choose a template has no
/// need to make two of them collide.
const fn print_of(before: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0100_0000_01B3;

    let (mut print, mut rest) = (before, bytes);
    while let [first, others @ ..] = rest {
        print = (print ^ *first as u64).wrapping_mul(PRIME);
        rest = others;
    }
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_with_one_template_are_apart_unless_all_is_equal() {
        let site = || FunctionSpec::templated("user:{}");
        let all = [
            site(),
            site().local(),
            site().version(1),
            site().version(1).local(),
            site().owner("app::name"),
            site().owner("app::email"),
            site().owner("app::name").version(1),
            site().owner("app::name").local(),
            site().schema("app::name"),
            site().schema("app::name").local(),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| one.print() != other.print()), "{one:?}");
            assert_eq!(one.template_print(), site().template_print());
        }
        let named = || site().owner("app::name").schema("user.v1").version(2);
        assert_eq!(named().print(), site().schema("user.v1").owner("app::email").version(2).print());
        assert_eq!(named().owned_by(), Owner::Schema("user.v1"));
    }
}
