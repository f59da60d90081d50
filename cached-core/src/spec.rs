//! The static description of a cached function: everything that is known of it before any call.
//!
//! The description includes a fingerprint of the template, the version, the locality and the owner. It is
//! part of the hash of each key in L1, so entries of two functions never meet unless all of these are equal.

use std::time::Duration;

use crate::base::clock::{Nanos, nanos};

/// Static settings of a cached function. Generated code holds one in a `static`.
#[derive(Clone, Copy, Debug)]
pub struct FunctionSpec {
    template: &'static str,
    /// Fingerprint of the template alone.
    template_fingerprint: u64,
    /// Fingerprint of the template, the version, the locality and the owner.
    fingerprint: u64,
    owner: Owner,
    is_template: bool,
    is_local: bool,
    version: u32,
    max_entries: Option<u64>,
    bound: Option<Nanos>,
    coalesces_locally: bool,
    soft_timeout: Option<Duration>,
    max_loads: Option<u32>,
    tier_timeout: Option<Duration>,
    keep_warm: u32,
}

/// Owner of the values under a template: decides which functions may share entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// All users of the same prefix with values of the same type.
    Anyone,
    /// The function with this path.
    Function(&'static str),
    /// All functions that name this schema.
    Schema(&'static str),
}

impl FunctionSpec {
    /// Describes a function under a bare prefix.
    ///
    /// It is keyed on every argument, and its name ends in a digest.
    pub const fn prefix(prefix: &'static str) -> Self {
        Self::new(prefix, false)
    }

    /// Describes a function under a template, written with `{}` in the place of each placeholder.
    ///
    /// The names of the function's arguments are not part of its keys.
    pub const fn templated(template: &'static str) -> Self {
        Self::new(template, true)
    }

    const fn new(template: &'static str, is_template: bool) -> Self {
        let fingerprint = fnv1a(FNV_OFFSET, template.as_bytes());
        Self {
            template,
            template_fingerprint: fingerprint,
            fingerprint,
            owner: Owner::Anyone,
            is_template,
            is_local: false,
            version: 0,
            max_entries: None,
            bound: None,
            coalesces_locally: false,
            soft_timeout: None,
            max_loads: None,
            tier_timeout: None,
            keep_warm: 0,
        }
    }

    /// Sets the path of the function, unless a schema is set.
    ///
    /// Stored values carry the path, so that no other function accepts them as its own.
    #[must_use]
    pub const fn owner(mut self, path: &'static str) -> Self {
        if !matches!(self.owner, Owner::Schema(_)) {
            self.owner = Owner::Function(path);
        }
        self.with_fingerprint()
    }

    /// Names the schema of the values, in place of the function's path and the type's name.
    ///
    /// Functions that name the same schema share entries.
    #[must_use]
    pub const fn schema(mut self, name: &'static str) -> Self {
        self.owner = Owner::Schema(name);
        self.with_fingerprint()
    }

    /// Updates the fingerprint to the current settings.
    const fn with_fingerprint(mut self) -> Self {
        let (kind, owner) = match self.owner {
            Owner::Anyone => (0, ""),
            Owner::Function(path) => (1, path),
            Owner::Schema(name) => (2, name),
        };
        let fingerprint = fnv1a(self.template_fingerprint, &[0xFF, self.is_local as u8, kind]);
        let fingerprint = fnv1a(fingerprint, &self.version.to_le_bytes());
        self.fingerprint = fnv1a(fingerprint, owner.as_bytes());
        self
    }

    /// Sets the schema version of the values.
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self.with_fingerprint()
    }

    /// Keeps the values in this process.
    #[must_use]
    pub const fn local(mut self) -> Self {
        self.is_local = true;
        self.with_fingerprint()
    }

    /// Limits the number of entries that this function may hold in L1.
    #[must_use]
    pub const fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// Sets the staleness bound of this function, in place of that of the cache.
    ///
    /// The bound is the greatest age of the proof that an entry is current.
    #[must_use]
    pub const fn bound(mut self, bound: Duration) -> Self {
        self.bound = Some(nanos(bound));
        self
    }

    /// Coalesces loads within each process only, and not over all processes.
    #[must_use]
    pub const fn coalesce_local(mut self) -> Self {
        self.coalesces_locally = true;
        self
    }

    /// Sets the time for which a caller waits for a fresh value before it takes a stale one.
    #[must_use]
    pub const fn soft_timeout(mut self, limit: Duration) -> Self {
        self.soft_timeout = Some(limit);
        self
    }

    /// Limits the number of concurrent loads in one process.
    #[must_use]
    pub const fn max_loads(mut self, loads: u32) -> Self {
        self.max_loads = Some(loads);
        self
    }

    /// Sets the time for which a caller waits for each answer of the shared tier.
    #[must_use]
    pub const fn tier_timeout(mut self, limit: Duration) -> Self {
        self.tier_timeout = Some(limit);
        self
    }

    /// Sets the number of most used keys that are loaded again before they expire.
    #[must_use]
    pub const fn keep_warm(mut self, keys: u32) -> Self {
        self.keep_warm = keys;
        self
    }

    /// Returns the number of keys to keep warm: zero if the function keeps none warm.
    pub(crate) const fn warm_keys(&self) -> usize {
        self.keep_warm as usize
    }

    pub(crate) const fn own_soft_timeout(&self) -> Option<Duration> {
        self.soft_timeout
    }

    pub(crate) const fn own_max_loads(&self) -> Option<u32> {
        self.max_loads
    }

    pub(crate) const fn own_tier_timeout(&self) -> Option<Duration> {
        self.tier_timeout
    }

    pub(crate) const fn own_bound(&self) -> Option<Nanos> {
        self.bound
    }

    pub(crate) const fn coalesces_locally(&self) -> bool {
        self.coalesces_locally
    }

    pub(crate) const fn template(&self) -> &'static str {
        self.template
    }

    /// Returns the fingerprint of the template alone, so that a look-up need not hash the text.
    pub(crate) const fn template_fingerprint(&self) -> u64 {
        self.template_fingerprint
    }

    /// Returns the fingerprint of the template, the version, the locality and the owner.
    ///
    /// An entry that differs in one of these does not belong to this function.
    pub(crate) const fn fingerprint(&self) -> u64 {
        self.fingerprint
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

    pub(crate) const fn own_max_entries(&self) -> Option<u64> {
        self.max_entries
    }
}

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;

