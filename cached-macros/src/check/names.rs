//! Checks of the names in placeholders.

use syn::{Ident, ext::IdentExt};

use crate::{
    errors::{Errors, did_you_mean, nearest},
    parse::{
        function::Function,
        template::{Placeholder, Role, Template},
    },
};

/// Checks that a placeholder names one of `names`. If the name is misspelt, returns the name that was
/// probably meant.
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
            "the {} names `{name}`, which is not an argument of this function{}",
            role.noun(),
            did_you_mean(near.as_deref())
        ),
    );
    near
}

/// Rejects a placeholder that names a variable which a pattern binds, and returns that name. A key and its
/// tags are made from whole arguments, before the pattern is bound.
pub(super) fn check_bound(
    placeholder: &Placeholder,
    template: &Template,
    function: &Function,
    errors: &mut Errors,
) -> Option<String> {
    let name = function.bound_names().find(|bound| bound.unraw() == placeholder.argument.unraw())?.unraw();
    errors.at(
        &template.literal,
        format!(
            "the {} names `{name}`, which a pattern binds, and it is made of whole arguments: give the \
             argument a name, such as `path: Path<u64>`, name its field here, such as `{{path.0}}`, and \
             destructure it in the body",
            template.role.noun()
        ),
    );
    Some(name.to_string())
}

/// Returns the most similar name, if one is similar enough.
pub(crate) fn nearest_in(name: &str, names: impl IntoIterator<Item = Ident>) -> Option<String> {
    let names: Vec<_> = names.into_iter().map(|name| name.unraw().to_string()).collect();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}
