//! Options and function, held against each other.

use quote::ToTokens;
use syn::{Expr, GenericParam, Ident, LitBool, ReceiverKind, Safety, Type, ext::IdentExt};

use crate::{
    errors::{Errors, did_you_mean, nearest},
    function::{Argument, Function, Kind, Mentions, mentions, mentions_self, only_argument},
    options::Options,
    template::{Placeholder, Template},
    value::Time,
};

/// What the key is made of.
pub(crate) enum Key {
    /// Every argument that is not skipped.
    Arguments(Vec<Ident>),
    Template,
    Expr(Expr),
}

/// Checks everything that can be checked on tokens. The template is there if the prefix is well formed.
pub(crate) fn check(options: &Options, function: &Function, errors: &mut Errors) -> (Option<Template>, Key) {
    check_signature(options, function, errors);
    check_options(options, function, errors);
    let template = options.prefix.as_ref().and_then(|prefix| errors.take(Template::parse(prefix)));
    let key = check_key(options, function, template.as_ref(), errors);
    (template, key)
}

fn check_signature(options: &Options, function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Safety::Unsafe(unsafety) = &sig.safety {
        errors.at(
            unsafety,
            "an `unsafe` function cannot be cached: a hit would skip what makes the call sound",
        );
    }
    if let Some(constness) = &sig.constness {
        errors.at(constness, "a `const` function cannot be cached: a cache works at run time");
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "an `extern` function cannot be cached");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a variadic function cannot be cached");
    }
    if function.kind == Kind::Sync && options.local.is_none() && !options.is_broken("local") {
        errors.at(
            sig.fn_token,
            "a function that is not async cannot wait for a shared tier: add `local` to keep its values in this \
             process, or make it `async`",
        );
    }
    let output = Mentions::of(&function.output);
    if let Some(span) = output.opaque {
        errors.push(syn::Error::new(
            span,
            "a cached value needs a type with a name: return it instead of `impl ..`",
        ));
    } else if let Some(span) = output.borrow {
        errors.push(syn::Error::new(
            span,
            "a cached value outlives the call, so it cannot borrow from it: return an owned value, such as `String` or \
             `Arc<str>`",
        ));
    } else if let Some(span) = value_mentions(function).fixed
        && options.local.is_none()
        && !options.is_broken("local")
    {
        errors.push(syn::Error::new(
            span,
            "what is read from a shared tier is not `&'static`: return an owned value, such as `String` or `Arc<str>`, \
             or add `local` to keep its values in this process",
        ));
    }
    for argument in changed(options, function) {
        errors.at(
            &argument.ty,
            format!(
                "what the function changes cannot be part of its key: add `skip({name})`",
                name = argument.name
            ),
        );
    }
}

/// The arguments `&mut T` that are not skipped.
fn changed<'a>(options: &'a Options, function: &'a Function) -> impl Iterator<Item = &'a Argument> {
    let is_free = options.key.is_some() || options.is_broken("skip");
    function.arguments.iter().filter(move |argument| {
        matches!(&argument.ty, Type::Reference(reference) if reference.mutability.is_some())
            && !is_free
            && !is_skipped(options, &argument.name.unraw().to_string())
    })
}

/// What the type of the cached value mentions: only the value of a `Result` is kept.
fn value_mentions(function: &Function) -> Mentions {
    Mentions::of(&function.value())
}

fn check_options(options: &Options, function: &Function, errors: &mut Errors) {
    let has_ttl = options.ttl.is_some() || options.ttl_from.is_some();
    if !has_ttl && !options.is_broken("ttl") && !options.is_broken("ttl_from") {
        errors.push(syn::Error::new(
            options.prefix.as_ref().map_or_else(proc_macro2::Span::call_site, syn::LitStr::span),
            "how long may a value be kept? Add `ttl = \"30m\"`",
        ));
    }
    let is_method = function.names_self() || options.method.is_some();
    if let Some(handle) = &options.handle
        && handle == &function.sig.ident
    {
        errors.at(
            handle,
            format!("the handle stands beside the method: give it another name, such as `{handle}_entry`"),
        );
    } else if let Some(handle) = &options.handle
        && !is_method
        && !options.is_broken("method")
    {
        errors.at(
            handle,
            format!(
                "a free function needs no handle: use `{name}::invalidate(..)` and the like; if `{name}` stands in an \
                 `impl`, add `method`",
                name = function.sig.ident
            ),
        );
    }
    for (expr, hint) in [
        (options.ttl.as_ref().and_then(Time::expr), "; `CacheControl::ttl` sets it for one call"),
        (options.ttl_from.as_ref(), ""),
        (options.cache_if.as_ref(), ""),
        (options.cache_err.as_ref().and_then(|cache_err| cache_err.which.as_ref()), ""),
    ] {
        if let Some(own) = expr.and_then(|expr| mentions_self(expr.to_token_stream())) {
            errors.at(own, format!("this holds for every call, so there is no `self` here{hint}"));
        }
    }
    if let Some(detach) = options.detach.as_ref().filter(|detach| detach.value) {
        check_detach(detach, function, is_method, errors);
    }
}

