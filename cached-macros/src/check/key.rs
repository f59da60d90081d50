//! Checks of the key, and the parts from which it is made.

use quote::ToTokens;
use syn::{Expr, GenericParam, Ident, Pat, ext::IdentExt};

use super::{changed, is_skipped, names};
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
    let mut meant: Vec<String> = Vec::new();
    for name in &options.skip {
        let is_known = if name == "self" { function.has_self() } else { function.argument(name).is_some() };
        if !is_known {
            let near = names::nearest_in(&name.to_string(), function.names());
            let is_bound = function.bound().any(|bound| bound.unraw() == name.unraw());
            let why = if is_bound {
                format!(
                    "`{name}` is bound by a pattern, and arguments are skipped as a whole: give the argument a name"
                )
            } else {
                format!("`{name}` is no argument of this function{}", did_you_mean(near.as_deref()))
            };
            errors.at(name, why);
            meant.extend(if is_bound { Some(name.unraw().to_string()) } else { near });
        }
    }
    let is_settled = |name: &str| is_skipped(options, name) || options.is_broken("skip");
    if let Some(expr) = &options.key {
        if let Expr::Lit(literal) = expr {
            errors.at(
                literal,
                "this key is the same for every call: a template is the first string of the attribute, and `key` takes an \
                 expression of the arguments, such as `key = (user.id, lang)`",
            );
        }
        if let Some(template) = template {
            errors.at(&template.literal, "the template and `key` both say what the key is: leave one out");
        }
        for name in &options.skip {
            if name != "self" {
                errors
                    .at(name, "with `key`, only what it names is part of the key: there is nothing to skip");
            }
        }
        if function.has_self() && !is_settled("self") && !mentions(expr.to_token_stream(), "self") {
            self_is_open(function, errors);
        }
        return Key::Expr(expr.clone());
    }
    if let Some(template) = template {
        for placeholder in template.placeholders() {
            let bound = names::check_bound(placeholder, template, function, errors);
            let names = || function.names().collect();
            meant.extend(bound.or_else(|| names::check(placeholder, template, names(), errors)));
            let skipped = options.skip.iter().find(|skipped| skipped.unraw() == placeholder.argument.unraw());
            if let Some(skipped) = skipped {
                errors
                    .at(skipped, format!("`{name}` is in the template and skipped", name = skipped.unraw()));
            }
        }
        for name in function.names() {
            let text = name.unraw().to_string();
            let is_named = template.placeholders().any(|placeholder| placeholder.argument.unraw() == text);
            let is_changed = changed(options, function).any(|argument| argument.name == name);
            if is_named || is_changed || is_settled(&text) || meant.contains(&text) {
                continue;
            }
            if name == "self" {
                self_is_open(function, errors);
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
            let is_known = argument.bound().iter().any(|bound| meant.contains(&bound.unraw().to_string()));
            if !is_nothing && !is_known {
                errors.at(
                    &argument.pattern,
                    "this argument is neither in the template nor skipped, for both of which it needs a name: give it one, and take \
                     it apart in the body",
                );
            }
        }
        return Key::Template;
    }
    let is_unknown = options.is_broken("key") || options.is_broken("prefix") || is_malformed;
    if function.has_self() && !is_settled("self") && !is_unknown {
        self_is_open(function, errors);
    }
    let arguments = function.arguments.iter().map(|argument| argument.name.clone());
    Key::Arguments(arguments.filter(|name| !is_skipped(options, &name.unraw().to_string())).collect())
}

fn self_is_open(function: &Function, errors: &mut Errors) {
    let receiver = function.sig.receiver();
    errors.at(
        receiver,
        "does the result depend on `self`? If not, add `skip(self)`; if it does, name what identifies it in the \
         template, such as `{self.id}`",
    );
}

/// Returns the type and const parameters that the key does not distinguish: those that no keyed argument's
/// type mentions.
pub(crate) fn hidden_generics<'a>(function: &'a Function, key: &Key) -> Vec<&'a GenericParam> {
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
    let is_told = |name: &Ident| keyed.iter().any(|mentions| mentions.ident(&name.to_string()));
    function
        .sig
        .generics
        .params
        .iter()
        .filter(|param| match param {
            GenericParam::Type(param) => !is_told(&param.ident),
            GenericParam::Const(param) => !is_told(&param.ident),
            GenericParam::Lifetime(_) => false,
        })
        .collect()
}

/// Returns the arguments `impl Trait` with types that the key does not distinguish.
pub(crate) fn hidden_opaque<'a>(function: &'a Function, key: &Key) -> Vec<&'a Argument> {
    let is_told =
        |argument: &Argument| matches!(key, Key::Arguments(names) if names.contains(&argument.name));
    let is_opaque = |argument: &Argument| Mentions::of(&argument.ty).opaque.is_some();
    function.arguments.iter().filter(|argument| is_opaque(argument) && !is_told(argument)).collect()
}
