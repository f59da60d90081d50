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
    /// `schema` is called only if the entry goes to the shared tier.
    pub(crate) fn entry_key(
        &self,
        spec: &FunctionSpec,
        key: OwnedKey,
        parts: &dyn WriteKey,
        schema: impl FnOnce() -> u64,
    ) -> Result<EntryKey, Error> {
        let (text, check) = self.name(spec, &key, parts)?;
        let is_shared = self.shared().has_tier && !spec.is_local();
        let schema = if is_shared { schema() } else { 0 };
        Ok(EntryKey { key, shared_key: SharedKey { text, check, schema }, is_shared, tags: Vec::new() })
    }

    /// Returns the key's name in the shared tier, and the half of the digest that is not in the name.
    pub(super) fn name(
        &self,
        spec: &FunctionSpec,
        key: &OwnedKey,
        parts: &dyn WriteKey,
    ) -> Result<(String, [u8; 16]), Error> {
        let shared = &self.0.shared;
        let digest = key.digest(&*shared.hasher);
        let mut check = [0; 16];
        check.copy_from_slice(&digest[16..]);
        Ok((name(spec, &shared.namespace, &digest, &*shared.hasher, parts)?, check))
    }
}