/// `detach = true`, as far as tokens tell; the rest is for the compiler.
fn check_detach(detach: &LitBool, function: &Function, is_method: bool, errors: &mut Errors) {
    if function.kind == Kind::Sync {
        errors.at(detach, "only the load of an async function can run in a task of its own");
        return;
    }
    if function.sig.receiver().is_some_and(|own| matches!(own.kind, ReceiverKind::Reference(..))) {
        errors.at(
            detach,
            "this load borrows `self`, so it cannot outlive the call: take `self: Arc<Self>`, or leave `detach` out",
        );
    }
    let is_generic =
        function.sig.generics.params.iter().any(|param| !matches!(param, GenericParam::Lifetime(_)));
    for argument in &function.arguments {
        // Elsewhere a reference is copied for the load, if its type allows that.
        let lent = match &argument.ty {
            Type::Reference(reference) if !is_method && !is_generic && reference.mutability.is_none() => {
                &*reference.elem
            }
            ty => ty,
        };
        if Mentions::of(lent).borrow.is_some()
            && (is_method || is_generic || only_argument(lent, "Option").is_none())
        {
            errors.at(
                &argument.ty,
                "this load borrows the argument, so it cannot outlive the call: take it by value, or leave `detach` out",
            );
        }
    }
}

fn check_key(
    options: &Options,
    function: &Function,
    template: Option<&Template>,
    errors: &mut Errors,
) -> Key {
    let is_malformed = options.prefix.is_some() && template.is_none();
    let template = template.filter(|template| !template.is_bare());
    // A name that was misspelt is missing somewhere else, which is no second mistake.
    let mut meant: Vec<String> = Vec::new();
    for name in &options.skip {
        let is_known = if name == "self" { function.has_self() } else { function.argument(name).is_some() };
        if !is_known {
            let near = nearest_name(&name.to_string(), function);
            errors.at(
                name,
                format!("`{name}` is no argument of this function{}", did_you_mean(near.as_deref())),
            );
            meant.extend(near);
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
            check_placeholder(placeholder, options, function, template, &mut meant, errors);
        }
        for name in names(function) {
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
        return Key::Template;
    }
    let is_unknown = options.is_broken("key") || options.is_broken("prefix") || is_malformed;
    if function.has_self() && !is_settled("self") && !is_unknown {
        self_is_open(function, errors);
    }
    let arguments = function.arguments.iter().map(|argument| argument.name.clone());
    Key::Arguments(arguments.filter(|name| !is_skipped(options, &name.unraw().to_string())).collect())
}

fn check_placeholder(
    placeholder: &Placeholder,
    options: &Options,
    function: &Function,
    template: &Template,
    meant: &mut Vec<String>,
    errors: &mut Errors,
) {
    let name = placeholder.argument.unraw().to_string();
    if name == "self" && function.has_self() {
        if placeholder.fields.is_empty() {
            errors.at(
                &template.literal,
                "`{self}` as a whole cannot be in a key: name a field, such as `{self.id}`",
            );
        }
    } else if function.argument(&placeholder.argument).is_none() {
        let near = nearest_name(&name, function);
        errors.at(
            &template.literal,
            format!(
                "the template names `{name}`, which is no argument of this function{}",
                did_you_mean(near.as_deref())
            ),
        );
        meant.extend(near);
    }
    if let Some(skipped) = options.skip.iter().find(|skipped| skipped.unraw() == name) {
        errors.at(skipped, format!("`{name}` is in the template and skipped"));
    }
}

fn self_is_open(function: &Function, errors: &mut Errors) {
    let receiver = function.sig.receiver();
    errors.at(
        receiver,
        "does the result depend on `self`? If not, add `skip(self)`; if it does, name what identifies it in the \
         template, such as `{self.id}`",
    );
}

fn is_skipped(options: &Options, name: &str) -> bool {
    options.skip.iter().any(|skipped| skipped.unraw() == name)
}

fn nearest_name(name: &str, function: &Function) -> Option<String> {
    let names: Vec<_> = names(function).map(|name| name.unraw().to_string()).collect();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

/// `self` and the named arguments.
fn names(function: &Function) -> impl Iterator<Item = Ident> + '_ {
    let receiver = function.sig.receiver().map(|receiver| Ident::from(receiver.self_token));
    let named = function.arguments.iter().filter(|argument| argument.is_named);
    receiver.into_iter().chain(named.map(|argument| argument.name.clone()))
}

/// The type and const parameters that no part of the key can tell apart: those of no keyed argument's type.
pub(crate) fn hidden_generics<'a>(function: &'a Function, key: &Key) -> Vec<&'a GenericParam> {
    let keyed: Vec<Mentions> = match key {
        Key::Arguments(names) => function
            .arguments
            .iter()
            .filter(|argument| names.contains(&argument.name))
            .map(|argument| Mentions::of(&argument.ty))
            .collect(),
        // A field of an argument need not depend on its type's parameters.
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

/// The arguments `impl Trait` whose types no part of the key can tell apart.
pub(crate) fn hidden_opaque<'a>(function: &'a Function, key: &Key) -> Vec<&'a Argument> {
    let is_told =
        |argument: &Argument| matches!(key, Key::Arguments(names) if names.contains(&argument.name));
    let is_opaque = |argument: &Argument| Mentions::of(&argument.ty).opaque.is_some();
    function.arguments.iter().filter(|argument| is_opaque(argument) && !is_told(argument)).collect()
}
