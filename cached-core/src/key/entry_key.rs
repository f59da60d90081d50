//! The key of an entry, as each tier knows it.

use crate::key::OwnedKey;

/// The key of an entry with its name in L2 and its tags.
#[derive(Clone, Debug)]
pub(crate) struct EntryKey {
    pub(crate) key: OwnedKey,
    pub(crate) shared_key: SharedKey,
    /// Set if L2 takes part: there is one, and the function is not local.
    pub(crate) is_shared: bool,
    /// Keys in L2 of the tags that the arguments determine.
    pub(crate) tags: Vec<String>,
}

impl EntryKey {
    /// Returns the key of a call whose arguments cannot be a key, which is used for nothing.
    pub(crate) fn refused(template: &'static str) -> Self {
        let shared_key = SharedKey { text: String::new(), check: [0; 16], schema: 0 };
        Self { key: OwnedKey::empty(template), shared_key, is_shared: false, tags: Vec::new() }
    }
}

/// A key as L2 knows it.
///
/// The text is empty if nothing needs a name: see `Cache::entry_key`.
#[derive(Clone, Debug)]
pub(crate) struct SharedKey {
    pub(crate) text: String,
    /// Second half of the digest, which is not in the text; stored with the value and compared when it is
    /// read.
    pub(crate) check: [u8; 16],
    pub(crate) schema: u64,
}
