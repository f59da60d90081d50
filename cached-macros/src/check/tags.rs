//! Checks of the option `tags`.

use syn::ext::IdentExt;

use super::{is_skipped, names};
use crate::{
    errors::Errors,
    parse::{
        function::Function,
        options::Options,
        template::{Placeholder, Role, Template},
    },
};

/// Parses the option `tags`, and checks its placeholders.
pub(super) fn check(options: &Options, function: &Function, errors: &mut Errors) -> Vec<Template> {
    let tags = options.tags.iter().filter_map(|tag| errors.take(Template::parse(tag, Role::Tag)));
    let tags: Vec<_> = tags.collect();
    for tag in &tags {
        for placeholder in tag.placeholders() {
            if names::check_bound(placeholder, tag, function, errors).is_none() {
                names::check(placeholder, tag, function.names().collect(), errors);
            }
            check_keyed(placeholder, tag, options, errors);
        }
    }
    tags
}

/// Rejects a tag that names a skipped argument. All calls that share an entry must give it the same tags, so
/// a tag may only name parts of the key. An argument with one field in the key counts as a whole: that field
/// identifies it.
fn check_keyed(placeholder: &Placeholder, tag: &Template, options: &Options, errors: &mut Errors) {
    let name = placeholder.argument.unraw();
    if is_skipped(options, &name.to_string()) {
        errors.at(
            &tag.literal,
            format!(
                "the tag names `{name}`, which is skipped: calls that differ only in it share an entry, \
                 which would have the tag of the first of them; make it part of the key, or leave it out of \
                 the tag"
            ),
        );
    }
}
