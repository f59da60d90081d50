//! The name of a key in the shared tier, and the key of an entry as both tiers know it.

use crate::{
    cache::Cache,
    error::Error,
    key::{
        OwnedKey, WriteKey,
        entry_key::{EntryKey, SharedKey},
        name,
    },
    spec::FunctionSpec,
};

impl Cache {
    /// Builds the key of an entry as both tiers know it.
    ///
    /// An entry that stays in this process has a name if `needs_name` is set, or if a pattern can tell it from
    /// other entries of its function. `schema` is called only if the entry goes to the shared tier.
    pub(crate) fn entry_key(
        &self,
        spec: &FunctionSpec,
        key: OwnedKey,
        parts: &dyn WriteKey,
        needs_name: bool,
        schema: impl FnOnce() -> u64,
    ) -> Result<EntryKey, Error> {
        let is_shared = self.shared().has_tier && !spec.is_local();
        // Without a template, the name of an entry is the digest of its key, which no pattern selects.
        let has_name = is_shared || needs_name || spec.is_template();
        let (text, check) =
            if has_name { self.name(spec, &key, parts, is_shared)? } else { (String::new(), [0; 16]) };
        let schema = if is_shared { schema() } else { 0 };
        Ok(EntryKey { key, shared_key: SharedKey { text, check, schema }, is_shared, tags: Vec::new() })
    }

    /// Returns the key's name in the shared tier, and the half of the digest that is not in the name.
    ///
    /// That half is empty if no tier compares it.
    pub(super) fn name(
        &self,
        spec: &FunctionSpec,
        key: &OwnedKey,
        parts: &dyn WriteKey,
        is_shared: bool,
    ) -> Result<(String, [u8; 16]), Error> {
        let shared = &self.0.shared;
        let mut check = [0; 16];
        let mut digest = [0; 32];
        if is_shared || !spec.is_template() {
            digest = key.digest(&*shared.hasher);
            check.copy_from_slice(&digest[16..]);
        }
        Ok((name(spec, &shared.namespace, &digest, &*shared.hasher, parts)?, check))
    }
}
