//! Checks of the options against the function.

pub(crate) mod key;
pub(crate) mod names;
pub(crate) mod ownership;
mod tags;

use quote::ToTokens;
use syn::{GenericParam, LitBool, ReceiverKind, Safety, Type, ext::IdentExt};

use self::key::Key;
use crate::{
    check::ownership::holder,
    errors::Errors,
    parse::{
        function::{Argument, Function, Kind, Mentions, mentions_self, only_argument},
        options::Options,
        template::{Role, Template},
        value::Time,
    },
};

/// Parsed prefix and tags of the options, and the key.
pub(crate) struct Checked {
    /// Prefix, if it is well formed.
    pub(crate) template: Option<Template>,
    pub(crate) key: Key,
    pub(crate) tags: Vec<Template>,
}

/// Runs all checks that tokens allow.
pub(crate) fn check(options: &Options, function: &Function, errors: &mut Errors) -> Checked {
    check_signature(options, function, errors);
    check_options(options, function, errors);
    check_sharing(options, errors);
    check_availability(options, function, errors);
    check_keep_warm(options, function, errors);
    let prefix = options.prefix.as_ref();
    let template = prefix.and_then(|prefix| errors.take(Template::parse(prefix, Role::Prefix)));
    let key = key::check(options, function, template.as_ref(), errors);
    let tags = tags::check(options, function, errors);
    Checked { template, key, tags }
}

fn check_signature(options: &Options, function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Safety::Unsafe(unsafety) = &sig.safety {
        errors.at(
            unsafety,
            "an `unsafe` function cannot be cached: the cache cannot uphold its safety contract",
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
            "a cached value must have a named type: return that type instead of `impl ..`",
        ));
    } else if let Some(span) = output.borrow {
        errors.push(syn::Error::new(
            span,
            "a cached value outlives the call, so it cannot borrow from it: return an owned value, such as `String` or \
             `Arc<str>`",
        ));
    } else if let Some(span) = value_mentions(function).static_borrow
        && options.local.is_none()
        && !options.is_broken("local")
    {
        errors.push(syn::Error::new(
            span,
            "a value from a shared tier cannot be `&'static`: return an owned value, such as `String` or \
             `Arc<str>`, or add `local` to keep its values in this process",
        ));
    }
    for argument in mutable_arguments(options, function) {
        errors.at(
            &argument.ty,
            format!(
                "an argument that the function changes cannot be part of its key: add `skip({name})`",
                name = argument.name
            ),
        );
    }
}

/// Returns the arguments `&mut T` that are not skipped.
fn mutable_arguments<'a>(options: &'a Options, function: &'a Function) -> impl Iterator<Item = &'a Argument> {
    let is_exempt = options.key.is_some() || options.is_broken("skip");
    function.arguments.iter().filter(move |argument| {
        matches!(&argument.ty, Type::Reference(reference) if reference.mutability.is_some())
            && !is_exempt
            && !is_skipped(options, &argument.name.unraw().to_string())
    })
}

/// Examines the type of the cached value. Of a `Result`, only the value is cached.
fn value_mentions(function: &Function) -> Mentions {
    Mentions::of(&function.value_type())
}

fn check_options(options: &Options, function: &Function, errors: &mut Errors) {
    let has_ttl = options.ttl.is_some() || options.ttl_from.is_some();
    if !has_ttl && !options.is_broken("ttl") && !options.is_broken("ttl_from") {
        errors.push(syn::Error::new(
            options.prefix.as_ref().map_or_else(proc_macro2::Span::call_site, syn::LitStr::span),
            "the ttl is missing: add one, such as `ttl = \"30m\"`",
        ));
    }
    let is_method = function.names_self() || options.method.is_some();
    if let Some(handle) = &options.handle
        && handle == &function.sig.ident
    {
        errors.at(
            handle,
            format!(
                "the handle cannot have the name of the method: give it another name, such as \
                     `{handle}_entry`"
            ),
        );
    } else if let Some(handle) = &options.handle
        && !is_method
        && !options.is_broken("method")
    {
        errors.at(
            handle,
            format!(
                "a free function needs no handle: use `{name}::invalidate(..)` and the like; if `{name}` is \
                 in an `impl`, add `method`",
                name = function.sig.ident
            ),
        );
    }
    if let Some(companions) = options.companions.as_ref().filter(|_| is_method) {
        errors.at(
            companions,
            format!(
                "a method cannot have companions: write a handle instead, such as `handle = {name}_entry`",
                name = function.sig.ident.unraw()
            ),
        );
    }
    for (expr, hint) in [
        (options.ttl.as_ref().and_then(Time::expr), "; `CacheControl::ttl` sets it for one call"),
        (options.stale.as_ref().and_then(Time::expr), ""),
        (options.ttl_from.as_ref(), ""),
        (options.cache_if.as_ref(), ""),
        (options.weight.as_ref(), ""),
        (options.tags_from.as_ref(), "; `tags` can name fields of it"),
        (options.cache_err.as_ref().and_then(|cache_err| cache_err.condition.as_ref()), ""),
        (options.share_err.as_ref().map(|share_err| &share_err.copy), ""),
    ] {
        if let Some(self_ident) = expr.and_then(|expr| mentions_self(expr.to_token_stream())) {
            errors.at(
                self_ident,
                format!("this expression cannot use `self`: it is the same for every call{hint}"),
            );
        }
    }
    if let Some(detach) = options.detach.as_ref().filter(|detach| detach.value) {
        check_detach(detach, function, is_method, errors);
    }
}

