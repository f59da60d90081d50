//! What placeholders name.

use syn::{Ident, ext::IdentExt};

use crate::{
    errors::{Errors, did_you_mean, nearest},
    parse::{
        function::Function,
        template::{Placeholder, Role, Template},
    },
};

/// Whether a placeholder names one of the names. If it is one that was misspelt, returns the one that was meant.
pub(crate) fn check(
    placeholder: &Placeholder,
    template: &Template,
    names: Vec<Ident>,
    errors: &mut Errors,
) -> Option<String> {
    let name = placeholder.argument.unraw();
    let Template { literal, role, .. } = template;
    if names.iter().any(|known| known.unraw() == name) {
        if name == "self" && placeholder.fields.is_empty() {
            let place = if *role == Role::Prefix { "key" } else { role.noun() };
            errors.at(
                literal,
                format!("`{{self}}` as a whole cannot be in a {place}: name a field, such as `{{self.id}}`"),
            );
        }
        return None;
    }
    let near = nearest_in(&name.to_string(), names);
    errors.at(
        literal,
        format!(
            "the {} names `{name}`, which is no argument of this function{}",
            role.noun(),
            did_you_mean(near.as_deref())
        ),
    );
    near
}

/// Refuses a placeholder that names a part of an argument by what a pattern binds it to: a key, and its tags, are made of
/// arguments before the pattern is. Returns that name.
pub(super) fn check_bound(
    placeholder: &Placeholder,
    template: &Template,
    function: &Function,
    errors: &mut Errors,
) -> Option<String> {
    let name = function.bound().find(|bound| bound.unraw() == placeholder.argument.unraw())?.unraw();
    errors.at(
        &template.literal,
        format!(
            "the {} names `{name}`, which a pattern binds, and it is made of whole arguments: give the argument a name, such as \
             `path: Path<u64>`, name its field here, such as `{{path.0}}`, and take it apart in the body",
            template.role.noun()
        ),
    );
    Some(name.to_string())
}

/// The one of the names that is near.
pub(crate) fn nearest_in(name: &str, names: impl IntoIterator<Item = Ident>) -> Option<String> {
    let names: Vec<_> = names.into_iter().map(|name| name.unraw().to_string()).collect();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}
