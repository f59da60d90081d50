//! Tags of one call, as generated code writes them.

use crate::{
    error::Error,
    key::{NameWriter, Parts},
    l2::shared::Shared,
};

/// Receives the tags of a call, one by one.
pub struct Tags<'a> {
    shared: &'a Shared,
    keys: &'a mut Vec<String>,
}

impl<'a> Tags<'a> {
    pub(crate) fn new(shared: &'a Shared, keys: &'a mut Vec<String>) -> Self {
        Self { shared, keys }
    }

    /// Adds a tag, unless it was added before.
    pub fn tag(&mut self, parts: &impl Parts) -> Result<(), Error> {
        let tag = NameWriter::text(&*self.shared.hasher, |writer| parts.write(writer))?;
        let key = self.shared.tag_key(&tag);
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
        Ok(())
    }
}
