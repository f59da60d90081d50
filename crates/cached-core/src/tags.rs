//! The tags of one call, as generated code writes them.

use crate::{Error, key::KeyWriter, shared::Shared};

/// Receives the tags of a call, one by one.
pub struct Tags<'a> {
    shared: &'a Shared,
    keys: &'a mut Vec<String>,
}

impl<'a> Tags<'a> {
    pub(crate) fn new(shared: &'a Shared, keys: &'a mut Vec<String>) -> Self {
        Self { shared, keys }
    }

    /// One tag: the same writer as for a name.
    pub fn tag(&mut self, write: impl FnOnce(&mut KeyWriter<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let tag = KeyWriter::text(&*self.shared.hasher, write)?;
        let key = self.shared.tag_key(&tag);
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
        Ok(())
    }
}
