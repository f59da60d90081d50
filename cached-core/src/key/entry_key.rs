//! The key of an entry, as each tier knows it.

use crate::key::Key;

/// A key, its name, and its tags.
#[derive(Clone, Debug)]
pub(crate) struct EntryKey {
    pub(crate) key: Key,
    pub(crate) name: SharedKey,
    /// Whether the shared tier has a part in it.
    pub(crate) is_shared: bool,
    /// Keys of the tags that its arguments tell.
    pub(crate) tags: Vec<String>,
}

/// A key as the shared tier knows it.
#[derive(Clone, Debug)]
pub(crate) struct SharedKey {
    pub(crate) text: String,
    /// Stored with the value and compared when it is read: the half of the digest that is not in the text.
    pub(crate) check: [u8; 16],
    pub(crate) schema: u64,
}