/// Rejects options that concern other processes, if values are not shared with any.
fn check_sharing(options: &Options, errors: &mut Errors) {
    if options.local.is_none() {
        return;
    }
    if let Some(bound) = &options.bound {
        errors.at(
            &bound.name,
            "with `local`, values stay in this process, and an invalidation takes effect at once: leave \
             `bound` out",
        );
    }
    if let Some(limit) = &options.tier_timeout {
        errors.at(
            &limit.name,
            "with `local`, values stay in this process, and there is no shared tier to wait for: leave `tier_timeout` out",
        );
    }
    if let Some(coalesce) = options.coalesce.as_ref().filter(|coalesce| !coalesce.is_local) {
        errors.at(
            &coalesce.scope,
            "with `local`, values stay in this process, so each process loads its own: leave `coalesce` out",
        );
    }
}

/// Checks the options for values that are served during a load, and for the duration of loads.
fn check_availability(options: &Options, function: &Function, errors: &mut Errors) {
    if let Some(limit) = &options.soft_timeout
        && options.stale.is_none()
        && !options.is_broken("stale")
    {
        errors.at(
            &limit.name,
            "`soft_timeout` is how long a caller waits before it gets a stale value, and no value may be \
             stale: add `stale = \"10m\"`",
        );
    }
    let is_sync = function.kind == Kind::Sync;
    if let Some(refresh) = &options.refresh_ahead {
        let is_method = function.names_self() || options.method.is_some();
        let is_inline = options.detach.as_ref().is_some_and(|detach| !detach.value);
        let is_detached = options.detach.as_ref().is_some_and(|detach| detach.value);
        if is_sync || is_inline || (is_method && !is_detached) {
            errors.at(
                &refresh.name,
                "`refresh_ahead` needs a load in a task of its own, and this load runs in its caller: leave \
                 `refresh_ahead` out, or make it an async function whose load can have a task of its own \
                 (`detach = true` shows why it cannot)",
            );
        }
    }
    for (limit, what) in [(&options.load_timeout, "end"), (&options.soft_timeout, "leave")] {
        if let Some(limit) = limit.as_ref().filter(|_| is_sync) {
            errors.at(
                &limit.name,
                format!(
                    "a caller cannot {what} a load that is not async: make the function `async`, or leave \
                     this out"
                ),
            );
        }
    }
}

/// Checks `keep_warm`: a load without a call must have copies of all that it needs.
fn check_keep_warm(options: &Options, function: &Function, errors: &mut Errors) {
    let Some(keep_warm) = &options.keep_warm else { return };
    let is_method = function.names_self() || options.method.is_some();
    let generics = &function.sig.generics;
    let is_generic = generics.params.iter().any(|param| !matches!(param, GenericParam::Lifetime(_)));
    let why = if is_method {
        "the load of a method needs the `self` of its caller: make it a free function that takes the values \
         it needs"
    } else if function.kind == Kind::Sync {
        "a function that is not async loads in its caller: make it `async`"
    } else if is_generic {
        "the load of a generic function runs in its caller: replace its type parameters by types"
    } else if options.detach.as_ref().is_some_and(|detach| !detach.value) {
        "with `detach = false` a load runs in its caller: leave `detach` out"
    } else {
        for argument in function.arguments.iter().filter(|argument| holder(argument).is_none()) {
            errors.at(
                &argument.ty,
                "`keep_warm` keeps a copy of each argument, and this one cannot be copied: take it by value, \
                 such as in an `Arc`, or leave `keep_warm` out",
            );
        }
        return;
    };
    errors.at(
        &keep_warm.name,
        format!("`keep_warm` loads without a caller, and {why}, or leave `keep_warm` out"),
    );
}

/// Checks `detach = true` as far as tokens allow; the rest is left to the compiler.
fn check_detach(detach: &LitBool, function: &Function, is_method: bool, errors: &mut Errors) {
    if function.kind == Kind::Sync {
        errors.at(
            detach,
            "only the load of an async function can run in a task of its own: make the \
                           function `async`, or leave `detach` out",
        );
        return;
    }
    if function
        .sig
        .receiver()
        .is_some_and(|self_ident| matches!(self_ident.kind, ReceiverKind::Reference(..)))
    {
        errors.at(
            detach,
            "this load borrows `self`, so it cannot outlive the call: take `self: Arc<Self>`, or leave `detach` out",
        );
    }
    let is_generic =
        function.sig.generics.params.iter().any(|param| !matches!(param, GenericParam::Lifetime(_)));
    for argument in &function.arguments {
        // In a free function that is not generic, a reference is copied for the load if its type allows that.
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

fn is_skipped(options: &Options, name: &str) -> bool {
    options.skip.iter().any(|skipped| skipped.unraw() == name)
}