/// Continues an FNV-1a hash: `hash` is the hash so far.
///
/// FNV-1a can be evaluated at compile time. It does not resist chosen collisions, and need not: templates
/// come from the program itself.
const fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0100_0000_01B3;

    let (mut hash, mut rest) = (hash, bytes);
    while let [first, others @ ..] = rest {
        hash = (hash ^ *first as u64).wrapping_mul(PRIME);
        rest = others;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_share_a_fingerprint_only_if_all_settings_are_equal() {
        let spec = || FunctionSpec::templated("user:{}");
        let all = [
            spec(),
            spec().local(),
            spec().version(1),
            spec().version(1).local(),
            spec().owner("app::name"),
            spec().owner("app::email"),
            spec().owner("app::name").version(1),
            spec().owner("app::name").local(),
            spec().schema("app::name"),
            spec().schema("app::name").local(),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(
                all.iter().skip(index + 1).all(|other| one.fingerprint() != other.fingerprint()),
                "{one:?}"
            );
            assert_eq!(one.template_fingerprint(), spec().template_fingerprint());
        }
        let with_schema = || spec().owner("app::name").schema("user.v1").version(2);
        assert_eq!(
            with_schema().fingerprint(),
            spec().schema("user.v1").owner("app::email").version(2).fingerprint()
        );
        assert_eq!(with_schema().owned_by(), Owner::Schema("user.v1"));
    }
}
