//! Checks of the key, and the parts from which it is made.

use quote::ToTokens;
use syn::{Expr, GenericParam, Ident, Pat, ext::IdentExt};

use super::{is_skipped, mutable_arguments, names};
use crate::{
    errors::{Errors, did_you_mean},
    parse::{
        function::{Argument, Function, Mentions, mentions},
        options::Options,
        template::Template,
    },
};

/// Parts from which the key is made.
pub(crate) enum Key {
    /// Every argument that is not skipped.
    Arguments(Vec<Ident>),
    Template,
    Expr(Expr),
}

/// Checks the parts that distinguish calls, and returns them.
pub(super) fn check(
    options: &Options,
    function: &Function,
    template: Option<&Template>,
    errors: &mut Errors,
) -> Key {
    let is_malformed = options.prefix.is_some() && template.is_none();
    let template = template.filter(|template| !template.is_bare());
    // Names that misspelt ones were meant to be. Their absence elsewhere is not reported as a second mistake.
    let mut suggested: Vec<String> = Vec::new();
    for name in &options.skip {
        let is_known = if name == "self" { function.has_self() } else { function.argument(name).is_some() };
        if !is_known {
            let near = names::nearest_in(&name.to_string(), function.names());
            let is_bound = function.bound_names().any(|bound| bound.unraw() == name.unraw());
            let why = if is_bound {
                format!(
                    "`{name}` is bound by a pattern, and `skip` takes whole arguments: give the argument a \
                     name"
                )
            } else {
                format!("`{name}` is not an argument of this function{}", did_you_mean(near.as_deref()))
            };
            errors.at(name, why);
            suggested.extend(if is_bound { Some(name.unraw().to_string()) } else { near });
        }
    }
    let is_exempt = |name: &str| is_skipped(options, name) || options.is_broken("skip");
    if let Some(expr) = &options.key {
        if let Expr::Lit(literal) = expr {
            errors.at(
                literal,
                "this key is the same for every call: a template is the first string of the attribute, and `key` takes an \
                 expression of the arguments, such as `key = (user.id, lang)`",
            );
        }
        if let Some(template) = template {
            errors.at(&template.literal, "the template and `key` both define the key: leave one out");
        }
        for name in options.skip.iter().filter(|name| *name != "self") {
            errors.at(
                name,
                "with `key`, only the arguments that it names are part of the key: leave this one out of `skip`",
            );
        }
        if function.has_self() && !is_exempt("self") && !mentions(expr.to_token_stream(), "self") {
            report_unkeyed_self(function, errors);
        }
        return Key::Expr(expr.clone());
    }
    if let Some(template) = template {
        for placeholder in template.placeholders() {
            let bound = names::check_bound(placeholder, template, function, errors);
            let names = || function.names().collect();
            suggested.extend(bound.or_else(|| names::check(placeholder, template, names(), errors)));
            let skipped = options.skip.iter().find(|skipped| skipped.unraw() == placeholder.argument.unraw());
            if let Some(skipped) = skipped {
                errors.at(
                    skipped,
                    format!(
                        "`{name}` is both in the template and skipped: leave one out",
                        name = skipped.unraw()
                    ),
                );
            }
        }
        for name in function.names() {
            let text = name.unraw().to_string();
            let is_named = template.placeholders().any(|placeholder| placeholder.argument.unraw() == text);
            let is_changed = mutable_arguments(options, function).any(|argument| argument.name == name);
            if is_named || is_changed || is_exempt(&text) || suggested.contains(&text) {
                continue;
            }
            if name == "self" {
                report_unkeyed_self(function, errors);
            } else {
                errors.at(
                    &name,
                    format!(
                        "`{name}` is neither in the template nor skipped: calls that differ only in it would share a \
                         value; add `{{{name}}}` or `skip({name})`"
                    ),
                );
            }
        }
        for argument in &function.arguments {
            let is_nothing = argument.is_named || matches!(argument.pattern, Pat::Wild(_));
            let is_known =
                argument.bound_names().iter().any(|bound| suggested.contains(&bound.unraw().to_string()));
            if !is_nothing && !is_known {
                errors.at(
                    &argument.pattern,
                    "this argument is neither in the template nor skipped, and it needs a name for either: \
                     give it one, and destructure it in the body",
                );
            }
        }
        return Key::Template;
    }
    let is_unknown = options.is_broken("key") || options.is_broken("prefix") || is_malformed;
    if function.has_self() && !is_exempt("self") && !is_unknown {
        report_unkeyed_self(function, errors);
    }
    let arguments = function.arguments.iter().map(|argument| argument.name.clone());
    Key::Arguments(arguments.filter(|name| !is_skipped(options, &name.unraw().to_string())).collect())
}

fn report_unkeyed_self(function: &Function, errors: &mut Errors) {
    let receiver = function.sig.receiver();
    errors.at(
        receiver,
        "the key does not account for `self`: if the result does not depend on it, add `skip(self)`; \
         otherwise name a field that identifies it in the template, such as `{self.id}`",
    );
}

/// Returns the type and const parameters that the key does not distinguish: those that no keyed argument's
/// type mentions.
pub(crate) fn unkeyed_generics<'a>(function: &'a Function, key: &Key) -> Vec<&'a GenericParam> {
    let keyed: Vec<Mentions> = match key {
        Key::Arguments(names) => function
            .arguments
            .iter()
            .filter(|argument| names.contains(&argument.name))
            .map(|argument| Mentions::of(&argument.ty))
            .collect(),
        // A field of an argument need not depend on the parameters of the argument's type.
        Key::Template | Key::Expr(_) => Vec::new(),
    };
    let is_keyed = |name: &Ident| keyed.iter().any(|mentions| mentions.has_ident(&name.to_string()));
    function
        .sig
        .generics
        .params
        .iter()
        .filter(|param| match param {
            GenericParam::Type(param) => !is_keyed(&param.ident),
            GenericParam::Const(param) => !is_keyed(&param.ident),
            GenericParam::Lifetime(_) => false,
        })
        .collect()
}

/// Returns the arguments `impl Trait` with types that the key does not distinguish.
pub(crate) fn unkeyed_opaque<'a>(function: &'a Function, key: &Key) -> Vec<&'a Argument> {
    let is_keyed =
        |argument: &Argument| matches!(key, Key::Arguments(names) if names.contains(&argument.name));
    let is_opaque = |argument: &Argument| Mentions::of(&argument.ty).opaque.is_some();
    function.arguments.iter().filter(|argument| is_opaque(argument) && !is_keyed(argument)).collect()
}
