//! Invalidations of tags, of names that match a pattern, and of everything.
//!
//! A template is filled with the parts of a call, and becomes the key of a tag or a pattern of names. The
//! only wildcard is a `*` in the template of a pattern: a part is none.

use crate::{
    cache::{
        Cache,
        invalidation::{Invalidation, InvalidationTarget},
    },
    error::Error,
    key::{KeyPart, NameWriter, Parts, flaw},
};

impl Cache {
    /// Invalidates every entry with this tag, in one round trip, independent of their number.
    ///
    /// `template` is the tag as in `tags = [".."]`, with a `{}` for each of `parts`, which are written as
    /// placeholders are. A string has the same form in all string types, and a number in all number types. A
    /// number and a string with the same digits, `7` and `"7"`, are different parts.
    ///
    /// It ends in [`is_key`](Error::is_key) if the template is not valid, or has another number of `{}`.
    pub fn invalidate_tag(&self, template: &str, parts: &[&(dyn KeyPart + Sync)]) -> Invalidation {
        self.tag_invalidation(self.fill_template(template, parts, false))
    }

    /// Invalidates every entry with a name that matches a pattern.
    ///
    /// A `*` in the template stands for any characters, and a `*` in a part is no wildcard.
    /// `"analytics:{}:*"` matches all names with that beginning. For a function with a prefix instead of a
    /// template, a keyspace and a counter, the name is the prefix and a digest. So `"syllabus:*"` matches all
    /// of their names, and no pattern selects a single one.
    ///
    /// The shared tier examines all of its keys, in steps: prefer a tag where there are many keys. Calls with
    /// an equal pattern that arrive during a scan share the next one. [Counters](Self::incr) with a matching
    /// name are reset as well.
    pub fn invalidate_pattern(&self, template: &str, parts: &[&(dyn KeyPart + Sync)]) -> Invalidation {
        self.pattern_invalidation(self.fill_template(template, parts, true))
    }

    /// Invalidates everything in the namespace of this cache, in every tier and process.
    ///
    /// The shared tier examines all of its keys, in steps. Counters of [`incr`](Self::incr) are reset as
    /// well. The in-process tier is empty when the invalidation completes.
    pub fn clear(&self) -> Invalidation {
        Invalidation::new(self.clone(), Ok(InvalidationTarget::Matching(self.shared().all_names_pattern())))
    }

    fn fill_template(
        &self,
        template: &str,
        parts: &[&(dyn KeyPart + Sync)],
        allows_wildcard: bool,
    ) -> Result<String, Error> {
        if let Some(flaw) = flaw(template, parts.len(), allows_wildcard) {
            return Err(Error::key(flaw));
        }
        let parts = parts.iter().map(|part| *part as &dyn KeyPart);
        Ok(NameWriter::text(&*self.shared().hasher, |writer| writer.write_template(template, parts))?)
    }

    pub(crate) fn invalidate_tag_of(&self, parts: &impl Parts) -> Invalidation {
        self.tag_invalidation(self.write_name(parts))
    }

    pub(crate) fn invalidate_pattern_of(&self, parts: &impl Parts) -> Invalidation {
        self.pattern_invalidation(self.write_name(parts))
    }

    fn write_name(&self, parts: &impl Parts) -> Result<String, Error> {
        Ok(NameWriter::text(&*self.shared().hasher, |writer| parts.write(writer))?)
    }

    fn tag_invalidation(&self, tag: Result<String, Error>) -> Invalidation {
        Invalidation::new(self.clone(), tag.map(|tag| InvalidationTarget::Tag(self.shared().tag_key(&tag))))
    }

    fn pattern_invalidation(&self, pattern: Result<String, Error>) -> Invalidation {
        let target = pattern.and_then(|pattern| {
            // Redis would interpret these characters.
            match pattern.find(['?', '[', ']', '\\']) {
                Some(_) => {
                    Err(Error::key("a pattern must not contain any of `? [ ] \\`: its only wildcard is `*`"))
                }
                None => Ok(InvalidationTarget::Matching(format!("{}:{pattern}", self.shared().namespace))),
            }
        });
        Invalidation::new(self.clone(), target)
    }
}
